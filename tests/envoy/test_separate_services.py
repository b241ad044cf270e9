"""Clusters, listeners and runtime layers from services of their own, to a real Envoy.

Load assignments and routes come by ADS all the same: our clusters and listeners say so.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from demo.processes import poll
from demo.stack import Envoy, healthy
from demo.traffic import Load, chat
from tests.envoy.envoy_process import envoy_process, free_port
from tests.envoy.live import live
from tests.envoy.test_live_changes import edit
from tests.features.served import Folder, asynchronous, cluster, model, served, until
from tests.features.test_csds import status_call, views
from xds.bootstrap import bootstrap
from xds.snapshot import ResourceType
from xds.stream.state import Variant

both = pytest.mark.parametrize("variant", list(Variant))
EDITS = 15
SLOWER = "  traffic: {connectionPool: {connectTimeout: 7s}}\n"


def separate(xds: str, variant: Variant, port: int, *, ads: bool = True) -> str:
    """The bootstrap of `turnout bootstrap`, but with clusters, listeners and runtime layers apart from ADS."""
    delta = variant is Variant.DELTA
    text = bootstrap(
        node_id="apart", cluster="default", zone="az-1", xds_address=xds, port=port, address="127.0.0.1", delta=delta
    )
    document: dict[str, Any] = json.loads(text)
    dynamic = document["dynamic_resources"]
    source = {**dynamic["cds_config"], "api_config_source": dynamic["ads_config"]}
    del source["ads"]
    dynamic["cds_config"] = dynamic["lds_config"] = source
    document["layered_runtime"]["layers"][0]["rtds_layer"]["rtds_config"] = source
    if not ads:
        del dynamic["ads_config"]
    return json.dumps(document)


def in_sync(status: dict[str, Any]) -> bool:
    """The Envoy has all of its streams, and on each all that it is to have."""
    services = [envoy["service"] for envoy in status["envoys"] if envoy["synced"]]
    return sorted(services) == ["ADS", "CDS", "LDS", "RTDS"] and all(envoy["synced"] for envoy in status["envoys"])


@both
def test_edits_under_load_lose_no_request(variant: Variant, tmp_path: Path) -> None:
    with live(tmp_path, "delta", "--answer-time", "5ms") as fleet:
        port, work = free_port(), tmp_path / "apart"
        work.mkdir()
        with envoy_process(separate(fleet.control.xds, variant, port), work) as process:
            apart = Envoy(fleet.envoy.process, f"http://127.0.0.1:{port}", f"http://{process.admin}")
            wanted = {(instance.address, instance.port) for instance in fleet.servers}
            assert poll(lambda: wanted <= healthy(apart), 20)
            with Load(apart.url, 10, chat("split"), chat("tiers"), chat("auto"), chat("tiers", stream=True)) as load:
                for number in range(EDITS):
                    before = fleet.status()["policy"]["digest"]
                    edit(fleet, number)
                    fleet.wait_for_edit(before)
                    load.wait_for(20)
            assert not load.tally().failures, load.tally().failures
            assert process.stats("cluster_manager.warming_clusters") == {"cluster_manager.warming_clusters": 0}


@both
@asynchronous
async def test_an_envoy_whose_streams_all_end_comes_back_and_has_what_changed_meanwhile(
    variant: Variant, tmp_path: Path
) -> None:
    """Clusters that changed wait for load assignments, for which Envoy does not ask again, on another stream."""
    folder = Folder(tmp_path / "policies")
    folder.models("chat", "gone")
    async with served(folder.path) as server:
        with envoy_process(separate(server.xds, variant, free_port()), tmp_path, wait=False) as envoy:
            before = (await server.until(in_sync))["policy"]["digest"]
            for connection in tuple(server.server._connections):
                connection.end()
            folder.write("models", model("chat", tail=SLOWER) + "---\n" + model("new"))
            await server.until(lambda s: s["policy"]["digest"] != before and in_sync(s))

            def clusters() -> dict[str, str]:
                dump = json.loads(envoy.get("/config_dump?mask=dynamic_active_clusters"))
                active = [found for part in dump["configs"] for found in part.get("dynamic_active_clusters", [])]
                return {found["cluster"]["name"]: found["cluster"]["connect_timeout"] for found in active}

            async def there() -> bool | None:
                return clusters() == {cluster("chat"): "7s", cluster("new"): "1s"} or None

            await until(there)


@both
@asynchronous
async def test_the_client_status_shows_one_envoy_with_all_that_it_has(variant: Variant, tmp_path: Path) -> None:
    folder = Folder(tmp_path / "policies")
    folder.models("chat")
    async with served(folder.path) as server:
        with envoy_process(separate(server.xds, variant, free_port()), tmp_path, wait=False):
            await server.until(in_sync)
            async with status_call(server) as ask:
                (config,) = (await ask()).config
    assert {views(entry) for entry in config.generic_xds_configs} == {("SYNCED", "ACKED")}
    assert {entry.type_url for entry in config.generic_xds_configs} == set(ResourceType)
    assert (config.node.id, config.node.user_agent_name, len(config.node.extensions)) == ("apart", "envoy", 0)
    assert config.ByteSize() < 100_000


@both
@asynchronous
async def test_without_ads_an_envoy_refuses_our_clusters_and_says_why(variant: Variant, tmp_path: Path) -> None:
    folder = Folder(tmp_path / "policies")
    folder.models("chat")
    async with served(folder.path) as server:
        start = separate(server.xds, variant, free_port(), ads=False)
        with envoy_process(start, tmp_path, wait=False):
            status = await server.until(lambda s: any("cluster" in e["types"] for e in s["envoys"]) and refusals(s))
            assert "ADS must be configured to support an ADS config source" in refusals(status)[0]["detail"]


def refusals(status: dict[str, Any]) -> list[dict[str, Any]]:
    return [r for envoy in status["envoys"] for found in envoy["types"].values() for r in found["refused"]]
