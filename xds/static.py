"""A bootstrap with all that a group of Envoys is served in it: such an Envoy starts without a control server.

It stays at that. What is static cannot be taken over by a control server in the same process: Envoy accepts a dynamic
cluster or listener of the same name, and does not use it.
"""

from __future__ import annotations

import json
from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.service.runtime.v3 import rtds_pb2
from google.protobuf import json_format
from google.protobuf.message import Message

from compiler.envoy.bootstrap import RUNTIME_LAYER
from xds.snapshot import ResourceSet, ResourceType, Snapshot

Document = dict[str, Any]


def static_bootstrap(snapshot: Snapshot, *, node_id: str, cluster: str, zone: str, admin_port: int) -> str:
    """JSON for `envoy --config-path`. The listeners are where `snapshot` has them; the admin page is on loopback only,
    at a free port for 0."""
    document = {
        "node": {"id": node_id, "cluster": cluster, "locality": {"zone": zone}},
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": admin_port}}},
        **static_part(snapshot),
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def static_part(snapshot: Snapshot) -> Document:
    """Of a bootstrap: all that comes from the snapshot."""
    routes = snapshot[ResourceType.ROUTE]
    layers = [rtds_pb2.Runtime.FromString(found.body).layer for found in snapshot[ResourceType.RUNTIME].values()]
    return {
        "static_resources": {
            "clusters": _clusters(snapshot),
            "listeners": [_listener(found.body, routes) for found in snapshot[ResourceType.LISTENER].values()],
        },
        "layered_runtime": {
            "layers": [
                *({"name": RUNTIME_LAYER, "static_layer": _document(layer)} for layer in layers),
                {"name": "admin", "admin_layer": {}},
            ]
        },
    }


def _clusters(snapshot: Snapshot) -> list[Document]:
    assignments = snapshot[ResourceType.ENDPOINT]
    found = (cluster_pb2.Cluster.FromString(cluster.body) for cluster in snapshot[ResourceType.CLUSTER].values())
    return [_document(_with_endpoints(cluster, assignments)) for cluster in found]


def _with_endpoints(cluster: cluster_pb2.Cluster, assignments: ResourceSet) -> cluster_pb2.Cluster:
    if cluster.HasField("eds_cluster_config"):
        cluster.ClearField("eds_cluster_config")
        cluster.type = cluster_pb2.Cluster.STATIC
        assignment = endpoint_pb2.ClusterLoadAssignment.FromString(assignments[cluster.name].body)
        cluster.load_assignment.CopyFrom(assignment)
    return cluster


def _listener(body: bytes, routes: ResourceSet) -> Document:
    listener = listener_pb2.Listener.FromString(body)
    for network_filter in (network_filter for chain in listener.filter_chains for network_filter in chain.filters):
        manager = http_connection_manager_pb2.HttpConnectionManager()
        if network_filter.typed_config.Unpack(manager) and manager.HasField("rds"):
            table = route_pb2.RouteConfiguration.FromString(routes[manager.rds.route_config_name].body)
            # As of a table that comes later, and not all or nothing: a route to a cluster that is missing answers 503.
            table.validate_clusters.value = False
            manager.route_config.CopyFrom(table)
            network_filter.typed_config.Pack(manager, deterministic=True)
    return _document(listener)


def _document(message: Message) -> Document:
    """Its maps in one order: in Envoy's messages they have none."""
    found = json_format.MessageToDict(message, preserving_proto_field_name=True)
    ordered: Document = json.loads(json.dumps(found, sort_keys=True))
    return ordered
