"""Load assignments: a version's instances, its tiers as Envoy's priorities."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

from envoy.config.core.v3 import base_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2

from compiler.fleet import Backend, Endpoint, Model, Tier, Version, Zones, cluster_name
from xds.snapshot import ResourceSet
from xds.translate.messages import METADATA_NAMESPACE, message_resource, struct

TIERS = tuple(Tier)


def load_assignments(backends: Iterable[Backend]) -> ResourceSet:
    return ResourceSet(
        message_resource(cluster_name(model.name, version.name), load_assignment(model, version), version.origin)
        for model, version in backends
    )


def load_assignment(model: Model, version: Version) -> endpoint_pb2.ClusterLoadAssignment:
    """Empty where nothing runs: Envoy then answers 503 instead of waiting for it."""
    return endpoint_pb2.ClusterLoadAssignment(
        cluster_name=cluster_name(model.name, version.name),
        endpoints=_localities(version.endpoints, model.zones, _metadata(model, version)),
        # Instances that are left keep the share they had; what the dead ones carried goes to the next tier.
        policy={"overprovisioning_factor": {"value": 100}},
    )


def _metadata(model: Model, version: Version) -> base_pb2.Metadata:
    """Who answers, for the response headers that tell it. Of the route's cluster that would be wrong behind a hop."""
    return base_pb2.Metadata(
        filter_metadata={METADATA_NAMESPACE: struct({"model": model.name, "version": version.name})}
    )


def _localities(
    endpoints: Iterable[Endpoint], zones: Zones, metadata: base_pb2.Metadata
) -> Iterator[endpoint_components_pb2.LocalityLbEndpoints]:
    def preference(endpoint: Endpoint) -> tuple[int, bool]:
        return TIERS.index(endpoint.tier), endpoint.zone == zones.standby

    def place(endpoint: Endpoint) -> tuple[str, str, int]:
        return endpoint.zone, endpoint.address, endpoint.port

    ordered = sorted(endpoints, key=lambda endpoint: (preference(endpoint), place(endpoint)))
    # Counted, not computed: a priority without instances between two others would be a gap.
    for priority, (_, members) in enumerate(groupby(ordered, key=preference)):
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
