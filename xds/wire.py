"""Protobuf's wire format, as far as it takes to put a large message together from parts that are serialized already.

Fields may follow each other in any order. https://protobuf.dev/programming-guides/encoding
"""

from __future__ import annotations

from functools import lru_cache


def delimited(number: int, payload: bytes) -> bytes:
    """Field `number` of a message: a text, bytes or a message."""
    return tag(number, len(payload)) + payload


@lru_cache(4096)
def tag(number: int, size: int) -> bytes:
    """What stands before the `size` bytes of such a field."""
    return _varint(number << 3 | 2) + _varint(size)


def before_packed(type_url: str, size: int) -> bytes:
    """What stands before the `size` bytes of a message in an Any."""
    return delimited(1, type_url.encode()) + tag(2, size)


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*found, value))
