"""A control server in service on a policy folder, within the test's own process."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

from xds.admin.http import Admin
from xds.admin.metrics import Metrics
from xds.cache import Snapshots
from xds.control import Control
from xds.observe.policies import policies
from xds.serve import TRANSLATION
from xds.stream.server import Server

T = TypeVar("T")

DEADLINE = 20.0
"""Seconds; far more than anything here takes on a busy machine."""


def model(name: str, *ports: int, tail: str = "") -> str:
    """A policy of one model with an instance at each port of an address of its own. Nothing answers there."""
    address = f"127.0.{sum(name.encode()) % 250}.1"
    endpoints = "".join(f"    - {{address: {address}, port: {port}, zone: az-1}}\n" for port in ports or (9001,))
    return (
        "apiVersion: turnout.dev/v1\n"
        "kind: InferenceModel\n"
        f"metadata: {{name: {name}}}\n"
        "spec:\n"
        f"  modelName: example/{name}\n"
        f"  endpoints:\n{endpoints}{tail}"
    )


def cluster(name: str) -> str:
    return f"{name}_1"


def asynchronous(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A test that is a coroutine, with a deadline."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(asyncio.wait_for(test(*args, **kwargs), 3 * DEADLINE))

    return run


class Folder:
    """A policy folder; each model in a file of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()

    def write(self, name: str, text: str) -> None:
        """As editors do: a new file under the old name."""
        fresh = self.path / f".{name}.new"
        fresh.write_text(text)
        fresh.replace(self.path / f"{name}.yaml")

    def models(self, *names: str) -> None:
        """Exactly these models, with one instance each; done in one step."""
        self.write("models", "---\n".join(model(name) for name in names))


class Served:
    def __init__(self, xds: str, url: str, server: Server, http: aiohttp.ClientSession) -> None:
        self.xds, self.url, self.server = xds, url, server
        self._http = http

    async def get(self, path: str) -> tuple[int, str]:
        async with self._http.get(self.url + path) as response:
            return response.status, await response.text()

    async def status(self) -> dict[str, Any]:
        async with self._http.get(f"{self.url}/status") as response:
            found: dict[str, Any] = await response.json()
            return found

    async def until(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The status when `condition` is true of it."""

        async def there() -> dict[str, Any] | None:
            found = await self.status()
            return found if condition(found) else None

        return await until(there)

    async def metric(self, line: str) -> float:
        """The value of a series, named as Prometheus prints it; 0 when there is none."""
        _, text = await self.get("/metrics")
        found = [row for row in text.splitlines() if row.startswith(f"{line} ")]
        return float(found[0].rpartition(" ")[2]) if found else 0.0


async def until(found: Callable[[], Awaitable[T | None]]) -> T:
    """What `found` gives as soon as it gives something. Raises TimeoutError."""
    async with asyncio.timeout(DEADLINE):
        while (result := await found()) is None:
            await asyncio.sleep(0.01)
    return result


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[Served]:
    metrics = Metrics()
    snapshots = Snapshots(TRANSLATION)
    server = Server(snapshots, metrics)
    control = Control(snapshots, server.publish, metrics)
    admin = Admin(control, snapshots, server, metrics)
    xds = f"127.0.0.1:{await server.start('127.0.0.1', 0)}"
    url = f"http://127.0.0.1:{await admin.start('127.0.0.1', 0)}"
    task = asyncio.create_task(control.run(policies(folder)))
    try:
        async with aiohttp.ClientSession() as http:
            yield Served(xds, url, server, http)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await server.stop(0.5)
        await admin.stop()
