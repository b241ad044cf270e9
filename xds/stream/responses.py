"""Serialized responses, made once for all streams that are sent the same."""

from __future__ import annotations

from collections.abc import Callable

from xds.stream.state import Variant
from xds.stream.update import Update

Encode = Callable[[Update, str], bytes]


class Responses:
    """Those that were sent since the last turn or the one before: of each time up to `limit` bytes, at least one."""

    def __init__(self, limit: int = 16 << 20) -> None:
        self._limit = limit
        self._now: dict[tuple[Variant, str, str], bytes] = {}
        self._before: dict[tuple[Variant, str, str], bytes] = {}
        self._size = 0

    def turn(self) -> None:
        """There is something else to be sent: what nobody is sent until the next turn is forgotten there."""
        self._now, self._before, self._size = {}, self._now, 0

    def encoded(self, variant: Variant, update: Update, identifier: str, encode: Encode) -> bytes:
        # The nonce is a hash of all that the response says but for who says it. A version says nothing of that: what is
        # there already is not sent again because another commit says the same.
        key = (variant, update.nonce, identifier)
        kept = self._now.get(key)
        if kept is not None:
            return kept
        response = self._before.get(key) or encode(update, identifier)
        if self._size + len(response) > self._limit:
            self.turn()
        self._now[key] = response
        self._size += len(response)
        return response
