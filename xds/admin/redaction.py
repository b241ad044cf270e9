"""Envoy messages without what nobody is to read: every field that Envoy's API marks as sensitive."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from google.protobuf import any_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from udpa.annotations import sensitive_pb2

REDACTED = "[redacted]"


def message(type_url: str, body: bytes) -> Message:
    """Raises KeyError for a type that nothing in this process has imported."""
    name = type_url.rpartition("/")[2]
    kind = message_factory.GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(name))
    return kind.FromString(body)


def redact(content: Message, hidden: bool = False) -> None:
    """Blanks, in place, what is sensitive in `content` and in all that is packed into it; with `hidden`, everything."""
    if isinstance(content, any_pb2.Any):
        packed = message(content.type_url, content.value)
        redact(packed, hidden)
        content.value = packed.SerializeToString(deterministic=True)
        return
    for field, value in content.ListFields():
        hide = hidden or _sensitive(field)
        if _is_map(field):
            _redact_map(value, hide)
        elif field.message_type is not None:
            _redact_each(value if field.is_repeated else [value], hide)
        elif hide:
            _blank(content, field, value)


def _redact_each(contents: Iterable[Message], hide: bool) -> None:
    for content in contents:
        redact(content, hide)


def _redact_map(entries: Any, hide: bool) -> None:
    for key in list(entries):
        if isinstance(entries[key], Message):
            redact(entries[key], hide)
        elif hide:
            del entries[key]


def _blank(content: Message, field: FieldDescriptor, value: Any) -> None:
    if isinstance(value, str):
        setattr(content, field.name, REDACTED)
    elif isinstance(value, bytes):
        setattr(content, field.name, REDACTED.encode())
    else:
        content.ClearField(field.name)


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


@lru_cache(None)
def _sensitive(field: FieldDescriptor) -> bool:
    return bool(field.GetOptions().Extensions[sensitive_pb2.sensitive])
