"""A real Envoy and the control server over mutual TLS: who is refused, what a rotation costs, what an expiry ends."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from compiler.envoy.xds_tls import XdsTls, secrets
from tests.certificates import SERVER, Authority, Pair
from tests.envoy.envoy_process import EnvoyProcess, envoy_process, free_port
from tests.envoy.upstream import upstreams
from tests.features.served import Folder, Served, asynchronous, served, until
from xds.bootstrap import bootstrap
from xds.hangup import hang_up
from xds.stream.connection import Connection
from xds.tls.files import Certificates, Files

TIMEOUTS = ("7s", "8s", "9s")


@dataclass
class Machines:
    """Files of the server's machine and of Envoy's."""

    authority: Authority
    server: Pair
    """Its copy: a rotation changes it."""
    envoy: Pair
    trusted: Path
    """By Envoy."""
    sds: Path
    certificates: Certificates

    def bootstrap(self, server: Served, port: int) -> str:
        tls = XdsTls(str(self.trusted), str(self.envoy.certificate), str(self.envoy.key), str(self.sds), SERVER)
        self.sds.mkdir(exist_ok=True)
        for name, content in secrets(tls).items():
            (self.sds / name).write_text(json.dumps(content))
        who = {"node_id": "edge-1", "cluster": "default", "zone": "az-1"}
        return bootstrap(**who, xds_address=server.xds, port=port, address="127.0.0.1", tls=tls)

    def trust(self, *authorities: Authority) -> None:
        fresh = self.trusted.with_suffix(".new")
        fresh.write_bytes(b"".join(authority.certificate.read_bytes() for authority in authorities))
        fresh.replace(self.trusted)


@pytest.fixture
def machines(tmp_path: Path) -> Machines:
    authority = Authority(tmp_path / "ca")
    server, envoy = Pair(tmp_path / "server"), Pair(tmp_path / "envoy")
    for copy, original in ((server, authority.server()), (envoy, authority.envoy())):
        copy.folder.mkdir()
        copy.become(original)
    files = Files(server.certificate, server.key, authority.certificate)
    made = Machines(authority, server, envoy, envoy.folder / "ca.crt", envoy.folder / "sds", Certificates("xds", files))
    made.trust(authority)
    return made


def policy(port: int, timeout: str = "1s") -> str:
    return (
        "apiVersion: turnout.dev/v1\nkind: InferenceModel\nmetadata: {name: chat}\nspec:\n  modelName: example/chat\n"
        f"  endpoints: [{{address: 127.0.0.1, port: {port}}}]\n"
        f"  traffic: {{connectionPool: {{connectTimeout: {timeout}}}}}\n"
    )


@asynccontextmanager
async def in_service(machines: Machines, folder: Folder) -> AsyncIterator[tuple[Served, EnvoyProcess, int]]:
    """And the port that Envoy is to listen on."""
    port = free_port()
    async with served(folder.path, tls=machines.certificates) as server:
        await server.until(lambda status: status["policy"]["state"] == "ok")
        work = machines.envoy.folder
        with envoy_process(machines.bootstrap(server, port), work, wait=False) as envoy:
            yield server, envoy, port


async def until_asked_for(envoy: EnvoyProcess, stat: str, least: int = 1) -> None:
    async def there() -> bool | None:
        try:
            found = await asyncio.to_thread(envoy.stats, f"^{stat}$")
        except OSError:
            return None  # it has just been started
        return found.get(stat, 0) >= least or None

    await until(there)


async def until_synced(server: Served, envoy: EnvoyProcess, timeout: str | None = None) -> None:
    await server.until(lambda s: any(e["synced"] and "route" in e["types"] for e in s["envoys"]))
    if timeout is not None:

        async def there() -> bool | None:
            found = await asyncio.to_thread(envoy.get, "/config_dump?mask=dynamic_active_clusters")
            return f'"connect_timeout": "{timeout}"' in found or None

        await until(there)


@asynchronous
async def test_an_envoy_of_another_ca_and_one_whose_certificate_has_expired_are_refused(
    machines: Machines, tmp_path: Path
) -> None:
    folder = Folder(tmp_path / "policies")
    folder.write("chat", policy(9001))
    strangers = Authority(tmp_path / "strangers")
    late = machines.authority.envoy(name="late", lasting=timedelta(seconds=-1))
    for pair in (strangers.envoy(), late):
        machines.envoy.become(pair)
        async with in_service(machines, folder) as (server, envoy, _):
            await until_asked_for(envoy, "cluster.turnout_xds.upstream_cx_total", 3)
            assert (await server.status())["envoys"] == []
            # With TLS 1.3 the client is done before the server has looked, and takes itself for connected so long.
            assert envoy.stats("^cluster_manager.cds.update_success$") == {"cluster_manager.cds.update_success": 0}


@asynchronous
async def test_an_envoy_refuses_a_server_that_it_does_not_trust(machines: Machines, tmp_path: Path) -> None:
    folder = Folder(tmp_path / "policies")
    folder.write("chat", policy(9001))
    machines.trust(Authority(tmp_path / "strangers"))
    async with in_service(machines, folder) as (server, envoy, _):
        await until_asked_for(envoy, "cluster.turnout_xds.ssl.fail_verify_error")
        assert (await server.status())["envoys"] == []


@asynchronous
async def test_an_envoy_gets_nothing_of_a_group_that_is_not_its_identity_s(machines: Machines, tmp_path: Path) -> None:
    folder = Folder(tmp_path / "policies")
    folder.write("chat", policy(9001))
    machines.envoy.become(machines.authority.envoy("staff"))
    async with in_service(machines, folder) as (server, envoy, _):
        found = await server.until(lambda status: bool(status["turned_away"]))
        who = "spiffe://example.com/turnout/staff"
        assert found["turned_away"][0]["client"] == f"edge-1 ({who})"
        assert found["turned_away"][0]["reason"] == f"X105 node edge-1: group 'default' is not for {who}"
        assert envoy.stats("^cluster_manager.active_clusters$") == {"cluster_manager.active_clusters": 1}


@dataclass
class Load:
    """Requests without a pause."""

    port: int
    answered: int = 0
    failures: list[str] = field(default_factory=list)


@contextmanager
def load(port: int) -> Iterator[Load]:
    made, stop = Load(port), threading.Event()

    def ask() -> None:
        while not stop.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            try:
                connection.request("POST", "/v1/chat/completions", b'{"model": "chat"}', JSON)
                answer = connection.getresponse()
                if answer.status != 200:
                    made.failures.append(f"{answer.status} {answer.read()!r}")
                made.answered += 1
            except (OSError, http.client.HTTPException) as problem:
                made.failures.append(repr(problem))
            finally:
                connection.close()

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield made
    finally:
        stop.set()
        for thread in threads:
            thread.join()


JSON = {"content-type": "application/json"}


def streams(server: Served) -> list[Connection]:
    return [stream for stream in server.server._connections if stream.identity is not None]


async def until_shown(server: Served, right: Callable[[Connection], bool]) -> None:
    """Hangs up until Envoy's stream is one that `right` holds of."""

    async def there() -> bool | None:
        found = streams(server)
        if any(right(stream) for stream in found):
            return True
        for stream in found:
            hang_up(stream._context.peer())
        await asyncio.sleep(0.1)
        return None

    await until(there)


