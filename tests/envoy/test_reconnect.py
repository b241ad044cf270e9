"""What becomes of a real Envoy whose stream ends at a bad moment."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.envoy.envoy_process import EnvoyProcess, envoy_process, free_port
from tests.features.served import Folder, Served, asynchronous, cluster, model, served, until
from xds.bootstrap import bootstrap
from xds.snapshot import ResourceType
from xds.stream.connection import Connection
from xds.stream.state import Variant
from xds.stream.taking import Taking
from xds.stream.transitions import Sent

both = pytest.mark.parametrize("variant", list(Variant))
CHAT, NEW = cluster("chat"), cluster("new")
TIMEOUT = "  traffic: {connectionPool: {connectTimeout: 7s}}\n"


@dataclass
class Cut:
    """Ends the stream that sends clusters, before it can send their load assignments."""

    armed: bool = False
    meanwhile: Callable[[], None] = lambda: None
    """What is done before the Envoy is back."""


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> Cut:
    made, send = Cut(), Connection._send

    async def cutting(self: Connection, sent: Sent, taking: Taking) -> None:
        await send(self, sent, taking)
        if made.armed and sent.type is ResourceType.CLUSTER:
            made.armed = False
            made.meanwhile()
            self.end()

    monkeypatch.setattr(Connection, "_send", cutting)
    return made


@asynccontextmanager
async def in_service(variant: Variant, folder: Folder, work: Path) -> AsyncIterator[tuple[Served, EnvoyProcess]]:
    async with served(folder.path) as server:
        start = bootstrap(
            node_id="edge-1",
            cluster="default",
            zone="az-1",
            xds_address=server.xds,
            port=free_port(),
            address="127.0.0.1",
            delta=variant is Variant.DELTA,
        )
        with envoy_process(start, work, wait=False) as envoy:
            await server.until(in_sync)
            yield server, envoy


def in_sync(status: dict[str, Any]) -> bool:
    return any(envoy["synced"] and "route" in envoy["types"] for envoy in status["envoys"])


async def until_active(envoy: EnvoyProcess, wanted: dict[str, str]) -> None:
    """Until Envoy uses exactly these clusters, with these connect timeouts, and warms no other."""

    async def there() -> bool | None:
        dump = json.loads(await asyncio.to_thread(envoy.get, "/config_dump?mask=dynamic_active_clusters"))
        found = {}
        for part in dump["configs"]:
            for active in part.get("dynamic_active_clusters", []):
                found[active["cluster"]["name"]] = active["cluster"]["connect_timeout"]
        stats = await asyncio.to_thread(envoy.stats, "cluster_manager.warming_clusters")
        return (found == wanted and not any(stats.values())) or None

    await until(there)


@both
@asynchronous
async def test_a_cluster_whose_stream_ends_before_its_load_assignment_becomes_warm_on_the_next(
    variant: Variant, tmp_path: Path, cut: Cut
) -> None:
    folder = Folder(tmp_path / "policies")
    folder.write("chat", model("chat"))
    async with in_service(variant, folder, tmp_path) as (server, envoy):
        cut.armed = True
        folder.write("chat", model("chat", tail=TIMEOUT))
        await until_active(envoy, {CHAT: "7s"})
        await server.until(in_sync)
        folder.write("new", model("new"))
        await until_active(envoy, {CHAT: "7s", NEW: "1s"})
        await server.until(in_sync)


@both
@asynchronous
async def test_a_cluster_that_is_deleted_before_its_stream_is_back_holds_nothing_up(
    variant: Variant, tmp_path: Path, cut: Cut
) -> None:
    folder = Folder(tmp_path / "policies")
    folder.write("chat", model("chat"))
    folder.write("other", model("other"))
    async with in_service(variant, folder, tmp_path) as (server, envoy):
        cut.armed, cut.meanwhile = True, (folder.path / "chat.yaml").unlink
        folder.write("chat", model("chat", tail=TIMEOUT))
        await until_active(envoy, {cluster("other"): "1s"})
        await server.until(in_sync)
