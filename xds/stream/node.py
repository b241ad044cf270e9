"""Who is at the other end of a stream."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from google.protobuf import json_format

from xds.translate.group import Group, placement


@dataclass(frozen=True, slots=True)
class Node:
    id: str
    group: Group
    zone: str
    said: bytes = field(default=b"", compare=False)
    """All that it says of itself, serialized, but for `LONG`."""


LONG = ("extensions", "client_features", "listening_addresses", "dynamic_parameters")
"""Of an Envoy's node: it lists its 516 extensions."""


def node(message: Any) -> Node | None:
    """`None` when the client has not said who it is. Raises ValueError for metadata that makes no sense.

    Only our own key of the metadata is read. `message` loses what is `LONG`.
    """
    if not message.id and not message.cluster:
        return None
    asked = message.metadata.fields.get("turnout")
    metadata = {} if asked is None else {"turnout": json_format.MessageToDict(asked)}
    for name in LONG:
        message.ClearField(name)
    said = message.SerializeToString(deterministic=True)
    return Node(message.id, Group(message.cluster, placement(metadata)), message.locality.zone, said)
