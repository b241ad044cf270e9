"""Load assignments: a version's instances, its tiers as Envoy's priorities."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby

from envoy.config.core.v3 import base_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2

from compiler.fleet import Backend, Endpoint
from compiler.kept import Kept
from xds.snapshot import Resource, alike
from xds.translate.messages import METADATA_NAMESPACE, message_resource, struct
from xds.translate.priorities import priorities

EACH_KEEPS_ITS_SHARE = 100
"""Instances that are left keep the share they had; what the dead ones carried goes to the next tier."""
ONE_TAKES_ALL = 100_000
"""Nothing goes on as long as one instance is healthy."""


def load_assignments(backends: Mapping[str, Backend], rests: Mapping[str, Backend], kept: Kept) -> Iterator[Resource]:
    """By the name of the cluster. `rests` are what `aggregates` says."""
    for named, factor in ((backends, EACH_KEEPS_ITS_SHARE), (rests, ONE_TAKES_ALL)):
        for name, backend in named.items():
            made = kept.by(("load assignment", name), backend, _resource, (name, backend, factor))
            yield kept.same(("load assignment", name), made, alike)


def _resource(name: str, backend: Backend, factor: int) -> Resource:
    return message_resource(name, load_assignment(name, backend, factor), backend.version.origin)


def load_assignment(name: str, backend: Backend, factor: int) -> endpoint_pb2.ClusterLoadAssignment:
    """Empty where nothing runs: Envoy then answers 503 instead of waiting for it."""
    groups = priorities(backend)
    return endpoint_pb2.ClusterLoadAssignment(
        cluster_name=name,
        endpoints=_localities(groups, _metadata(backend)),
        policy={"overprovisioning_factor": {"value": factor if len(groups) > 1 else ONE_TAKES_ALL}},
    )


def _metadata(backend: Backend) -> base_pb2.Metadata:
    """Who answers, for the response headers that tell it. Of the route's cluster that would be wrong behind a hop."""
    who = {"model": backend.model.name, "version": backend.version.name}
    return base_pb2.Metadata(filter_metadata={METADATA_NAMESPACE: struct(who)})


def _localities(
    groups: list[list[Endpoint]], metadata: base_pb2.Metadata
) -> Iterator[endpoint_components_pb2.LocalityLbEndpoints]:
    for priority, members in enumerate(groups):
        for zone, instances in groupby(members, key=lambda endpoint: endpoint.zone):
            yield endpoint_components_pb2.LocalityLbEndpoints(
                locality={"zone": zone},
                priority=priority,
                lb_endpoints=[_lb_endpoint(instance, metadata) for instance in instances],
            )


def _lb_endpoint(endpoint: Endpoint, metadata: base_pb2.Metadata) -> dict[str, object]:
    address = {"address": endpoint.address, "port_value": endpoint.port}
    return {
        "endpoint": {"address": {"socket_address": address}},
        "load_balancing_weight": {"value": endpoint.weight},
        "metadata": metadata,
    }
