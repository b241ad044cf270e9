"""A server that starts without good policies serves what the one before it has kept, and says so."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import grpc
import pytest

import xds.control
import xds.keeping
from tests.features.ads import CLUSTER, LISTENER, stream
from tests.features.served import Folder, Served, asynchronous, cluster, model, served, until
from tests.features.test_serve import committed
from tests.features.test_tenants import owned, tenant
from xds.admin.overview import overview
from xds.keeping import Keeping
from xds.stream.state import Variant

both = pytest.mark.parametrize("variant", list(Variant))
CHAT, EMBED = cluster("chat"), cluster("embed")
BROKEN = model("chat") + "  weigth: 3\n"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def no_fleet(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last good policies are none to the version of turnout that is started next."""
    monkeypatch.setattr(Keeping, "_given_back", without_fleet)


_given_back = Keeping._given_back


def without_fleet(self: Keeping, last: Any, prepare: Any) -> Any:
    self._fleet_of = lambda *_: None
    return _given_back(self, last, prepare)


async def kept(server: Served) -> dict[str, Any]:
    """The status when what is served is on the disk."""
    return await server.until(lambda s: s["policy"]["state"] == "ok" and s["kept"] == {**s["kept"], **_of(s)})


def _of(status: Mapping[str, Any]) -> dict[str, str]:
    return {"digest": status["policy"]["digest"], "problem": ""}


async def dump(server: Served) -> Any:
    return json.loads((await server.get("/config_dump"))[1])


