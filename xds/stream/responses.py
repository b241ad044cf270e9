"""Serialized responses, made once for all streams that are sent the same."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from xds.stream.state import Variant
from xds.stream.update import Update


class Responses:
    """The responses sent last, up to `limit` bytes in all, and always at least one."""

    def __init__(self, limit: int = 32 << 20) -> None:
        self._limit = limit
        self._kept: OrderedDict[tuple[Variant, str], bytes] = OrderedDict()
        self._size = 0

    def encoded(self, variant: Variant, update: Update, encode: Callable[[Update], bytes]) -> bytes:
        key = (variant, update.nonce)  # which is a hash of all that the response says
        kept = self._kept.get(key)
        if kept is not None:
            self._kept.move_to_end(key)
            return kept
        response = self._kept[key] = encode(update)
        self._size += len(response)
        while self._size > self._limit and len(self._kept) > 1:
            _, dropped = self._kept.popitem(last=False)
            self._size -= len(dropped)
        return response
