"""How many streams may be open, so that none of those who open them takes the place of all others."""

from __future__ import annotations

from collections import Counter
from typing import Generic, TypeVar

MOST = 8192
"""Streams of all clients."""
MOST_OF_ONE = MOST // 2
"""Streams of one identity: a service account may stand for a thousand Envoys, which may have several each."""
MOST_SILENT = 256
"""Streams that have asked for nothing in `PATIENCE`; an Envoy asks within milliseconds."""
PATIENCE = 5.0
"""Seconds: a thousand Envoys that come back at once are not all heard at once."""


Stream = TypeVar("Stream")


class FullError(Exception):
    """There is no room for another stream; the message says where."""


class Admission(Generic[Stream]):
    def __init__(self) -> None:
        self._silent: dict[Stream, float] = {}
        self._of: Counter[str] = Counter()
        self._open = 0

    def open(self, stream: Stream, identity: str, now: float) -> Stream | None:
        """The silent stream, if any, that has to make room. `identity` is empty for clients without one.

        Raises FullError.
        """
        if self._open >= MOST:
            raise FullError(f"this server has {MOST:,} streams open, and takes no more")
        if identity and self._of[identity] >= MOST_OF_ONE:
            raise FullError(f"{identity} has {MOST_OF_ONE:,} streams open, and may have no more")
        self._open += 1
        self._of[identity] += 1
        self._silent[stream] = now
        oldest, since = next(iter(self._silent.items()))
        if len(self._silent) <= MOST_SILENT or now - since < PATIENCE:
            return None
        del self._silent[oldest]
        return oldest

    def spoke(self, stream: Stream) -> None:
        self._silent.pop(stream, None)

    def close(self, stream: Stream, identity: str) -> None:
        """Of one that was let in."""
        self._silent.pop(stream, None)
        self._open -= 1
        self._of[identity] -= 1
        if not self._of[identity]:
            del self._of[identity]
