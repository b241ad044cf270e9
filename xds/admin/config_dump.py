"""What each group is served, readable, with secrets taken out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf import json_format

from xds.admin.redaction import message, redact
from xds.snapshot import Resource, ResourceType, Snapshot

Document = dict[str, Any]


def config_dump(groups: Mapping[str, Snapshot]) -> Document:
    return {"groups": [_group(name, snapshot) for name, snapshot in sorted(groups.items())]}


def _group(name: str, snapshot: Snapshot) -> Document:
    return {
        "group": name,
        "resources": {
            type_.label: {
                "version": snapshot[type_].version,
                "resources": [_resource(type_, found) for found in snapshot[type_].values()],
            }
            for type_ in ResourceType
        },
    }


def _resource(type_: ResourceType, found: Resource) -> Document:
    content = message(type_, found.body)
    redact(content)
    return {
        "name": found.name,
        "version": found.version,
        "origin": str(found.origin),
        "resource": json_format.MessageToDict(content, preserving_proto_field_name=True),
    }
