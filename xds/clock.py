"""The time of day, for what must end at a moment that a person has been told."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Protocol

LOOK = 30.0
"""Seconds between two looks at the clock, which may be set anew while somebody waits."""


class Clock(Protocol):
    def now(self) -> datetime:
        """In UTC."""

    async def until(self, moment: datetime) -> None:
        """Returns when it is `moment`, or past it."""


class WallClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    async def until(self, moment: datetime) -> None:
        while (left := (moment - self.now()).total_seconds()) > 0:
            await asyncio.sleep(min(left, LOOK))