@both
@asynchronous
async def test_a_server_that_starts_with_broken_policies_serves_the_last_good(
    variant: Variant, folder: Folder, state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(folder.path, state) as server, stream(server.xds, variant) as envoy:
        await envoy.synced()
        before, shown = await kept(server), await dump(server)
    folder.write("models", BROKEN)
    async with served(folder.path, state) as server, stream(server.xds, variant) as envoy:
        await envoy.synced()
        now = await server.until(lambda s: s["policy"]["state"] == "broken")
        assert now["policy"]["digest"] == before["policy"]["digest"]
        last_good = now["policy"]["last_good"]
        assert (last_good["since"], last_good["fleet"]) == (before["policy"]["loaded_at"], True)
        assert last_good["reason"].startswith("policies/models.yaml:8:3: P101 ")
        assert now["models"] == before["models"]
        assert await dump(server) == shown
        assert await server.get("/readyz") == (200, "ready, with the last good policy from the disk\n")
        assert await server.metric("turnout_last_good") == 1
        assert overview(now)["ok"] is False
        assert f"last good served digest={before['policy']['digest']}" in caplog.text
        folder.models("chat", "embed", "new")
        change = await envoy.read()
        assert cluster("new") in change.names
        mended = await kept(server)
        assert mended["policy"]["last_good"] is None
        assert await server.metric("turnout_last_good") == 0


@both
@pytest.mark.parametrize("fleet", [True, False], ids=["with its policies", "resources alone"])
@asynchronous
async def test_an_envoy_that_comes_back_to_the_last_good_is_sent_nothing(
    fleet: bool, variant: Variant, folder: Folder, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where its listeners are where it wants them, which nobody has kept."""
    placed = {"turnout": {"port": 10001}}
    async with served(folder.path, state) as server, stream(server.xds, variant, **placed) as envoy:
        before = await envoy.synced()
        await kept(server)
    shutil.rmtree(folder.path)
    if not fleet:
        monkeypatch.setattr(Keeping, "_given_back", without_fleet)
    async with served(folder.path, state) as server, stream(server.xds, variant, **placed) as envoy:
        for type_ in (CLUSTER, LISTENER):
            await envoy.ask(type_, version=before[type_].version, versions=before[type_].versions)
        status = await server.until(lambda s: s["policy"]["state"] == "broken")
        assert status["policy"]["last_good"]["fleet"] is fleet
        await envoy.quiet()


@pytest.mark.parametrize("fleet", [True, False], ids=["with its policies", "resources alone"])
@asynchronous
async def test_what_an_envoy_refuses_of_the_last_good_is_told_with_the_commit_of_then(
    fleet: bool, folder: Folder, state: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Which came after the policies were served, and before those that are broken."""
    async with served(folder.path, state) as server:
        await kept(server)
        commit = committed(folder)
        await server.until(lambda s: s["policy"]["commit"] == commit)
        await until(lambda: _is_on_disk(state, commit))
    folder.write("models", BROKEN)
    if not fleet:
        monkeypatch.setattr(Keeping, "_given_back", without_fleet)
    async with served(folder.path, state) as server, stream(server.xds, Variant.DELTA) as envoy:
        await envoy.ask(CLUSTER)
        await envoy.refuse(await envoy.read(), "no")
        now = await server.until(lambda s: s["policy"]["state"] == "broken" and bool(s["envoys"]))
        assert now["policy"]["commit"] == commit
        await until(lambda: _is_logged(caplog, f"no · commit {commit}"))


async def _is_on_disk(state: Path, commit: str) -> bool | None:
    return any(commit in file.read_text() for file in (state / "served").glob("snapshot-*.json")) or None


async def _is_logged(caplog: pytest.LogCaptureFixture, text: str) -> bool | None:
    return text in caplog.text or None


@asynchronous
async def test_nothing_is_answered_where_nothing_was_kept(folder: Folder, state: Path) -> None:
    folder.write("models", BROKEN)
    async with served(folder.path, state) as server, stream(server.xds, Variant.DELTA) as envoy:
        await envoy.ask(CLUSTER)
        status = await server.until(lambda s: s["policy"]["state"] == "broken" and bool(s["envoys"]))
        assert (status["policy"]["last_good"], status["kept"]) == (None, {"digest": "", "problem": ""})
        assert status["envoys"][0]["types"]["cluster"]["sent"] == ""
        assert (await server.get("/readyz"))[0] == 503
        folder.models("chat")
        assert (await envoy.accepted()).names == {CHAT}


@asynchronous
async def test_a_broken_edit_is_not_kept(folder: Folder, state: Path) -> None:
    async with served(folder.path, state) as server:
        good = await kept(server)
        folder.write("models", BROKEN)
        await server.until(lambda s: s["policy"]["state"] == "broken")
    async with served(folder.path, state) as server:
        now = await server.until(lambda s: s["policy"]["state"] == "broken")
        assert now["policy"]["digest"] == good["policy"]["digest"]


@asynchronous
async def test_live_weights_hold_over_the_last_good_and_can_be_set(folder: Folder, state: Path) -> None:
    versions = '  versions: [{name: "1", weight: 90}, {name: "2", weight: 10}]\n'
    endpoints = "    - {address: 127.0.0.2, port: 9001, zone: az-1, version: VERSION}\n"
    text = model("chat").split("  endpoints:")[0] + "  endpoints:\n"
    text += endpoints.replace("VERSION", '"1"') + endpoints.replace("VERSION", '"2"').replace("9001", "9002") + versions
    folder.write("models", text)
    async with served(folder.path, state) as server:
        await kept(server)
        assert (await server.set_weights("chat", {"1": 50, "2": 50}))[0] == 200
        shown = await dump(server)
    folder.write("models", BROKEN)
    async with served(folder.path, state) as server:
        await server.until(lambda s: s["policy"]["state"] == "broken")
        assert await dump(server) == shown
        assert (await server.set_weights("chat", {"1": 0, "2": 100}))[0] == 200
        assert await dump(server) != shown


@asynchronous
async def test_a_snapshot_of_another_environment_is_not_served(
    folder: Folder, state: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    load = Keeping.load

    async def of_staging(self: Keeping) -> None:
        self._environment = "staging"
        await load(self)

    async with served(folder.path, state) as server:
        await kept(server)
    folder.write("models", BROKEN)
    monkeypatch.setattr(Keeping, "load", of_staging)
    async with served(folder.path, state) as server:
        now = await server.until(lambda s: s["policy"]["state"] == "broken")
        assert (now["policy"]["digest"], now["policy"]["last_good"]) == ("", None)
    assert "is of another environment, so it is not served" in caplog.text


@asynchronous
async def test_the_last_good_is_served_while_policies_cannot_be_read_at_all(
    folder: Folder, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a network file system that hangs."""
    async with served(folder.path, state) as server:
        good = await kept(server)
    monkeypatch.setattr(xds.control, "PATIENCE", 0.05)
    reads = asyncio.Event()

    async def hanging(*_: object) -> Any:
        await reads.wait()
        async for read in policies(folder.path):
            yield read

    policies = xds.observe.policies.policies
    monkeypatch.setattr("tests.features.served.policies", hanging)
    async with served(folder.path, state) as server:
        now = await server.until(lambda s: s["policy"]["last_good"] is not None)
        assert (now["policy"]["state"], now["policy"]["digest"]) == ("loading", good["policy"]["digest"])
        reads.set()
        await server.until(lambda s: s["policy"]["state"] == "ok" and s["policy"]["last_good"] is None)


@asynchronous
async def test_what_cannot_be_kept_is_told_and_served_all_the_same_and_tried_again(
    folder: Folder, state: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(xds.keeping, "AGAIN", 0.05)
    async with served(folder.path, state) as server, stream(server.xds, Variant.DELTA) as envoy:
        await envoy.synced()
        good = await kept(server)
        (state / "served").rename(state / "aside")
        (state / "served").write_text("no folder")
        folder.models("chat")
        assert CHAT not in (await envoy.accepted()).names
        now = await server.until(lambda s: s["kept"]["problem"] != "")
        assert now["policy"]["state"] == "ok"
        assert now["kept"]["digest"] == good["policy"]["digest"]
        assert await server.metric("turnout_keep_failing") == 1
        assert overview(now)["ok"] is False
        (state / "served").unlink()
        await kept(server)
        assert await server.metric("turnout_keep_failing") == 0
        assert caplog.text.count("snapshot cannot be kept") == 1


@both
@pytest.mark.usefixtures("no_fleet")
@asynchronous
async def test_the_resources_alone_are_served_where_the_policies_are_none_any_more(
    variant: Variant, folder: Folder, state: Path
) -> None:
    folder.write("tenants", "---\n".join(map(tenant, ("bank", "shop", "none"))))
    folder.write("own", owned("fraud", "bank") + "---\n" + owned("stock", "shop"))
    async with served(folder.path, state) as server, stream(server.xds, variant, cluster="sidecar.bank") as envoy:
        await envoy.synced()
        await kept(server)
        await until(lambda: in_newest(state, "sidecar.bank"))
        shown = await dump(server)
    folder.write("models", BROKEN)
    async with served(folder.path, state) as server:
        now = await server.until(lambda s: s["policy"]["state"] == "broken")
        assert now["policy"]["last_good"]["fleet"] is False
        assert await dump(server) == shown
        for group in ("sidecar.bank", "sidecar.none", "default"):
            async with stream(server.xds, variant, cluster=group) as envoy:
                await envoy.synced()
        async with stream(server.xds, variant, cluster="sidecar.shop") as envoy:
            await envoy.ask(CLUSTER)
            with pytest.raises(grpc.aio.AioRpcError, match="or no Envoy had asked for it: the last good snapshot"):
                await envoy.read()
        code, said = await server.set_weights("chat", {"1": 100})
        assert (code, "only the resources of the last good snapshot are served" in said["error"]) == (503, True)
        assert (await server.post("/explain", b"{}"))[0] == 503
        folder.models("chat")
        await kept(server)


async def in_newest(state: Path, group: str) -> bool | None:
    newest = max((state / "served").glob("*.json")).read_text()
    return group in json.loads(newest)["manifest"]["served"]["groups"] or None


@asynchronous
async def test_a_fault_with_the_last_good_policies_leaves_the_resources(
    folder: Folder, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(folder.path, state) as server:
        await kept(server)
        shown = await dump(server)

    def fail(*_: object) -> NoReturn:
        raise ZeroDivisionError

    folder.write("models", BROKEN)
    monkeypatch.setattr("tests.features.served.fleet_of", fail)
    async with served(folder.path, state) as server:
        now = await server.until(lambda s: s["policy"]["state"] == "broken")
        assert now["policy"]["last_good"]["fleet"] is False
        assert await dump(server) == shown
