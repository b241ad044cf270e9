"""A control server in service on a policy folder, within the test's own process."""

from __future__ import annotations

import asyncio
import functools
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

from compiler.pipeline import fleet_of
from xds.admin.access import Access
from xds.admin.http import Admin
from xds.admin.metrics import Metrics
from xds.cache import Snapshots
from xds.clock import Clock
from xds.control import Control
from xds.git.follow import Following
from xds.keeping import Keeping
from xds.observe.commits import commits
from xds.observe.policies import policies
from xds.serve import SERVED, TRANSLATION
from xds.spans import Trace, untraced
from xds.store.file import StateFile
from xds.store.served import ServedFolder
from xds.stream.server import Server
from xds.tls.files import Certificates
from xds.tls.ports import grpc_credentials

T = TypeVar("T")

TOKEN = "s3cret"
AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}
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

    async def set_weights(
        self, model: str, weights: dict[str, int], lasting: str = "15m", **more: str
    ) -> tuple[int, dict[str, Any]]:
        asked = {"model": model, "weights": weights, "for": lasting, "why": "INC-7", **more}
        return await self.post("/weights", json.dumps(asked).encode())

    async def take_weights_back(self, model: str) -> tuple[int, dict[str, Any]]:
        async with self._http.delete(f"{self.url}/weights/{model}", headers=AUTHORIZED) as response:
            return response.status, await response.json()

    async def post(
        self, path: str, body: bytes, headers: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, Any]]:
        """With the token, unless there are other headers."""
        given = AUTHORIZED if headers is None else headers
        async with self._http.post(self.url + path, data=body, headers=given) as response:
            return response.status, await response.json()

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


class FakeClock:
    """A time of day that goes on when it is told to."""

    def __init__(self) -> None:
        self._now = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
        self._waiting: list[tuple[datetime, asyncio.Event]] = []

    def now(self) -> datetime:
        return self._now

    async def until(self, moment: datetime) -> None:
        if self._now < moment:
            rings = asyncio.Event()
            self._waiting.append((moment, rings))
            await rings.wait()

    def advance(self, by: timedelta) -> None:
        self._now += by
        for moment, rings in self._waiting:
            if moment <= self._now:
                rings.set()


@asynccontextmanager
async def served(
    source: Path | Following,
    state: Path | None = None,
    clock: Clock | None = None,
    trace: Callable[[Trace], None] = untraced,
    tls: Certificates | None = None,
    time_of_day: Callable[[], float] = time.time,
) -> AsyncIterator[Served]:
    """`source` is a folder, or a branch. Whoever has `TOKEN` may set live weights, which are kept in `state`, and
    so is what is served."""
    metrics = Metrics()
    snapshots = Snapshots(TRANSLATION)
    server = Server(snapshots, metrics, time_of_day, trace=trace)
    store = None if state is None else StateFile(state)
    keeping = None if state is None else Keeping(ServedFolder(state / SERVED), "", fleet_of, metrics.keep_failing)
    control = Control(snapshots, server.publish, metrics, store, clock, keeping, trace)
    following = source if isinstance(source, Following) else None
    admin = Admin(control, snapshots, server, metrics, Access(write=TOKEN.encode()), following=following)
    credentials = None if tls is None else grpc_credentials(tls)
    xds = f"127.0.0.1:{await server.start('127.0.0.1', 0, credentials)}"
    url = f"http://127.0.0.1:{await admin.start('127.0.0.1', 0)}"
    if isinstance(source, Following):
        await source.prepare()
        running = control.run(source.policies())
    else:
        running = control.run(policies(source), commits(source, lambda: snapshots.commit))
    task = asyncio.create_task(running)
    try:
        async with aiohttp.ClientSession() as http:
            yield Served(xds, url, server, http)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await server.stop(0.5)
        await admin.stop()
