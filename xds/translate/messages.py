"""Envoy messages as snapshots hold them: bytes that are the same on every machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from envoy.config.core.v3 import base_pb2
from google.protobuf import any_pb2, struct_pb2
from google.protobuf.message import Message

from compiler.diagnostics import Position
from compiler.fleet import Backend
from xds.snapshot import Resource, digest, resource
from xds.wire import delimited, tag

METADATA_NAMESPACE = "turnout"
HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
"""The key of a cluster's options."""


def who_answers(backend: Backend) -> base_pb2.Metadata:
    """Metadata of a version's cluster, or of its instances, for the response headers that tell it."""
    who = {"model": backend.model.name, "version": backend.version.name}
    return base_pb2.Metadata(filter_metadata={METADATA_NAMESPACE: struct(who)})


def message_resource(name: str, message: Message, origin: Position) -> Resource:
    return resource(name, message.SerializeToString(deterministic=True), origin)


def with_field(message: Message, field: str, payload: bytes) -> bytes:
    """`message`, serialized, with the message `payload` in `field`, which it does not have itself.

    So a large message is put together from parts that were serialized before; the bytes are those of the whole.
    """
    return b"".join(frame((message, field)).around(payload))


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


def packed(message: Message) -> any_pb2.Any:
    box = any_pb2.Any()
    box.Pack(message, deterministic=True)
    return box


def struct(values: Mapping[str, Any]) -> struct_pb2.Struct:
    message = struct_pb2.Struct()
    message.update(values)
    return message


def ads_source() -> dict[str, Any]:
    """A ConfigSource that waits for ever.

    Envoy's default gives up after 15 s and goes on with nothing: a listener without routes, a cluster without hosts.
    Waiting keeps what is there in service, and an Envoy that starts stays unready until it has been told everything.
    """
    return {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": {"seconds": 0}}
