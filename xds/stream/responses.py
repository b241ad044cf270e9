"""Serialized responses, made once for all streams that are sent the same."""

from __future__ import annotations

from collections.abc import Callable

from xds.stream.state import Variant
from xds.stream.update import Update


class Responses:
    """Those that were sent since the last turn or the one before: of each time up to `limit` bytes, at least one."""

    def __init__(self, limit: int = 16 << 20) -> None:
        self._limit = limit
        self._now: dict[tuple[Variant, str], bytes] = {}
        self._before: dict[tuple[Variant, str], bytes] = {}
        self._size = 0

    def turn(self) -> None:
        """There is something else to be sent: what nobody is sent until the next turn is forgotten there."""
        self._now, self._before, self._size = {}, self._now, 0

    def encoded(self, variant: Variant, update: Update, encode: Callable[[Update], bytes]) -> bytes:
        key = (variant, update.nonce)  # which is a hash of all that the response says
        kept = self._now.get(key)
        if kept is not None:
            return kept
        response = self._before.get(key) or encode(update)
        if self._size + len(response) > self._limit:
            self.turn()
        self._now[key] = response
        self._size += len(response)
        return response
