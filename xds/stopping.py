"""A command that goes on until somebody stops it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

Work = Coroutine[Any, Any, None]


async def until_stopped(work: Work, drain: Callable[[], Work] | None = None) -> None:
    """Work goes on until a signal comes and, from then on, until `drain` is done or a second signal comes. Raises what
    either raises."""
    signals, loop = asyncio.Semaphore(0), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signals.release)
    working = asyncio.create_task(work)
    await _any_of(working, signals)
    if drain is not None and not working.done():
        draining = asyncio.create_task(drain())
        await _any_of(draining, signals, working)
        await _ended(draining)
    await _ended(working)


async def _any_of(first: asyncio.Task[None], signals: asyncio.Semaphore, *others: asyncio.Task[None]) -> None:
    """Until one of the tasks is done or a signal comes."""
    waiting = asyncio.create_task(signals.acquire())
    await asyncio.wait({first, waiting, *others}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
