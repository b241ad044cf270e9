"""Live weights over real gRPC: what an Envoy is sent when one is set, ends, or is caught up with by policy."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from envoy.config.route.v3 import route_components_pb2

from compiler.fleet import Fleet
from tests.features.ads import ENDPOINT, ROUTE, RUNTIME, Answer, Stream, stream
from tests.features.served import AUTHORIZED, DEADLINE, FakeClock, Folder, Served, asynchronous, model, served, until
from xds.cache import Prepared, Snapshots
from xds.store.file import NAME
from xds.stream.state import Variant

both = pytest.mark.parametrize("variant", list(Variant))
QUARTER = timedelta(minutes=15)


def split(**weights: int) -> str:
    """A policy of `split`; versions are written with `v` before their number."""
    versions = "".join(
        f"    - {{name: '{name[1:]}', weight: {weight}, endpoints: [{{address: 127.0.9.1, port: 90{name[1:]}0}}]}}\n"
        for name, weight in weights.items()
    )
    head = "apiVersion: turnout.dev/v1\nkind: InferenceModel\nmetadata: {name: split}\n"
    return f"{head}spec:\n  modelName: example/split\n  versions:\n{versions}---\n{model('embed')}"


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """With the models `split`, 90 to 10, and `embed`."""
    made = Folder(tmp_path / "policies")
    made.write("models", split(v1=90, v2=10))
    return made


def keys(runtime: Answer) -> Mapping[str, float]:
    layer = runtime.resources["turnout"].layer
    return {key: value for key, value in layer.items() if key.startswith("split.")}


def percents(runtime: Answer) -> list[float]:
    """Of the versions of `split`, by live weight."""
    return [weight / 100 for _, weight in sorted(keys(runtime).items())]


def committed(routes: Answer) -> list[float]:
    """Of the versions of `split`, as the route table has them."""
    (table,) = routes.resources.values()
    by_name = table.virtual_hosts[0].matcher.matcher_tree.exact_match_map.map
    boxes = (found.action.typed_config for found in by_name.values())
    found = [route for box in boxes for route in route_components_pb2.RouteList.FromString(box.value).routes]
    split = next(route.route.weighted_clusters for route in found if route.name == "model/split")
    return [cluster.weight.value / 100 for cluster in split.clusters]


async def nothing_more(envoy: Stream, cluster: str = "embed_1") -> None:
    """What comes next is the answer to a question, and not a push. The `cluster` has not been asked for before."""
    await envoy.ask(ENDPOINT, cluster)
    assert (await envoy.accepted()).type is ENDPOINT


@both
@asynchronous
async def test_a_live_weight_sends_the_runtime_layer_and_nothing_else(folder: Folder, variant: Variant) -> None:
    async with served(folder.path) as server, stream(server.xds, variant, turnout={"port": 10001}) as envoy:
        first = await envoy.synced(["split_1"])
        assert keys(first[RUNTIME]) == {}
        status, said = await server.set_weights("split", {"1": 75, "2": 25})
        assert (status, said["weights"], said["policy"]) == (200, {"1": 75, "2": 25}, {"1": 90, "2": 10})
        change = await envoy.accepted()
        assert (change.type, percents(change)) == (RUNTIME, [75, 25])
        assert len(change.raw) < 500
        await nothing_more(envoy)


@both
@asynchronous
async def test_it_runs_out_at_its_time_and_not_before(
    folder: Folder, variant: Variant, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    clock = FakeClock()
    async with served(folder.path, clock=clock) as server, stream(server.xds, variant) as envoy:
        await envoy.synced(["split_1"])
        await server.set_weights("split", {"1": 75, "2": 25})
        assert percents(await envoy.accepted()) == [75, 25]
        clock.advance(QUARTER - timedelta(seconds=1))
        await nothing_more(envoy)
        assert (await live(server))["model"] == "split"
        clock.advance(timedelta(seconds=1))
        change = await envoy.accepted()
        assert (change.type, keys(change)) == (RUNTIME, {})
        assert (await server.status())["overrides"] == []
        await nothing_more(envoy, "split_2")
    assert "live weights expired model=split weights=1=75,2=25" in caplog.text


async def live(server: Served) -> dict[str, Any]:
    (found,) = json.loads((await server.get("/weights"))[1])["overrides"]
    assert isinstance(found, dict)
    return found


@both
@asynchronous
async def test_it_can_be_taken_back(folder: Folder, variant: Variant) -> None:
    async with served(folder.path) as server, stream(server.xds, variant) as envoy:
        await envoy.synced(["split_1"])
        await server.set_weights("split", {"1": 75, "2": 25})
        await envoy.accepted()
        assert (await server.take_weights_back("split"))[0] == 200
        assert keys(await envoy.accepted()) == {}
        assert (await server.take_weights_back("split"))[0] == 404


@both
@asynchronous
async def test_a_policy_that_says_the_same_sends_routes_alone_and_a_later_one_the_layer_first(
    folder: Folder, variant: Variant, caplog: pytest.LogCaptureFixture
) -> None:
    """Without keys and with the old routes, an Envoy would for a moment do what nobody has asked for."""
    caplog.set_level(logging.INFO)
    clock = FakeClock()
    async with served(folder.path, clock=clock) as server, stream(server.xds, variant) as envoy:
        await envoy.synced(["split_1"])
        await server.set_weights("split", {"1": 75, "2": 25})
        await envoy.accepted()
        folder.write("models", split(v1=75, v2=25))
        routes = await envoy.accepted()
        assert (routes.type, committed(routes)) == (ROUTE, [75, 25])
        found = await server.until(lambda s: not s["overrides"])
        assert [version["live"] for version in found["models"][1]["versions"]] == [None, None]
        assert await server.metric("turnout_live_overrides") == 0
        assert "live weights agreed model=split" in caplog.text
        folder.write("models", split(v1=60, v2=40))
        layer, routes = await envoy.accepted(), await envoy.accepted()
        assert (layer.type, keys(layer)) == (RUNTIME, {})
        assert (routes.type, committed(routes)) == (ROUTE, [60, 40])


@both
@asynchronous
async def test_the_keys_of_what_policy_agrees_with_run_out_in_silence(folder: Folder, variant: Variant) -> None:
    clock = FakeClock()
    async with served(folder.path, clock=clock) as server, stream(server.xds, variant) as envoy:
        await envoy.synced(["split_1"])
        await server.set_weights("split", {"1": 75, "2": 25})
        await envoy.accepted()
        folder.write("models", split(v1=75, v2=25))
        assert (await envoy.accepted()).type is ROUTE
        clock.advance(QUARTER)
        change = await envoy.accepted()
        assert (change.type, keys(change)) == (RUNTIME, {})


@both
@asynchronous
async def test_another_edit_of_the_split_leaves_it_in_force(folder: Folder, variant: Variant) -> None:
    async with served(folder.path) as server, stream(server.xds, variant) as envoy:
        await envoy.synced(["split_1"])
        await server.set_weights("split", {"1": 75, "2": 25})
        await envoy.accepted()
        folder.write("models", split(v1=50, v2=50))
        routes = await envoy.accepted()
        assert (routes.type, committed(routes)) == (ROUTE, [50, 50])
        found = await server.until(lambda s: s["models"][1]["versions"][0]["weight"] == 50)
        assert [(v["weight"], v["live"]) for v in found["models"][1]["versions"]] == [(50, 75), (50, 25)]
        assert (found["overrides"][0]["weights"], found["overrides"][0]["policy"]) == (
            {"1": 75, "2": 25},
            {"1": 50, "2": 50},
        )


@both
@asynchronous
async def test_a_drained_version_is_drained_until_the_routes_without_it_are_there(
    folder: Folder, variant: Variant
) -> None:
    clock = FakeClock()
    async with served(folder.path, clock=clock) as server, stream(server.xds, variant) as envoy:
        await envoy.synced()
        await server.set_weights("split", {"2": 100})
        assert keys(await envoy.accepted()) == {"split.model-split.split_1": 0, "split.model-split.split_2": 10000}
        folder.write("models", split(v2=100))
        seen = [await envoy.accepted()]
        while seen[-1].type is not ROUTE:
            seen.append(await envoy.accepted())
        assert not [answer for answer in seen if answer.type is RUNTIME]
        await server.until(lambda s: not s["overrides"])


@asynchronous
async def test_an_edit_that_takes_away_what_it_speaks_of_ends_it_and_the_log_says_why(
    folder: Folder, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with served(folder.path) as server:
        await server.until(lambda s: s["policy"]["state"] == "ok")
        await server.set_weights("split", {"1": 75, "2": 25})
        folder.write("models", split(v1=50, v3=50))
        await server.until(lambda s: not s["overrides"])
    assert "live weights ended model=split weights=1=75,2=25" in caplog.text
    assert "reason='policy no longer has version 2'" in caplog.text


@both
@asynchronous
async def test_a_server_that_starts_again_has_it_from_its_first_answer_on(
    folder: Folder, variant: Variant, tmp_path: Path
) -> None:
    clock, state = FakeClock(), tmp_path / "state"
    async with served(folder.path, state, clock) as server:
        await server.until(lambda s: s["policy"]["state"] == "ok")
        _, said = await server.set_weights("split", {"1": 75, "2": 25})
        assert said["warnings"] == []
    async with served(folder.path, state, clock) as server, stream(server.xds, variant) as envoy:
        await envoy.ask(RUNTIME, "turnout")
        assert percents(await envoy.accepted()) == [75, 25]
        assert (await live(server))["why"] == "INC-7"
        clock.advance(QUARTER)
        assert keys(await envoy.accepted()) == {}

        async def forgotten() -> bool | None:
            return json.loads((state / NAME).read_text())["overrides"] == {} or None

        assert await until(forgotten)


@asynchronous
async def test_what_has_run_out_while_no_server_was_there_is_not_live_again(folder: Folder, tmp_path: Path) -> None:
    clock, state = FakeClock(), tmp_path / "state"
    async with served(folder.path, state, clock) as server:
        await server.until(lambda s: s["policy"]["state"] == "ok")
        await server.set_weights("split", {"1": 75, "2": 25})
    clock.advance(QUARTER)
    async with served(folder.path, state, clock) as server, stream(server.xds, Variant.DELTA) as envoy:
        await envoy.ask(RUNTIME, "turnout")
        assert keys(await envoy.accepted()) == {}


@asynchronous
async def test_what_cannot_be_kept_is_refused_and_what_cannot_be_deleted_is_told(
    folder: Folder, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    async with served(folder.path, state) as server, stream(server.xds, Variant.DELTA) as envoy:
        await envoy.synced(["split_1"])
        await server.until(lambda s: bool(s["kept"]["digest"]))
        state.rename(tmp_path / "first")
        state.write_text("a file")
        status, said = await server.set_weights("split", {"1": 75, "2": 25})
        assert (status, said["error"]) == (503, "it cannot be kept: File exists")
        assert (await server.status())["overrides"] == []
        await nothing_more(envoy)
        state.unlink()
        assert (await server.set_weights("split", {"1": 75, "2": 25}))[0] == 200
        assert percents(await envoy.accepted()) == [75, 25]
        state.rename(tmp_path / "second")
        state.write_text("a file")
        status, said = await server.take_weights_back("split")
        assert status == 200
        assert "brings it back, as it cannot be deleted: File exists" in said["warnings"][0]
        assert keys(await envoy.accepted()) == {}


@asynchronous
async def test_a_command_does_not_wait_for_a_translation_and_holds_in_what_comes_of_it(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared, begun, goes_on = Snapshots.prepared, threading.Event(), threading.Event()

    def slowly(self: Snapshots, fleet: Fleet) -> Prepared:
        if self.fleet is not None:
            begun.set()
            assert goes_on.wait(DEADLINE), "the command waited for it"
        return prepared(self, fleet)

    monkeypatch.setattr(Snapshots, "prepared", slowly)
    async with served(folder.path) as server, stream(server.xds, Variant.DELTA) as envoy:
        await envoy.synced(["split_1"])
        folder.write("models", split(v1=50, v2=50))
        assert await asyncio.to_thread(begun.wait, DEADLINE)
        assert (await server.set_weights("split", {"1": 75, "2": 25}))[0] == 200
        assert percents(await envoy.accepted()) == [75, 25]
        goes_on.set()
        assert committed(await envoy.accepted()) == [50, 50]
        assert (await live(server))["policy"] == {"1": 50, "2": 50}


@asynchronous
async def test_without_a_folder_the_answer_says_that_a_restart_ends_it(folder: Folder) -> None:
    async with served(folder.path) as server:
        await server.until(lambda s: s["policy"]["state"] == "ok")
        _, said = await server.set_weights("split", {"1": 75, "2": 25})
        assert said["warnings"] == ["a restart ends it: the server has no --state"]


@asynchronous
async def test_a_command_that_is_wrong_changes_nothing_and_is_told_all_that_is_wrong(folder: Folder) -> None:
    async with served(folder.path) as server, stream(server.xds, Variant.DELTA) as envoy:
        await envoy.synced(["split_1"])
        status, said = await server.set_weights("split", {"1": 75, "3": 30}, "3d")
        assert status == 422
        assert [problem["message"] for problem in said["problems"]] == [
            "model 'split' has no version '3'",
            "weights of model 'split' add up to 75 + 30 = 105, not 100",
            "'for': '3d' is no duration",
        ]
        await nothing_more(envoy)
        assert (await server.post("/weights", b"{"))[0] == 400
        assert (await server.post("/weights", b"[" * 200_000))[0] == 413
        assert (await server.post("/weights", b"[" * 60_000))[0] == 400
        assert (await server.post("/weights", b"7"))[0] == 422
        assert (await server.status())["overrides"] == []


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": ""}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer s3cre\u00e9"},
     {"Authorization": "Basic s3cret"}, {"Authorization": "s3cret"}],
    ids=str,
)  # fmt: skip
@asynchronous
async def test_without_the_token_nothing_can_be_changed(folder: Folder, headers: dict[str, str]) -> None:
    async with served(folder.path) as server:
        await server.until(lambda s: s["policy"]["state"] == "ok")
        status, said = await server.post("/weights", b"{}", headers)
        assert status == 401
        assert "token" in said["error"]
        assert (await server.get("/weights"))[0] == 200
        assert (await server.post("/weights", b"{}", AUTHORIZED))[0] == 422


@asynchronous
async def test_before_there_is_a_policy_there_is_nothing_to_set(folder: Folder) -> None:
    folder.write("models", "kind: Nonsense\n")
    async with served(folder.path) as server:
        status, said = await server.set_weights("split", {"1": 75, "2": 25})
        assert (status, said["error"]) == (503, "no policy has been loaded yet")


@asynchronous
async def test_what_is_live_is_shown_beside_what_is_committed(folder: Folder, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock = FakeClock()
    async with served(folder.path, clock=clock) as server:
        await server.until(lambda s: s["policy"]["state"] == "ok")
        await server.set_weights("split", {"1": 75, "2": 25})
        found = await server.status()
        shown = {m["name"]: [(v["weight"], v["live"]) for v in m["versions"]] for m in found["models"]}
        assert shown == {"embed": [(100, None)], "split": [(90, 75), (10, 25)]}
        assert found["overrides"] == [
            {
                "model": "split",
                "weights": {"1": 75, "2": 25},
                "since": "2026-03-01T12:00:00.000+00:00",
                "until": "2026-03-01T12:15:00.000+00:00",
                "why": "INC-7",
                "policy": {"1": 90, "2": 10},
            }
        ]
        assert await server.metric('turnout_live_weight{model="split",version="1"}') == 75
        assert await server.metric("turnout_live_overrides") == 1
        await server.take_weights_back("split")
        assert "turnout_live_weight{" not in (await server.get("/metrics"))[1]
        assert await server.metric("turnout_live_overrides") == 0
    assert (
        "live weights set model=split weights=1=75,2=25 until=2026-03-01T12:15:00+00:00 reason='INC-7'" in caplog.text
    )
    assert "live weights taken back model=split" in caplog.text
    assert "s3cret" not in caplog.text
