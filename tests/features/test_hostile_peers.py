"""Clients and files that mean ill, against `turnout serve`: others are served meanwhile, and memory stays bounded."""

from __future__ import annotations

import asyncio
import random
import re
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from envoy.service.discovery.v3 import discovery_pb2
from h2.config import H2Configuration
from h2.connection import H2Connection

from tests.features.ads import CLUSTER, ENDPOINT, ROUTE, Stream, connected, stream
from tests.features.served import Folder, asynchronous, cluster, model, until
from tests.features.test_serve import turnout_serve, until_it_says
from xds.stream.limits import NAMES
from xds.stream.services import ADS
from xds.stream.state import Variant

MEMORY = 160 << 20
"""Bytes by which the server may grow in each of these."""
TURNS = 30
ENDPOINT_NAMES = {
    Variant.SOTW: ("resource_names", ""),
    Variant.DELTA: ("resource_names_subscribe", "resource_names_unsubscribe"),
}
METHOD = f"/{ADS.name}/{ADS.method(Variant.SOTW)}"


@dataclass
class Server:
    pid: int
    xds: str
    folder: Folder
    edits: int = 0
    said: list[str] = field(default_factory=list)

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.xds.rpartition(":")
        return host, int(port)

    def memory(self, which: str) -> int:
        """Bytes; `VmRSS`, or `VmHWM`, the most since the last `forget`."""
        found = re.search(rf"{which}:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        assert found is not None
        return int(found[1]) << 10

    def forget(self) -> None:
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    @contextmanager
    def bounded(self, most: int = MEMORY) -> Iterator[None]:
        self.forget()
        before = self.memory("VmRSS")
        yield
        grown = self.memory("VmHWM") - before
        assert grown <= most, f"{grown >> 20} MiB more than {before >> 20} MiB"

    async def serves_others(self) -> None:
        """One that comes now, and gets an edit."""
        async with stream(self.xds, Variant.DELTA, "good", port=18080) as envoy:
            await envoy.synced()
            self.edits += 1
            self.folder.write("edited", model("edited", 9100 + self.edits))
            while True:
                answer = await envoy.accepted()
                assigned = answer.resources.get(cluster("edited")) if answer.type is ENDPOINT else None
                if assigned and assigned.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.port_value == (
                    9100 + self.edits
                ):
                    return


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = Folder(tmp_path_factory.mktemp("hostile") / "policies")
    # A list of all clusters is larger than what a client takes that does not read: 64 KiB.
    folder.write("models", "---\n".join(model(f"m{n}", 10_000 + n) for n in range(200)))
    folder.write("edited", model("edited"))
    with turnout_serve(folder) as process:
        xds = until_it_says(process, r"listening xds=(\S+)")[1]
        until_it_says(process, "policy loaded")
        made = Server(process.pid, xds, folder)
        with _drained(process.stderr, made.said):
            asyncio.run(made.serves_others())
            yield made
        assert process.poll() is None, "".join(made.said)
    assert not [line for line in made.said if "Traceback" in line], "".join(made.said)


@contextmanager
def _drained(pipe: Any, said: list[str]) -> Iterator[None]:
    """Else the server waits when its log is full."""
    thread = threading.Thread(target=lambda: said.extend(pipe), daemon=True)
    thread.start()
    yield


@asynccontextmanager
async def connections(server: Server, count: int, first: bytes = b"") -> AsyncIterator[list[asyncio.StreamWriter]]:
    opened = [(await asyncio.open_connection(*server.address))[1] for _ in range(count)]
    for writer in opened:
        writer.write(first)
    try:
        yield opened
    finally:
        for writer in opened:
            writer.transport.abort()


class Http2:
    """A client that says what it likes on HTTP/2, and takes no more than the first 64 KiB of an answer."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._state = H2Connection(H2Configuration(client_side=True, header_encoding=None))
        self._state.initiate_connection()
        self.received = 0

    def open(self) -> int:
        number = self._state.get_next_available_stream_id()
        head = [(":method", "POST"), (":scheme", "http"), (":authority", "x"), (":path", METHOD)]
        self._state.send_headers(number, [*head, ("te", "trailers"), ("content-type", "application/grpc")])
        return number

    def send(self, number: int, data: bytes) -> None:
        size = self._state.max_outbound_frame_size
        allowed = data[: self._state.local_flow_control_window(number)]
        for at in range(0, len(allowed), size):
            self._state.send_data(number, allowed[at : at + size])

    async def flush(self) -> None:
        self._writer.write(self._state.data_to_send())
        await self._writer.drain()

    async def listen(self) -> None:
        """Answers pings and settings, and nothing else."""
        while data := await self._reader.read(1 << 16):
            for event in self._state.receive_data(data):
                self.received += len(getattr(event, "data", b"") or b"")
            await self.flush()


@asynccontextmanager
async def http2(server: Server) -> AsyncIterator[Http2]:
    reader, writer = await asyncio.open_connection(*server.address)
    client = Http2(reader, writer)
    listening = asyncio.create_task(client.listen())
    try:
        await client.flush()
        yield client
    finally:
        listening.cancel()
        writer.transport.abort()


async def read_all(envoy: Stream) -> None:
    while True:
        await envoy.read()


def framed(message: bytes, claimed: int | None = None) -> bytes:
    """A message as gRPC puts it on HTTP/2."""
    return b"\0" + (len(message) if claimed is None else claimed).to_bytes(4, "big") + message


def request(*names: str, type_: str = CLUSTER) -> bytes:
    found = discovery_pb2.DiscoveryRequest(type_url=type_, resource_names=names)
    found.node.id, found.node.cluster = "bad", "default"
    return bytes(found.SerializeToString())


@asynchronous
async def test_garbage(server: Server) -> None:
    chance = random.Random(1)
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    with server.bounded():
        for first in (b"", preface, preface + b"\0\0\0\4\0\0\0\0\0"):
            async with connections(server, 50) as opened:
                for writer in opened:
                    writer.write(first + chance.randbytes(20_000))
                await server.serves_others()


@asynchronous
async def test_half_messages(server: Server) -> None:
    """As much of each as the server lets in."""
    with server.bounded(256 << 20):  # 200 times a mebibyte, the largest message there may be
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(http2(server)) for _ in range(2)]
            opened = [(client, client.open()) for client in clients for _ in range(100)]
            for client, number in opened:
                client.send(number, framed(b"", claimed=(1 << 20) - 1))
            for _ in range(32):
                for client, number in opened:
                    client.send(number, bytes(1 << 15))
                    await client.flush()
                await asyncio.sleep(0)
            await server.serves_others()


@asynchronous
async def test_metadata_of_a_mebibyte(server: Server) -> None:
    with server.bounded():
        for _ in range(5):
            async with connected(server.xds) as channel:
                call: Any = channel.stream_stream(METHOD)(metadata=(("x-large", "x" * (1 << 20)),))
                with pytest.raises(grpc.aio.AioRpcError) as problem:
                    await call.read()
                assert problem.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await server.serves_others()


@pytest.mark.parametrize("variant", list(Variant))
@asynchronous
async def test_ten_thousand_names(server: Server, variant: Variant) -> None:
    """As many as may be, others each time; one more ends the stream."""
    wanted, unwanted = ENDPOINT_NAMES[variant]
    with server.bounded(320 << 20):  # 500 to 700 MiB, and no end, where what is kept is counted without its names
        for turn in range(TURNS):
            async with stream(server.xds, variant, "bad") as envoy:
                before: list[str] = []
                for again in range(10):
                    names = [f"{turn}-{again}-{n}" for n in range(NAMES)]
                    await envoy.request(ENDPOINT, **{wanted: names}, **({unwanted: before} if unwanted else {}))
                    before = names
                await envoy.request(ENDPOINT, **{wanted: ["one more", *names]})
                with pytest.raises(grpc.aio.AioRpcError, match="10,001 names of one type; 10,000 are the limit") as end:
                    await read_all(envoy)
                assert end.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await server.serves_others()


@asynchronous
async def test_ten_thousand_versions_that_a_client_says_it_has(server: Server) -> None:
    with server.bounded(128 << 20):
        for turn in range(TURNS):
            async with stream(server.xds, Variant.DELTA, "bad") as envoy:
                for number, type_ in enumerate((CLUSTER, ENDPOINT)):
                    has = {f"{turn}-{number}-{n}": f"{n}" for n in range(NAMES)}
                    await envoy.request(type_, initial_resource_versions=has)
                await envoy.read()
                await envoy.request(ROUTE, initial_resource_versions={**has, "one more": ""})
                with pytest.raises(grpc.aio.AioRpcError, match="10,001 names of one type"):
                    await read_all(envoy)
        await server.serves_others()


@asynchronous
async def test_500_streams_that_are_reset_at_once(server: Server) -> None:
    with server.bounded():
        for _ in range(4):
            async with AsyncExitStack() as stack:
                channels = [await stack.enter_async_context(connected(server.xds)) for _ in range(5)]
                calls: list[Any] = [channel.stream_stream(METHOD)() for channel in channels for _ in range(100)]
                await asyncio.gather(*(call.write(request()) for call in calls))
                for call in calls:
                    call.cancel()
                await server.serves_others()


@asynchronous
async def test_readers_that_stop(server: Server) -> None:
    """They ask for everything and take 64 KiB of it, while policy changes under them."""
    with server.bounded():
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(http2(server)) for _ in range(50)]
            for client in clients:
                client.send(client.open(), framed(request()))
                await client.flush()

            async def full() -> bool | None:
                return all(client.received >= (1 << 16) - 1 for client in clients) or None

            await until(full)
            for _ in range(5):
                await server.serves_others()


@asynchronous
async def test_floods_of_acknowledgements(server: Server) -> None:
    async def flood(envoy: Stream, nonce: Callable[[], str]) -> None:
        while True:
            await envoy.request(CLUSTER, response_nonce=nonce())

    chance = random.Random(2)
    with server.bounded():
        async with AsyncExitStack() as stack:
            tasks = []
            for number in range(8):
                envoy = await stack.enter_async_context(stream(server.xds, Variant.SOTW, f"bad-{number}"))
                await envoy.ask(CLUSTER)
                answer = await envoy.accepted()
                nonces = (partial(str, answer.nonce), lambda: chance.randbytes(100).hex())
                tasks.append(asyncio.create_task(flood(envoy, nonces[number % 2])))
            for _ in range(3):
                await server.serves_others()
            for task in tasks:
                assert not task.done()
                task.cancel()


@asynchronous
async def test_a_thousand_connections_that_say_nothing(server: Server) -> None:
    with server.bounded():
        async with connections(server, 1_000):
            await server.serves_others()


@asynchronous
async def test_hundreds_of_streams_that_say_nothing(server: Server) -> None:
    with server.bounded():
        async with AsyncExitStack() as stack:
            channels = [await stack.enter_async_context(connected(server.xds)) for _ in range(6)]
            calls: list[Any] = [channel.stream_stream(METHOD)() for channel in channels for _ in range(100)]
            await asyncio.gather(*(call.wait_for_connection() for call in calls))
            await server.serves_others()


@asynchronous
async def test_a_huge_policy_and_half_of_one(server: Server) -> None:
    """What is served stays; the next good edit is."""
    text = "---\n".join(model(f"huge-{n}", 20_000 + n) for n in range(20_000))
    file = server.folder.path / "huge.yaml"
    good = stream(server.xds, Variant.DELTA, "good", port=18081)
    with server.bounded(512 << 20):
        async with good as envoy:
            await envoy.synced()
            for content in (text, text[: len(text) // 2 + 7], "a: " + "[" * (1 << 20), "#" * (17 << 20)):
                file.write_text(content)
                async with stream(server.xds, Variant.SOTW, "other") as other:
                    await other.synced()
                await envoy.quiet()
            file.unlink()
            await server.serves_others()
