"""What a follower does not wait for its interval for: somebody knocks, or commands something."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Turned:
    """A command has been carried out."""

    commit: str
    """What is served from now on, in full."""
    pinned: bool
    problem: str = ""
    """Of what was asked for, where not all of it could be done."""


@dataclass(frozen=True, slots=True)
class TurnRefused:
    why: str
    hint: str = ""


Answer = Turned | TurnRefused


@dataclass(frozen=True, slots=True)
class Command:
    commit: str
    """To pin; empty is to release."""
    answer: asyncio.Future[Answer]

    def answered(self, answer: Answer) -> None:
        if not self.answer.done():  # else whoever asked has gone
            self.answer.set_result(answer)


AT_ONCE, APART = 60, 1.0
"""Knocks that are heard one after the other, and seconds until there is one more of them: a webhook that somebody sends
again and again costs the repository no more than that."""


class Bell:
    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        """`now` is in seconds, and never goes back."""
        self._now, self._full = now, now()
        """When as many knocks as ever can be heard again."""
        self._rung = asyncio.Event()
        self._heard = 0.0
        """When somebody knocked first, in seconds since 1970; 0 while nobody has."""
        self._commands: deque[Command] = deque()

    def knock(self) -> None:
        self._heard = self._heard or time.time()
        self._rung.set()

    async def command(self, commit: str) -> Answer:
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._commands.append(Command(commit, answer))
        self._rung.set()
        return await answer

    def next_command(self) -> Command | None:
        return self._commands.popleft() if self._commands else None

    def heard(self) -> float:
        """When somebody knocked, or now; from then on nobody has."""
        if self._heard:
            self._full = max(self._full, self._now()) + APART
        since, self._heard = self._heard or time.time(), 0.0
        return since

    @property
    def early(self) -> float:
        """Seconds until a knock is heard."""
        return max(0.0, self._full - self._now() - (AT_ONCE - 1) * APART)

    async def rings(self, seconds: float) -> None:
        """Until it does, at most so long. What has come meanwhile counts."""
        until = self._now() + seconds
        while not self._commands:
            left = until - self._now()
            left = min(left, self.early) if self._heard else left
            if left <= 0:
                return
            self._rung.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._rung.wait(), left)

    async def commanded(self) -> None:
        """Until there is a command."""
        while not self._commands:
            self._rung.clear()
            await self._rung.wait()
