"""Small model servers that name themselves, all on one event loop beside the test."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Received:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Upstream:
    """Answers `/health` with `health`; everything else with its name and what it was sent, as JSON.

    All but `name` and `port` may be changed while it runs.
    """

    name: str
    port: int = 0
    health: int = 200
    health_headers: dict[str, str] = field(default_factory=dict)
    status: int = 200
    first_byte_delay: float = 0.0
    """Seconds before the answer's head."""
    gaps: tuple[float, ...] = ()
    """With these it answers in chunks, each after as many seconds."""
    cut_after: int | None = None
    """Breaks off after as many chunks."""
    reset: bool = False
    """Closes the connection instead of answering."""
    headers: dict[str, str] = field(default_factory=dict)
    received: list[Received] = field(default_factory=list)
    """Requests but for `/health`, in the order of arrival."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (request := await _read(reader)) is not None:
                if request.path == "/health":
                    _head(writer, self.health, b"", self.health_headers)
                    continue
                self.received.append(request)
                await asyncio.sleep(self.first_byte_delay)
                if self.reset:
                    break
                await self._answer(request, writer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client left: nothing to answer
        finally:
            writer.close()

    async def _answer(self, request: Received, writer: asyncio.StreamWriter) -> None:
        body = {"upstream": self.name, "path": request.path, "headers": request.headers, "size": len(request.body)}
        gaps = self.gaps  # which the test may change as soon as it sees the head
        if not gaps:
            _head(writer, self.status, json.dumps(body).encode(), self.headers)
            return
        head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        writer.write(head.encode())
        for number, gap in enumerate(gaps):
            if number == self.cut_after:
                raise ConnectionError
            await asyncio.sleep(gap)
            chunk = f"data: {self.name} {number}\n\n".encode()
            writer.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            await writer.drain()
        writer.write(b"0\r\n\r\n")


def _head(writer: asyncio.StreamWriter, status: int, body: bytes, headers: dict[str, str]) -> None:
    lines = [
        f"HTTP/1.1 {status} Status",
        "content-type: application/json",
        f"content-length: {len(body)}",
        *(f"{key}: {value}" for key, value in headers.items()),
    ]
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


async def _read(reader: asyncio.StreamReader) -> Received | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    method, path, _ = first.split(" ")
    headers = {key.strip().lower(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return Received(method, path, headers, await _read_body(reader, headers))


async def _read_body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding") != "chunked":
        return await reader.readexactly(int(headers.get("content-length", "0")))
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readexactly(2)
    return body


@contextmanager
def upstreams(*names: str) -> Iterator[dict[str, Upstream]]:
    """One running upstream for each name, on free ports of 127.0.0.1."""
    servers = {name: Upstream(name) for name in names}
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        for server in servers.values():
            listening = asyncio.start_server(server.serve, "127.0.0.1", 0, limit=2**20)
            started = asyncio.run_coroutine_threadsafe(listening, loop).result(10)
            server.port = started.sockets[0].getsockname()[1]
        yield servers
    finally:
        asyncio.run_coroutine_threadsafe(_cancel_all(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def _cancel_all() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
