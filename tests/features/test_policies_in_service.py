"""Edits of the policy folder while it is served: good ones arrive, bad ones change nothing and are shown."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from typing import NoReturn

import pytest
from watchfiles._rust_notify import WatchfilesRustInternalError

import xds.observe.compiling
import xds.observe.policies
from compiler.fleet import Fleet
from compiler.source import Sources
from tests.features.ads import CLUSTER, ENDPOINT, RUNTIME, stream
from tests.features.served import DEADLINE, Folder, asynchronous, cluster, model, served, until
from xds.cache import Prepared, Snapshots
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


@asynchronous
async def test_a_fault_of_the_compiler_is_shown_and_takes_nothing_away(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(root: Path, previous: Sources | None) -> NoReturn:
        raise ZeroDivisionError

    async with served(folder.path) as server:
        good = await server.until(lambda s: s["policy"]["state"] == "ok")
        with monkeypatch.context() as patch:
            patch.setattr(xds.observe.compiling, "compile_policies", fail)
            folder.models("chat")
            broken = await server.until(lambda s: s["policy"]["state"] == "broken")
        (found,) = broken["policy"]["diagnostics"]
        assert (found["code"], found["severity"], found["file"], found["line"]) == ("X107", "error", "policies", 0)
        assert found["message"].startswith("the compiler fails on these policies, which is a fault of turnout")
        assert broken["models"] == good["models"]
        folder.models("embed")
        await server.until(lambda s: s["policy"]["state"] == "ok")


@asynchronous
async def test_a_fault_of_the_translation_is_shown_and_it_is_tried_again(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = Snapshots.prepared
    fails = True

    def now_and_then(self: Snapshots, fleet: Fleet) -> Prepared:
        if fails:
            raise MemoryError
        return prepared(self, fleet)

    monkeypatch.setattr(Snapshots, "prepared", now_and_then)
    async with served(folder.path) as server:
        broken = await server.until(lambda s: s["policy"]["state"] == "broken")
        (found,) = broken["policy"]["diagnostics"]
        assert (found["code"], found["file"]) == ("X107", "policies")
        assert found["message"].startswith("the translation for Envoy fails on these policies")
        fails = False
        status = await server.until(lambda s: s["policy"]["state"] == "ok")
        assert status["policy"]["diagnostics"] == []
        assert await server.metric('turnout_policy_reloads_total{result="failed"}') == 1


@asynchronous
async def test_edits_are_found_though_nothing_can_be_watched(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The watcher says so with an exception of its own, which is no OSError."""

    def unwatchable(*_: object, **__: object) -> NoReturn:
        raise WatchfilesRustInternalError("error in underlying watcher: No space left on device")

    monkeypatch.setattr(xds.observe.policies, "awatch", unwatchable)
    async with served(folder.path) as server:
        await server.until(lambda s: s["policy"]["state"] == "ok")
        folder.models("chat")
        await server.until(lambda s: len(s["models"]) == 1)


@asynchronous
async def test_streams_do_not_wait_while_a_folder_is_looked_through(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a network file system that hangs, it takes as long as it takes."""
    look, goes_on = xds.observe.policies.fingerprint, threading.Event()

    def slowly(root: Path) -> xds.observe.policies.Fingerprint:
        assert goes_on.wait(DEADLINE), "the event loop waited for it"
        return look(root)

    monkeypatch.setattr(xds.observe.policies, "fingerprint", slowly)
    async with served(folder.path) as server:
        assert (await server.status())["policy"]["state"] == "loading"
        goes_on.set()
        await server.until(lambda s: s["policy"]["state"] == "ok")
