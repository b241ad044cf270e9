"""Large responses go a few at a time, in order, and nobody who does not read holds up others for long."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from xds.stream import outlet
from xds.stream.outlet import LARGE, ROOM, Outlet


class Reader:
    """Of a transport: takes what is written once it is let."""

    def __init__(self, log: list[str], name: str) -> None:
        self._log, self._name = log, name
        self.reads = asyncio.Event()

    async def write(self, _: bytes) -> None:
        self._log.append(self._name)
        await self.reads.wait()


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def write(to: Outlet, reader: Reader, size: int) -> asyncio.Task[None]:
    context: Any = reader
    return asyncio.create_task(to.write(context, b"x" * size))


def test_what_has_no_room_waits_in_order_and_what_is_small_does_not() -> None:
    async def run() -> None:
        log: list[str] = []
        out, readers = Outlet(), {name: Reader(log, name) for name in ("first", "second", "third", "small")}
        sizes = {"first": ROOM - LARGE, "second": 2 * LARGE, "third": LARGE, "small": LARGE - 1}
        tasks = {name: write(out, readers[name], size) for name, size in sizes.items()}
        await settled()
        assert log == ["first", "small"], "the third would fit, but it is not its turn"
        readers["first"].reads.set()
        await settled()
        assert log == ["first", "small", "second", "third"]
        for reader in readers.values():
            reader.reads.set()
        await asyncio.gather(*tasks.values())

    asyncio.run(run())


def test_whoever_goes_while_it_waits_leaves_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlet, "PATIENCE", 0.01)

    async def run() -> None:
        log: list[str] = []
        out = Outlet()
        asleep, gone, waiting = (Reader(log, name) for name in ("asleep", "gone", "waiting"))
        tasks = [write(out, reader, 2 * ROOM) for reader in (asleep, gone, waiting)]
        await settled()
        tasks[1].cancel()
        waiting.reads.set()
        await asyncio.wait_for(tasks[2], 5)  # although the first never reads
        assert log == ["asleep", "waiting"]
        asleep.reads.set()
        await tasks[0]

    asyncio.run(run())
