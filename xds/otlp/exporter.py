"""Sends traces as they come; never waited for, and told of once when the collector cannot be reached."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Self

import aiohttp

from xds.otlp.document import document
from xds.otlp.settings import Settings
from xds.spans import Trace

WAITING = 256
"""Traces that wait to be sent; of more the newest are lost."""
AT_ONCE = 64
"""Traces in one request."""
TIMEOUT = 10.0
"""Seconds for one request, which is the specification's default."""
LAST_WORDS = 2.0
"""Seconds to send what waits when the server stops."""

log = logging.getLogger(__name__)


class Exporter:
    """An asynchronous context manager: within it traces are sent."""

    def __init__(self, settings: Settings, lost: Callable[[int], None]) -> None:
        """`lost` is told how many traces could not be sent."""
        self._settings, self._lost = settings, lost
        self._waiting: asyncio.Queue[Trace] = asyncio.Queue(WAITING)
        self._failing = False
        self._task: asyncio.Task[None] | None = None

    def send(self, trace: Trace) -> None:
        try:
            self._waiting.put_nowait(trace)
        except asyncio.QueueFull:
            self._lost(1)

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        with suppress(TimeoutError):
            await asyncio.wait_for(self._waiting.join(), LAST_WORDS)
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _run(self) -> None:
        timeout = aiohttp.ClientTimeout(total=TIMEOUT)
        headers = {**self._settings.headers, "Content-Type": "application/json"}
        async with aiohttp.ClientSession(timeout=timeout, headers=headers) as session:
            while True:
                traces = [await self._waiting.get()]
                while len(traces) < AT_ONCE and not self._waiting.empty():
                    traces.append(self._waiting.get_nowait())
                self._told(await self._post(session, traces), len(traces))
                for _ in traces:
                    self._waiting.task_done()

    async def _post(self, session: aiohttp.ClientSession, traces: list[Trace]) -> str:
        """What is wrong; empty where nothing is."""
        body = json.dumps(document(traces, self._settings.resource, secrets.token_hex)).encode()
        try:
            async with session.post(self._settings.url, data=body, allow_redirects=False) as answer:
                return "" if answer.status < 300 else f"status {answer.status}"
        except aiohttp.ClientConnectorError as problem:
            return problem.strerror or "cannot connect"
        except (aiohttp.ClientError, OSError, ValueError) as problem:  # a TimeoutError is an OSError
            return type(problem).__name__  # its text may have the URL or a header, and with that a secret

    def _told(self, problem: str, traces: int) -> None:
        if problem:
            self._lost(traces)
        if bool(problem) == self._failing:
            return
        self._failing = bool(problem)
        if problem:
            log.warning("traces cannot be sent to=%s problem=%s", self._settings.shown, problem)
        else:
            log.info("traces are sent again to=%s", self._settings.shown)
