"""Edits of the policy folder while it is served: good ones arrive, bad ones change nothing and are shown."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.features.ads import CLUSTER, ENDPOINT, RUNTIME, stream
from tests.features.served import Folder, asynchronous, cluster, model, served, until
from xds.stream.state import Variant

both = pytest.mark.parametrize("variant", list(Variant))
CHAT, EMBED, NEW = cluster("chat"), cluster("embed"), cluster("new")
BROKEN = model("chat") + "  weigth: 3\n"


@both
@asynchronous
async def test_a_broken_edit_keeps_the_last_good_and_is_shown_with_its_line(folder: Folder, variant: Variant) -> None:
    async with served(folder.path) as server, stream(server.xds, variant) as envoy:
        await envoy.synced()
        good = await server.status()
        folder.write("models", BROKEN)
        broken = await server.until(lambda s: s["policy"]["state"] == "broken")
        assert broken["policy"]["digest"] == good["policy"]["digest"]
        assert broken["models"] == good["models"]
        (found,) = [d for d in broken["policy"]["diagnostics"] if d["severity"] == "error"]
        assert (found["file"], found["line"]) == ("policies/models.yaml", 8)
        assert await server.metric('turnout_policy_reloads_total{result="failed"}') == 1
        assert (await server.get("/readyz"))[0] == 200
        folder.models("chat", "embed", "new")
        change = await envoy.read()
        assert change.type is CLUSTER
        assert NEW in change.names
        await server.until(lambda s: s["policy"]["state"] == "ok")


@both
@asynchronous
async def test_nothing_is_answered_before_there_is_a_good_policy(folder: Folder, variant: Variant) -> None:
    """An empty answer would take every cluster from an Envoy."""
    folder.write("models", BROKEN)
    async with served(folder.path) as server, stream(server.xds, variant) as envoy:
        await envoy.ask(CLUSTER)
        status = await server.until(lambda s: s["policy"]["state"] == "broken" and bool(s["envoys"]))
        assert status["envoys"][0]["types"]["cluster"]["sent"] == ""
        assert await server.get("/readyz") == (503, "no policy has been loaded yet\n")
        assert (await server.get("/healthz"))[0] == 200
        folder.models("chat")
        assert (await envoy.accepted()).names == {CHAT}
        assert (await server.get("/readyz"))[0] == 200


@asynchronous
async def test_a_folder_that_vanishes_takes_nothing_away_and_is_read_when_it_is_back(folder: Folder) -> None:
    async with served(folder.path) as server, stream(server.xds, Variant.DELTA) as envoy:
        await envoy.synced()
        shutil.rmtree(folder.path)
        await server.until(lambda s: s["policy"]["state"] == "broken")
        fresh = Folder(folder.path.with_name("fresh"))
        fresh.write("models", model("chat", 9005) + "---\n" + model("embed"))
        fresh.path.rename(folder.path)
        assert (await envoy.accepted()).names == {CHAT}
        folder.write("models", model("chat", 9006) + "---\n" + model("embed"))
        assert (await envoy.accepted()).names == {CHAT}


@asynchronous
async def test_a_file_that_is_written_in_pieces_is_read_when_it_is_whole(folder: Folder) -> None:
    async with served(folder.path) as server, stream(server.xds, Variant.DELTA) as envoy:
        await envoy.synced()
        text = model("chat", 9005) + "---\n" + model("embed")
        half = text[: text.index("example/chat")]
        with (folder.path / "models.yaml").open("w") as file:
            file.write(half)
            file.flush()
            await server.until(lambda s: s["policy"]["state"] == "broken")
            file.write(text[len(half) :])
        change = await envoy.accepted()
        assert (change.type, change.names) == (ENDPOINT, {CHAT})


@asynchronous
async def test_other_files_are_no_edits(folder: Folder) -> None:
    async with served(folder.path) as server:
        await server.until(lambda s: s["policy"]["state"] == "ok")
        (folder.path / ".models.yaml.swp").write_text("x")
        (folder.path / "notes.txt").write_text("x")
        folder.models("chat")
        await server.until(lambda s: len(s["models"]) == 1)
        assert await server.metric('turnout_policy_reloads_total{result="ok"}') == 2


@asynchronous
async def test_an_edit_that_changes_no_meaning_sends_nothing(folder: Folder) -> None:
    async with served(folder.path) as server, stream(server.xds, Variant.DELTA) as envoy:
        await envoy.synced()
        before = await server.status()
        folder.write("models", "# a comment\n" + model("chat") + "---\n" + model("embed"))
        await server.until(lambda s: s["policy"]["digest"] != before["policy"]["digest"])
        await envoy.ask(RUNTIME, "turnout")
        assert (await envoy.accepted()).type is RUNTIME


@asynchronous
async def test_a_group_that_leaves_the_policy_keeps_what_it_has(folder: Folder) -> None:
    gateway = "apiVersion: turnout.dev/v1\nkind: Gateway\nmetadata: {name: NAME}\nspec: {hosts: ['*']}\n"
    folder.write("gateway", gateway.replace("NAME", "first"))
    async with served(folder.path) as server, stream(server.xds, Variant.DELTA, cluster="first") as envoy:
        await envoy.synced()
        folder.write("gateway", gateway.replace("NAME", "second"))
        status = await server.until(lambda s: s["gateways"][0]["name"] == "second")
        assert status["envoys"][0]["synced"] is False
        await envoy.ask(ENDPOINT, EMBED)
        assert (await envoy.accepted()).names == {EMBED}


@asynchronous
async def test_the_time_from_save_to_the_last_answer_is_measured(folder: Folder) -> None:
    async with served(folder.path) as server, stream(server.xds, Variant.DELTA) as envoy:
        await envoy.synced()
        await server.until(lambda s: bool(s["envoys"]) and s["envoys"][0]["synced"])
        before = await server.metric("turnout_convergence_seconds_count")
        folder.write("models", model("chat", 9005) + "---\n" + model("embed"))
        await envoy.accepted()

        async def measured() -> bool | None:
            return await server.metric("turnout_convergence_seconds_count") > before or None

        assert await until(measured)
        assert await server.metric("turnout_push_seconds_count") >= 1


@asynchronous
async def test_the_dump_shows_what_each_group_is_served(folder: Folder) -> None:
    async with served(folder.path) as server:
        await server.until(lambda s: s["policy"]["state"] == "ok")
        _, text = await server.get("/config_dump?group=default")
        (group,) = json.loads(text)["groups"]
        names = [resource["name"] for resource in group["resources"]["cluster"]["resources"]]
        assert names == [CHAT, EMBED]
        code, text = await server.get("/config_dump?group=nope")
        assert code == 404
        assert json.loads(text)["groups"] == ["default", "sidecar"]
        assert len(json.loads((await server.get("/config_dump"))[1])["groups"]) == 2