@asynchronous
async def test_a_rotation_of_both_sides_under_load_loses_no_request_and_no_edit(
    machines: Machines, tmp_path: Path
) -> None:
    folder = Folder(tmp_path / "policies")
    with upstreams("chat") as found:
        upstream = found["chat"].port
        folder.write("chat", policy(upstream))
        async with in_service(machines, folder) as (server, envoy, port):
            await until_synced(server, envoy)
            await until_asked_for(envoy, "cluster.chat_1.membership_healthy")
            successor = Authority(tmp_path / "successor")
            with load(port) as asked:
                # Envoy's own first.
                machines.envoy.become(machines.authority.envoy(name="renewed", lasting=timedelta(days=700)))
                renewed = streams(server)[0].identity.not_after  # type: ignore[union-attr]
                folder.write("chat", policy(upstream, TIMEOUTS[0]))
                await until_synced(server, envoy, TIMEOUTS[0])
                await until_shown(server, lambda s: s.identity is not None and s.identity.not_after > renewed)
                # The server's, by another authority, which Envoys trust before it is used.
                machines.trust(machines.authority, successor)
                machines.server.become(successor.server())
                assert machines.certificates.look()
                folder.write("chat", policy(upstream, TIMEOUTS[1]))
                await until_synced(server, envoy, TIMEOUTS[1])
                old = set(streams(server))
                await until_shown(server, lambda s: s not in old)
                machines.trust(successor)
                old = set(streams(server))
                await until_shown(server, lambda s: s not in old)
                folder.write("chat", policy(upstream, TIMEOUTS[2]))
                await until_synced(server, envoy, TIMEOUTS[2])
            assert asked.failures == []
            assert asked.answered > 20


@asynchronous
async def test_an_envoy_whose_certificate_expires_is_cut_off_and_is_back_with_another(
    machines: Machines, tmp_path: Path
) -> None:
    folder = Folder(tmp_path / "policies")
    folder.write("chat", policy(9001))
    machines.envoy.become(machines.authority.envoy(name="short", lasting=timedelta(seconds=6)))
    async with in_service(machines, folder) as (server, envoy, _):
        await until_synced(server, envoy)
        found = await server.until(lambda status: bool(status["turned_away"]))
        who = "spiffe://example.com/turnout/default"
        assert found["turned_away"][0]["reason"] == f"X105 the certificate of {who} has expired"
        await server.until(lambda status: status["envoys"] == [])
        folder.write("chat", policy(9001, TIMEOUTS[0]))
        machines.envoy.become(machines.authority.envoy(name="renewed"))
        await until_synced(server, envoy, TIMEOUTS[0])
        assert (await server.status())["turned_away"] == []
