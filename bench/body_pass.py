"""What the body pass costs Envoy: processor time for each request, as ratios to a proxy that looks at no body.

All are the same Envoy with the same cluster, route, limits and client; they differ in what stands before the router:

  plain    nothing; the body streams through
  buffer   Envoy's buffer filter: the whole body is held before it goes on, which whoever reads it first must do
  json     Envoy's json_to_metadata filter: finds the model, checks and counts nothing
  turnout  the body pass: model, stream flag and length of the prompt from one reading, malformed bodies refused

One client asks and waits, so that only time on the processor is compared. They take turns, and all turns count.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.filters.http.buffer.v3 import buffer_pb2
from envoy.extensions.filters.http.json_to_metadata.v3 import json_to_metadata_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from google.protobuf.message import Message

from tests.envoy.envoy_process import EnvoyProcess, envoy_process, free_port, wait_until
from tests.envoy.static_files import bootstrap_from_files, messages
from tests.xds.translate.fleets import endpoint, fleet, model, version
from xds.snapshot import ResourceSet, ResourceType, Snapshot
from xds.translate import Group, Placement, snapshot
from xds.translate.messages import message_resource, packed

KI = 1024
TURNS = 3
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
LINE = 'The quick brown fox jumps over the lazy dog, and the dog, who has seen this before, says "again?"\n'
TEXTS = {
    "mixed": LINE + "Der Fuchs läuft weiter. 狐狸跑了 🦊.\n",
    "ascii": LINE,
    "cjk": "敏捷的棕色狐狸跳过懒狗、见过世面的狗说「又来」。\n",
}


class Sink(asyncio.Protocol):
    """Takes a body of any size, looks at none of it and answers `ok`."""

    def __init__(self) -> None:
        self.head, self.left = b"", 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        if not self.left:
            self.head += data
            head, found, data = self.head.partition(b"\r\n\r\n")
            if not found:
                return
            self.head = b""
            self.left = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
        self.left -= len(data)
        if not self.left:
            self.transport.write(ANSWER)


@contextmanager
def sink() -> Iterator[int]:
    """The port of an upstream that is only there to be sent to."""
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(loop.create_server(Sink, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def buffer_filter(limit: int) -> Message:
    return buffer_pb2.Buffer(max_request_bytes={"value": limit})


def json_filter(_: int) -> Message:
    stored = {"metadata_namespace": "bench", "key": "model"}
    rule = {
        "selectors": [{"key": "model"}],
        "on_present": stored,
        "on_missing": {**stored, "value": {"string_value": "none"}},
    }
    return json_to_metadata_pb2.JsonToMetadata(request_rules={"rules": [rule]})


FILTERS: Mapping[str, Callable[[int], Message] | None] = {
    "plain": None,
    "buffer": buffer_filter,
    "json": json_filter,
}
"""What takes the body pass's place, given the limit of a body."""


def without_body_pass(of: Snapshot, build: Callable[[int], Message] | None, limit: int) -> Snapshot:
    """`of` with every request on the one model's route, found without its name."""
    (listener,) = messages(of, ResourceType.LISTENER).values()
    manager = hcm_pb2.HttpConnectionManager()
    listener.filter_chains[0].filters[0].typed_config.Unpack(manager)
    router = manager.http_filters[-1]
    instead = [{"name": "instead", "typed_config": packed(build(limit))}] if build else []
    del manager.http_filters[:]
    manager.http_filters.extend([hcm_pb2.HttpFilter(**each) for each in instead] + [router])
    listener.filter_chains[0].filters[0].typed_config.Pack(manager)

    (table,) = messages(of, ResourceType.ROUTE).values()
    host = table.virtual_hosts[0]
    found = route_components_pb2.RouteList()
    host.matcher.matcher_tree.exact_match_map.map["chat"].action.typed_config.Unpack(found)
    host.ClearField("matcher")
    host.routes.append(found.routes[-1])

    def only(name: str, message: Message) -> ResourceSet:
        return ResourceSet([message_resource(name, message, None)])

    changed = {ResourceType.LISTENER: only(listener.name, listener), ResourceType.ROUTE: only(table.name, table)}
    return Snapshot({**of.sets, **changed})


@dataclass
class Proxy:
    envoy: EnvoyProcess
    connection: socket.socket

    def ask(self, request: bytes) -> None:
        self.connection.sendall(request)
        answer = b""
        while not answer.endswith(b"\r\n\r\nok"):
            received = self.connection.recv(65536)
            answer += received
            if not received or answer[9:12] != b"200":
                raise RuntimeError(f"no answer but {answer!r}")

    def cost(self, request: bytes, seconds: float) -> tuple[float, int]:
        """Processor seconds, and requests."""
        before, until, count = self.envoy.cpu_seconds(), time.monotonic() + seconds, 0
        while time.monotonic() < until:
            self.ask(request)
            count += 1
        return self.envoy.cpu_seconds() - before, count


def proxies(stack: ExitStack, folder: Path, limit: int) -> dict[str, Proxy]:
    port = stack.enter_context(sink())
    chat = fleet(model("chat", (version(endpoints=(endpoint(port),)),)), max_request_bytes=limit)
    started = {}
    for name in (*FILTERS, "turnout"):
        placed = snapshot(chat, Group("default", Placement(port=free_port(), address="127.0.0.1")))
        served = without_body_pass(placed, FILTERS[name], limit) if name in FILTERS else placed
        work = folder / name
        work.mkdir()
        envoy = stack.enter_context(envoy_process(bootstrap_from_files(served, work), work))
        wait_until(lambda e=envoy: e.host_health("chat_1") == {port: set()}, what="a healthy upstream")
        address = ("127.0.0.1", envoy.listener_ports()["default-8080"])
        started[name] = Proxy(envoy, stack.enter_context(socket.create_connection(address, timeout=30)))
        started[name].connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return started


def chat_request(size: int, text: str) -> bytes:
    """A chat whose body is about `size` bytes: its one message says `text` over and over."""
    content = text * (size // len(json.dumps(text, ensure_ascii=False).encode()))
    chat = {"model": "chat", "messages": [{"role": "user", "content": content}]}
    body = json.dumps(chat, ensure_ascii=False).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.body_pass", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 32, 2048], help="of bodies, in KiB")
    parser.add_argument("--seconds", type=float, default=1, help="for one turn of one proxy with one size")
    parser.add_argument("--text", choices=TEXTS, default="mixed", help="what the bodies say")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        started = proxies(stack, Path(folder), 2 * max(options.sizes) * KI)
        print(f"{'body':>10}  {'':<8}{'requests':>9}{'µs each':>10}{'to plain':>10}{'to buffer':>10}")
        for size in options.sizes:
            report(chat_request(size * KI, TEXTS[options.text]), started, options.seconds)


def report(request: bytes, started: Mapping[str, Proxy], seconds: float) -> None:
    costs = dict.fromkeys(started, 0.0)
    counts = dict.fromkeys(started, 0)
    for _ in range(TURNS):
        for name, proxy in started.items():
            cost, count = proxy.cost(request, seconds)
            costs[name] += cost
            counts[name] += count
    each = {name: costs[name] / counts[name] for name in started}
    for name, cost in each.items():
        ratios = f"{cost / each['plain']:8.2f} x{cost / each['buffer']:8.2f} x"
        print(f"{len(request) / KI:>6,.0f} KiB  {name:<8}{counts[name]:>9,}{cost * 1e6:>10,.0f}{ratios}", flush=True)


if __name__ == "__main__":
    main()
