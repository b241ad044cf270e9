"""A real Envoy whose control server is told to stop goes to another one, and no request notices."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.envoy.envoy_process import envoy_process, free_port
from tests.envoy.upstream import upstreams
from tests.features.served import Folder, Served, asynchronous, cluster, served, until
from xds.bootstrap import bootstrap
from xds.stream import server as xds_server
from xds.stream.state import Variant

MODEL = """\
apiVersion: turnout.dev/v1
kind: InferenceModel
metadata: {{name: {name}}}
spec: {{modelName: example/{name}, endpoints: [{{address: 127.0.0.1, port: {port}}}]}}
"""


def beginning(variant: Variant, port: int, *addresses: str) -> str:
    """A bootstrap that knows several control servers."""
    made = json.loads(
        bootstrap(
            node_id="edge-1",
            cluster="default",
            zone="az-1",
            xds_address=addresses[0],
            port=port,
            address="127.0.0.1",
            delta=variant is Variant.DELTA,
        )
    )
    (endpoints,) = made["static_resources"]["clusters"][0]["load_assignment"]["endpoints"]
    endpoints["lb_endpoints"] = [
        {"endpoint": {"address": {"socket_address": {"address": host, "port_value": int(number)}}}}
        for host, _, number in (address.rpartition(":") for address in addresses)
    ]
    return json.dumps(made)


@contextmanager
def asking_all_the_time(port: int) -> Iterator[list[int]]:
    """The statuses of answers so far; 0 is none at all."""
    statuses: list[int] = []
    stop = threading.Event()

    def run() -> None:
        body = json.dumps({"model": "chat", "messages": []})
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        while not stop.is_set():
            try:
                connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
                response = connection.getresponse()
                response.read()
                statuses.append(response.status)
            except OSError:
                statuses.append(0)
            stop.wait(0.005)
        connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield statuses
    finally:
        stop.set()
        thread.join()


async def has_the_envoy(server: Served) -> bool:
    envoys = (await server.status())["envoys"]
    return any(envoy["synced"] and "route" in envoy["types"] for envoy in envoys)


@pytest.mark.parametrize("variant", list(Variant))
@asynchronous
async def test_an_envoy_moves_to_another_server_when_its_own_drains(variant: Variant, tmp_path: Path) -> None:
    folder, port = Folder(tmp_path / "policies"), free_port()
    with upstreams("chat", "new") as models:
        folder.write("chat", MODEL.format(name="chat", port=models["chat"].port))
        async with served(folder.path) as one, served(folder.path) as two:
            with envoy_process(beginning(variant, port, one.xds, two.xds), tmp_path, wait=False) as envoy:

                async def chosen() -> Served | None:
                    return one if await has_the_envoy(one) else two if await has_the_envoy(two) else None

                async def well() -> bool | None:
                    hosts = await asyncio.to_thread(envoy.host_health, cluster("chat"))
                    return hosts.get(models["chat"].port) == set() or None

                first = await until(chosen)
                other = two if first is one else one
                await until(well)
                with asking_all_the_time(port) as statuses:
                    await first.server.drain(1.0)
                    await other.until(lambda status: any(envoy["synced"] for envoy in status["envoys"]))
                    sent = await other.metric(f'turnout_pushes_total{{type="cluster",variant="{variant}"}}')
                    folder.write("new", MODEL.format(name="new", port=models["new"].port))

                    async def moved() -> bool | None:
                        return cluster("new") in await asyncio.to_thread(envoy.get, "/clusters") or None

                    await until(moved)
                assert set(statuses) == {200}
                assert sent == 0, "what it had already was sent again"
                assert first.server.peers() == ()


@pytest.mark.parametrize("variant", list(Variant))
@asynchronous
async def test_an_envoy_whose_connections_grow_old_comes_back_and_is_sent_nothing_twice(
    variant: Variant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    young = {"grpc.max_connection_age_ms": 300, "grpc.max_connection_age_grace_ms": 100}
    monkeypatch.setattr(xds_server, "OPTIONS", tuple((k, young.get(k, v)) for k, v in xds_server.OPTIONS))
    folder, port = Folder(tmp_path / "policies"), free_port()
    with upstreams("chat", "new") as models:
        folder.write("chat", MODEL.format(name="chat", port=models["chat"].port))
        async with served(folder.path) as server:
            with envoy_process(beginning(variant, port, server.xds), tmp_path, wait=False) as envoy:
                await server.until(lambda status: any("route" in peer["types"] for peer in status["envoys"]))

                async def well() -> bool | None:
                    hosts = await asyncio.to_thread(envoy.host_health, cluster("chat"))
                    return hosts.get(models["chat"].port) == set() or None

                async def many() -> bool | None:
                    stats = await asyncio.to_thread(envoy.stats, "cluster.turnout_xds.upstream_cx_total")
                    return sum(stats.values()) >= 4 or None

                async def arrived() -> bool | None:
                    return cluster("new") in await asyncio.to_thread(envoy.get, "/clusters") or None

                await until(well)
                with asking_all_the_time(port) as statuses:
                    await until(many)
                    sent = await server.metric(f'turnout_pushes_total{{type="cluster",variant="{variant}"}}')
                    folder.write("new", MODEL.format(name="new", port=models["new"].port))
                    await until(arrived)
    assert set(statuses) == {200}
    assert sent == 1
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
