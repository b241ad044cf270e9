"""What `/metrics` says of Envoys and of weights."""

from __future__ import annotations

from tests.features.ads import stream
from tests.features.served import Folder, asynchronous, model, served
from xds.stream.state import Variant

SPLIT = """\
apiVersion: turnout.dev/v1
kind: InferenceModel
metadata: {name: qwen2.5-72b}
spec:
  modelName: org/qwen
  resources: {gpuCount: 2}
  versions: [{name: "1.0", weight: 90}, {name: "1.1", weight: 10}]
"""


@asynchronous
async def test_envoys_are_counted_by_how_they_stand(folder: Folder) -> None:
    async with served(folder.path) as server:
        async with stream(server.xds, Variant.DELTA) as envoy:
            await envoy.synced()
            await server.until(lambda s: all(found["synced"] for found in s["envoys"]))
            assert await server.metric('turnout_envoys{state="synced"}') == 1
            assert await server.metric('turnout_envoys{state="behind"}') == 0
            folder.write("models", model("chat", 9005))
            refused = await envoy.read()
            await envoy.refuse(refused, "no")
            await server.until(lambda s: any(kind["refused"] for kind in s["envoys"][0]["types"].values()))
            assert await server.metric('turnout_envoys{state="refusing"}') == 1
        await server.until(lambda s: not s["envoys"])
        assert await server.metric('turnout_envoys{state="synced"}') == 0


@asynchronous
async def test_policys_weights_are_told_by_slug_where_there_are_several_versions(folder: Folder) -> None:
    folder.write("models", f"{SPLIT}---\n{model('chat')}")
    async with served(folder.path) as server:
        await server.until(lambda s: s["policy"]["state"] == "ok")
        _, text = await server.get("/metrics")
        told = [line for line in text.splitlines() if line.startswith("turnout_policy_weight{")]
        assert told == [
            'turnout_policy_weight{model="qwen2-5-72b",version="1.0"} 90.0',
            'turnout_policy_weight{model="qwen2-5-72b",version="1.1"} 10.0',
        ]
        folder.write("models", model("chat"))
        await server.until(lambda s: len(s["models"]) == 1)
        assert "turnout_policy_weight{" not in (await server.get("/metrics"))[1]


@asynchronous
async def test_each_stage_of_a_push_is_timed_and_the_whole_of_it(folder: Folder) -> None:
    async with served(folder.path) as server, stream(server.xds, Variant.SOTW) as envoy:
        await envoy.synced()
        await server.until(lambda s: all(found["synced"] for found in s["envoys"]))
        sent = await server.metric('turnout_stage_seconds_count{stage="ack"}')
        saves = await server.metric("turnout_convergence_seconds_count")
        folder.write("models", model("chat", 9005) + "---\n" + model("embed"))
        await envoy.accepted()
        await envoy.quiet()
        for stage in ("load", "decode", "link", "prove", "emit", "translate"):
            assert await server.metric(f'turnout_stage_seconds_count{{stage="{stage}"}}') == 2, stage
        answered = await server.metric('turnout_stage_seconds_count{stage="ack"}')
        assert answered > sent == 5
        assert await server.metric('turnout_stage_seconds_count{stage="send"}') == answered
        assert await server.metric("turnout_convergence_seconds_count") == saves + 1


@asynchronous
async def test_a_save_that_another_overtakes_is_over_when_that_one_is(folder: Folder) -> None:
    async with served(folder.path) as server, stream(server.xds, Variant.DELTA) as envoy:
        await envoy.synced()
        await server.until(lambda s: all(found["synced"] for found in s["envoys"]))
        saves = await server.metric("turnout_convergence_seconds_count")
        answers = []
        for port in (9005, 9006):
            folder.write("models", model("chat", port) + "---\n" + model("embed"))
            answers.append(await envoy.read())
        assert await server.metric("turnout_convergence_seconds_count") == saves
        await envoy.accept(*answers)
        await envoy.quiet()
        assert await server.metric("turnout_convergence_seconds_count") == saves + 2


@asynchronous
async def test_the_process_tells_its_memory_its_open_files_and_its_tasks(folder: Folder) -> None:
    async with served(folder.path) as server:
        assert await server.metric("process_resident_memory_bytes") > 10_000_000
        idle = {name: await server.metric(name) for name in ("process_open_fds", "turnout_tasks")}
        async with stream(server.xds, Variant.DELTA) as envoy:
            await envoy.synced()
            assert await server.metric("turnout_tasks") > idle["turnout_tasks"]
