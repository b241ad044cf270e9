"""Whether clients take what they are given. One that does not is hung up on: gRPC would keep its response for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType

from xds.hangup import hang_up
from xds.stream.limits import STALLED

REASON = f"it has not taken a response within {STALLED:.0f} s"


class Taking:
    """Entered while a response waits for the transport; of one client, one at a time.

    There is one timer for many responses: to set one for each took a tenth of what the event loop does for a change.
    """

    def __init__(self, peer: str, stalled: Callable[[], None]) -> None:
        """`peer` as gRPC writes it. `stalled` is called once, before the first attempt to hang up."""
        self._peer, self._stalled = peer, stalled
        self._since: float | None = None
        """The loop's time, in seconds."""
        self._timer: asyncio.TimerHandle | None = None
        self._told = False

    def __enter__(self) -> None:
        loop = asyncio.get_running_loop()
        self._since = loop.time()
        if self._timer is None:
            self._timer = loop.call_later(STALLED, self._look)

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._since = None

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self._timer = None
        if self._since is None:
            return
        loop = asyncio.get_running_loop()
        left = self._since + STALLED - loop.time()
        if left <= 0:
            if not self._told:
                self._told = True
                self._stalled()
            # A status would wait until the response is taken, and so would a write that is cancelled.
            hang_up(self._peer)
            left = STALLED  # until the next attempt: it fails where no more files may be open
        self._timer = loop.call_later(left, self._look)


async def until_cancelled() -> None:
    """By gRPC, as soon as it finds that the connection is no more. It is soon, and bounded for it not to matter."""
    await asyncio.sleep(STALLED)
