"""A snapshot as one bootstrap that needs no control server: its resources static, each in the place that names it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message

from xds.snapshot import ResourceType, Snapshot
from xds.soundness.constraints import unpacked

MANAGER = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


def bootstrap(snapshot: Snapshot, **more: Any) -> str:
    """JSON for `envoy --config-path`, with `more` fields of a Bootstrap: `node`, `admin`."""
    clusters, listeners = static_clusters(snapshot), static_listeners(snapshot)
    resources = {"clusters": [*map(_json, clusters)], "listeners": [*map(_json, listeners)]}
    layers = [{"name": name, "static_layer": layer} for name, layer in _layers(snapshot)]
    return json.dumps({**more, "static_resources": resources, "layered_runtime": {"layers": layers}}, indent=2) + "\n"


def static_clusters(snapshot: Snapshot) -> Iterable[Message]:
    """With their instances inside, where these came by EDS."""
    for cluster in _messages(snapshot, ResourceType.CLUSTER):
        if cluster.HasField("eds_cluster_config"):
            assignment = snapshot[ResourceType.ENDPOINT][cluster.eds_cluster_config.service_name or cluster.name]
            cluster.ClearField("eds_cluster_config")
            cluster.type = cluster.STATIC
            cluster.load_assignment.MergeFromString(assignment.body)
        yield cluster


def static_listeners(snapshot: Snapshot) -> Iterable[Message]:
    """With their route tables inside."""
    for listener in _messages(snapshot, ResourceType.LISTENER):
        for box in (of.typed_config for chain in listener.filter_chains for of in chain.filters):
            if box.type_url == MANAGER:
                manager: Any = unpacked(MANAGER, box.value)
                table = snapshot[ResourceType.ROUTE][manager.rds.route_config_name]
                manager.route_config.MergeFromString(table.body)
                box.value = manager.SerializeToString(deterministic=True)
        yield listener


def _layers(snapshot: Snapshot) -> Iterable[tuple[str, Mapping[str, Any]]]:
    for layer in _messages(snapshot, ResourceType.RUNTIME):
        yield layer.name, _json(layer.layer)


def _messages(snapshot: Snapshot, type_: ResourceType) -> Iterable[Any]:
    return (unpacked(type_, resource.body) for resource in snapshot[type_].values())


def _json(message: Message) -> dict[str, Any]:
    found: dict[str, Any] = json_format.MessageToDict(message, preserving_proto_field_name=True)
    return found
