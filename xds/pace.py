"""Something that is done at once when it is asked for, but not too often."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Pace:
    """Who asks too soon after the last time is heard a little later, together with all who have asked by then."""

    def __init__(self, act: Callable[[], None], apart: float) -> None:
        """`apart` is how many seconds lie between two times, at least."""
        self._act, self._apart = act, apart
        self._last = -apart
        self._timer: asyncio.TimerHandle | None = None

    def ask(self) -> None:
        if self._timer is not None:
            return
        loop = asyncio.get_running_loop()
        left = self._last + self._apart - loop.time()
        if left > 0:
            self._timer = loop.call_later(left, self._now)
        else:
            self._now()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _now(self) -> None:
        self._timer, self._last = None, asyncio.get_running_loop().time()
        self._act()
