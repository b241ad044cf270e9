"""Protobuf's wire format, as far as it takes to put a large message together from parts that are serialized already.

Fields may follow each other in any order. https://protobuf.dev/programming-guides/encoding
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from google.protobuf.message import Message

from xds.snapshot import digest


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


class Frame(NamedTuple):
    """A message within a message, and so on: all but the innermost payload."""

    before: tuple[tuple[bytes, int], ...]
    """From the outside in, what stands before each, and the number of the field it stands in."""
    after: tuple[bytes, ...]
    """From the inside out, what stands after each."""
    version: str

    def around(self, *payload: bytes) -> tuple[bytes, ...]:
        """The bytes of the whole, in parts: what is large is not copied."""
        size, heads = sum(map(len, payload)), []
        for (before, number), after in zip(reversed(self.before), self.after, strict=True):
            heads.append(before + tag(number, size))
            size += len(heads[-1]) + len(after)
        return (*reversed(heads), *payload, *self.after)


def frame(*messages: tuple[Message, str]) -> Frame:
    """Each of `messages` in the field of the one before it, none of which it has itself; the payload in the last's."""
    parts = [_cut(message, field) for message, field in messages]
    before = tuple((head, number) for head, number, _ in parts)
    after = tuple(tail for *_, tail in reversed(parts))
    content = b"".join((*(delimited(number, head) for head, number in before), *after))
    return Frame(before, after, digest(content))


def _cut(message: Message, field: str) -> tuple[bytes, int, bytes]:
    """What stands before and after the field with that number."""
    number = message.DESCRIPTOR.fields_by_name[field].number
    before, after = type(message)(), type(message)()
    before.CopyFrom(message)
    after.CopyFrom(message)
    for present, _ in message.ListFields():
        (after if present.number < number else before).ClearField(present.name)
    return before.SerializeToString(deterministic=True), number, after.SerializeToString(deterministic=True)
