"""Load assignments: a version's instances, its tiers as Envoy's priorities."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import NamedTuple

from envoy.config.core.v3 import base_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2

from compiler.fleet import Backend, Endpoint, Tier
from compiler.kept import Kept
from xds.snapshot import Resource, alike
from xds.translate.messages import METADATA_NAMESPACE, message_resource, who_answers
from xds.translate.priorities import priorities

EACH_KEEPS_ITS_SHARE = 100
"""Instances that are left keep the share they had; what the dead ones carried goes to the next tier."""
ONE_TAKES_ALL = 100_000
"""Nothing goes on as long as one instance is healthy."""


class Told(NamedTuple):
    """What instances say of themselves, which would be most of the bytes."""

    whose: bool
    """Of a cluster in an aggregate, because the request's cluster does not know."""
    tier: bool
    """For spans, and by standbys alone."""


def load_assignments(
    backends: Mapping[str, Backend], rests: Mapping[str, Backend], told: Told, kept: Kept
) -> Iterator[Resource]:
    """By the name of the cluster. `rests` are what `aggregates` says."""
    for named, factor in ((backends, EACH_KEEPS_ITS_SHARE), (rests, ONE_TAKES_ALL)):
        for name, backend in named.items():
            key = ("load assignment", name, told)
            made = kept.by(key, backend, _resource, (name, backend, factor, told))
            yield kept.same(key, made, alike)


def _resource(name: str, backend: Backend, factor: int, told: Told) -> Resource:
    return message_resource(name, load_assignment(name, backend, factor, told), backend.version.origin)


def load_assignment(name: str, backend: Backend, factor: int, told: Told) -> endpoint_pb2.ClusterLoadAssignment:
    """Empty where nothing runs: Envoy then answers 503 instead of waiting for it."""
    groups = priorities(backend)
    return endpoint_pb2.ClusterLoadAssignment(
        cluster_name=name,
        endpoints=_localities(groups, backend, told),
        policy={"overprovisioning_factor": {"value": factor if len(groups) > 1 else ONE_TAKES_ALL}},
    )


def _localities(
    groups: list[list[Endpoint]], backend: Backend, told: Told
) -> Iterator[endpoint_components_pb2.LocalityLbEndpoints]:
    for priority, members in enumerate(groups):
        metadata = _metadata(backend, members[0].tier, told)
        for zone, instances in groupby(members, key=lambda endpoint: endpoint.zone):
            yield endpoint_components_pb2.LocalityLbEndpoints(
                locality={"zone": zone},
                priority=priority,
                lb_endpoints=[_lb_endpoint(instance, metadata) for instance in instances],
            )


def _metadata(backend: Backend, tier: Tier, told: Told) -> base_pb2.Metadata | None:
    who = who_answers(backend) if told.whose else None
    if tier is Tier.ACTIVE or not told.tier:
        return who
    found = base_pb2.Metadata() if who is None else who
    found.filter_metadata[METADATA_NAMESPACE].update({"tier": str(tier)})
    return found


def _lb_endpoint(endpoint: Endpoint, metadata: base_pb2.Metadata | None) -> dict[str, object]:
    address = {"address": endpoint.address, "port_value": endpoint.port}
    return {
        "endpoint": {"address": {"socket_address": address}},
        # 1 is what Envoy takes where there is none.
        "load_balancing_weight": {"value": endpoint.weight} if endpoint.weight != 1 else None,
        "metadata": metadata,
    }
