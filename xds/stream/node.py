"""Who is at the other end of a stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from google.protobuf import json_format

from xds.translate.group import Group, placement


@dataclass(frozen=True, slots=True)
class Node:
    id: str
    group: Group
    zone: str


def node(message: Any) -> Node | None:
    """`None` when the client has not said who it is. Raises ValueError for metadata that makes no sense.

    Of the metadata only our own key is read: an Envoy's node also lists its 516 extensions.
    """
    if not message.id and not message.cluster:
        return None
    asked = message.metadata.fields.get("turnout")
    metadata = {} if asked is None else {"turnout": json_format.MessageToDict(asked)}
    return Node(message.id, Group(message.cluster, placement(metadata)), message.locality.zone)
