"""A snapshot served to Envoy from files, without a control server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.service.discovery.v3 import discovery_pb2
from envoy.service.runtime.v3 import rtds_pb2
from google.protobuf import json_format

from xds.snapshot import NOTHING, ResourceType, Snapshot

MESSAGES: dict[ResourceType, Any] = {
    ResourceType.RUNTIME: rtds_pb2.Runtime,
    ResourceType.CLUSTER: cluster_pb2.Cluster,
    ResourceType.ENDPOINT: endpoint_pb2.ClusterLoadAssignment,
    ResourceType.LISTENER: listener_pb2.Listener,
    ResourceType.ROUTE: route_pb2.RouteConfiguration,
}


def messages(snapshot: Snapshot, kind: ResourceType) -> dict[str, Any]:
    """The resources of one type as messages, by name."""
    return {name: MESSAGES[kind].FromString(resource.body) for name, resource in snapshot[kind].items()}


def bootstrap_from_files(
    snapshot: Snapshot, directory: Path, *, clusters: bool = True, tell_route: bool = False
) -> str:
    """Writes `snapshot` below `directory` and returns a bootstrap that reads it from there.

    Only the sources of load assignments and routes are changed, from ADS to a file each. Without `clusters` the routes
    lead nowhere.
    """
    if not clusters:
        snapshot = Snapshot({**snapshot.sets, ResourceType.CLUSTER: NOTHING, ResourceType.ENDPOINT: NOTHING})
    write_snapshot(snapshot, directory, tell_route=tell_route)
    return json.dumps(
        {
            "node": {"id": "test", "cluster": "test"},
            "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
            "dynamic_resources": {
                "cds_config": _file_source(directory / "clusters.pb"),
                "lds_config": _file_source(directory / "listeners.pb"),
            },
            "layered_runtime": {
                "layers": [
                    {
                        "name": "turnout",
                        "rtds_layer": {"name": "turnout", "rtds_config": _file_source(directory / "runtime.pb")},
                    },
                ],
            },
        }
    )


def write_snapshot(snapshot: Snapshot, directory: Path, *, tell_route: bool = False) -> None:
    """Each file replaced in one move, which is what Envoy watches for; clusters before the routes that name them."""
    _write(directory / "runtime.pb", messages(snapshot, ResourceType.RUNTIME).values())
    for name, assignment in messages(snapshot, ResourceType.ENDPOINT).items():
        _write(directory / f"endpoints-{name}.pb", [assignment])
    clusters = messages(snapshot, ResourceType.CLUSTER)
    for name, cluster in clusters.items():
        if cluster.HasField("eds_cluster_config"):
            _read_from(directory / f"endpoints-{name}.pb", cluster.eds_cluster_config.eds_config)
    _write(directory / "clusters.pb", clusters.values())
    for name, routes in messages(snapshot, ResourceType.ROUTE).items():
        if tell_route:
            routes.response_headers_to_add.add(header={"key": "x-test-route", "value": "%ROUTE_NAME%"})
        _write(directory / f"routes-{name}.pb", [routes])
    listeners = messages(snapshot, ResourceType.LISTENER)
    for listener in listeners.values():
        _routes_from(directory, listener)
    _write(directory / "listeners.pb", listeners.values())


def _routes_from(directory: Path, listener: Any) -> None:
    for chain in listener.filter_chains:
        manager = hcm_pb2.HttpConnectionManager()
        chain.filters[0].typed_config.Unpack(manager)
        _read_from(directory / f"routes-{manager.rds.route_config_name}.pb", manager.rds.config_source)
        chain.filters[0].typed_config.Pack(manager)


def _file_source(path: Path) -> dict[str, Any]:
    return {"resource_api_version": "V3", "path_config_source": {"path": str(path)}}


def _read_from(path: Path, source: Any) -> None:
    source.Clear()
    json_format.ParseDict(_file_source(path), source)


def _write(path: Path, resources: Any) -> None:
    response = discovery_pb2.DiscoveryResponse()
    for message in resources:
        response.resources.add().Pack(message)
    fresh = path.with_suffix(".new")
    fresh.write_bytes(response.SerializeToString())
    fresh.replace(path)
