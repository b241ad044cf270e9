"""Envoy messages as snapshots hold them: bytes that are the same on every machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from envoy.config.core.v3 import base_pb2
from google.protobuf import any_pb2, struct_pb2
from google.protobuf.message import Message

from compiler.diagnostics import Position
from compiler.fleet import Backend
from xds.snapshot import Resource, resource

METADATA_NAMESPACE = "turnout"
HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
"""The key of a cluster's options."""


def who_answers(backend: Backend) -> base_pb2.Metadata:
    """Metadata of a version's cluster, or of its instances, for the response headers that tell it."""
    who = {"model": backend.model.name, "version": backend.version.name}
    return base_pb2.Metadata(filter_metadata={METADATA_NAMESPACE: struct(who)})


def message_resource(name: str, message: Message, origin: Position) -> Resource:
    return resource(name, message.SerializeToString(deterministic=True), origin)


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
