"""Who is at the other end of a stream."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from google.protobuf import json_format

from xds.stream.limits import NODE_BYTES, ExcessError
from xds.translate.group import Group, placement


@dataclass(frozen=True, slots=True)
class Node:
    id: str
    group: Group
    zone: str
    said: bytes = field(default=b"", compare=False)
    """All that it says of itself, serialized, but for `LONG`."""
    identity: str = ""
    """That its certificate proves; empty on a connection without TLS."""

    def __str__(self) -> str:
        return f"{self.id} ({self.identity})" if self.identity else self.id


LONG = ("extensions", "client_features", "listening_addresses", "dynamic_parameters")
"""Of an Envoy's node: it lists its 516 extensions."""


def stated(message: Any) -> Node | None:
    """Who sends a request, by its `node`; `None` when it does not say.

    Raises ExcessError, and ValueError for metadata that makes no sense.

    Only our own key of the metadata is read. `message` loses what is `LONG`.
    """
    if not message.id and not message.cluster:
        return None
    asked = message.metadata.fields.get("turnout")
    metadata = {} if asked is None else {"turnout": json_format.MessageToDict(asked)}
    for name in LONG:
        message.ClearField(name)
    if message.ByteSize() > NODE_BYTES:
        raise ExcessError(f"a node of {message.ByteSize():,} bytes; {NODE_BYTES:,} are the limit")
    # They are shown, and logged: a line break would forge a line.
    if not (message.id + message.cluster + message.locality.zone).isprintable():
        raise ValueError("node id, cluster and zone may have no control characters")
    said = message.SerializeToString(deterministic=True)
    return Node(message.id, Group(message.cluster, placement(metadata)), message.locality.zone, said)
