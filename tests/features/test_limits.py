"""Streams that the server ends as they take or say nothing."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import socket
from pathlib import Path
from typing import NoReturn

import grpc
import pytest
from envoy.service.discovery.v3 import discovery_pb2

from tests.features.ads import CLUSTER, LISTENER, NARROW, connected, stream
from tests.features.served import DEADLINE, Folder, asynchronous, model, served, until
from xds.hangup import hang_up
from xds.stream import connection, taking
from xds.stream.connection import Connection
from xds.stream.services import ADS, SEPARATE
from xds.stream.state import Variant

METHOD = f"/{ADS.name}/{ADS.method(Variant.SOTW)}"


@asynchronous
async def test_a_stream_that_asks_for_nothing_is_ended(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "SILENT", 0.1)
    async with served(folder.path) as server, connected(server.xds) as channel:
        call = channel.stream_stream(METHOD)()
        with pytest.raises(grpc.aio.AioRpcError, match="X105 no request within") as end:
            await asyncio.wait_for(call.read(), DEADLINE)
        assert end.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await server.until(lambda s: [c["client"] for c in s["turned_away"]] == ["ipv4:127.0.0.1"])


@asynchronous
async def test_a_stream_that_is_refused_leaves_nothing_for_python_to_collect(folder: Folder) -> None:
    """That may be much later, and what such clients have sent without being read would be as much meanwhile."""
    async with served(folder.path) as server:
        await server.until(lambda s: s["policy"]["state"] == "ok")
        gc.collect()  # what other tests have left
        gc.disable()
        try:
            async with stream(server.xds, Variant.DELTA, cluster="nowhere") as envoy:
                await envoy.ask(CLUSTER)
                assert (await envoy.ended())[0] is grpc.StatusCode.PERMISSION_DENIED

            async def gone() -> bool | None:
                return None if any(isinstance(found, Connection) for found in gc.get_objects()) else True

            await until(gone)
        finally:
            gc.enable()


@pytest.mark.parametrize("fails", [0, 2])
@asynchronous
async def test_a_reader_that_takes_nothing_is_hung_up_on(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, fails: int
) -> None:
    """gRPC itself would keep its stream and the response for ever. At the first attempts it may not be possible."""
    monkeypatch.setattr(taking, "STALLED", 0.3)
    attempts: list[str] = []

    def after_failing(peer: str) -> bool:
        attempts.append(peer)
        return len(attempts) > fails and hang_up(peer)

    monkeypatch.setattr(taking, "hang_up", after_failing)
    folder.write("many", "---\n".join(model(f"m{n}", 10_000 + n) for n in range(300)))
    async with served(folder.path) as server:
        await server.until(lambda s: s["policy"]["state"] == "ok")
        async with (
            grpc.aio.insecure_channel(server.xds, options=NARROW) as channel,
            stream(server.xds, Variant.DELTA, "good") as good,
        ):
            call = channel.stream_stream(METHOD)()
            await call.write(_asking(LISTENER))
            await call.read()  # it has taken one before it takes no more
            await call.write(_asking(CLUSTER))

            async def gone() -> bool | None:
                found = (await server.status())["turned_away"]
                return (
                    any(c["client"] == "slow" and "it has not taken a response" in c["reason"] for c in found) or None
                )

            await good.synced()
            await until(gone)
            await server.until(lambda s: [envoy["node"] for envoy in s["envoys"]] == ["good"])
            assert await server.metric('turnout_streams_refused_total{code="DEADLINE_EXCEEDED"}') == 1
            assert len(attempts) == fails + 1
            await asyncio.wait_for(call.code(), DEADLINE)


def _asking(type_: str) -> bytes:
    asked = discovery_pb2.DiscoveryRequest(type_url=type_)
    asked.node.id, asked.node.cluster = "slow", "default"
    return bytes(asked.SerializeToString())


@asynchronous
async def test_hanging_up_ends_the_connection_of_one_peer_alone(folder: Folder) -> None:
    async with (
        served(folder.path) as server,
        stream(server.xds, Variant.DELTA, "one") as one,
        stream(server.xds, Variant.DELTA, "other") as other,
    ):
        await one.synced()
        await other.synced()
        streams: dict[str, Connection] = {s.node.id: s for s in server.server._connections if s.node is not None}
        assert hang_up(streams["one"]._context.peer())
        await server.until(lambda s: [envoy["node"] for envoy in s["envoys"]] == ["other"])
        await other.quiet()
        assert not hang_up("ipv4:192.0.2.1:1")
        assert not hang_up("unix:/tmp/socket")


def test_where_no_more_files_may_be_open_nobody_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(_: Path) -> NoReturn:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with socket.create_server(("127.0.0.1", 0)) as listening, socket.create_connection(listening.getsockname()) as one:
        peer = f"ipv4:127.0.0.1:{one.getpeername()[1]}"
        with monkeypatch.context() as patched:  # and not the limit of the process, whose other threads open files, too
            patched.setattr(Path, "iterdir", none_left)
            assert not hang_up(peer)
        before = len(list(Path("/dev/fd").iterdir()))
        assert hang_up(peer)
        assert not hang_up("ipv4:192.0.2.1:1")
        assert len(list(Path("/dev/fd").iterdir())) <= before  # most of them are no sockets


@asynchronous
async def test_one_node_has_no_more_streams_that_heed_each_other_than_it_can_use(folder: Folder) -> None:
    eds = next(service for service in SEPARATE if service.label == "EDS")
    async with served(folder.path) as server, connected(server.xds) as channel:
        calls = [channel.stream_stream(f"/{eds.name}/{eds.method(Variant.SOTW)}")() for _ in range(65)]
        for call in calls:
            await call.write(_asking(str(eds.type)))
        await server.until(lambda s: len(s["envoys"]) == 64 and len(s["turned_away"]) == 1)
