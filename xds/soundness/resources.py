"""What is wrong with one resource by itself, and what it needs to be there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError

from compiler import regex
from compiler.envoy.numeric import numeric_address
from xds.snapshot import Resource, ResourceType
from xds.soundness.constraints import Broken, Constraints, Examined, Own, unpacked
from xds.soundness.rules import seconds

MOST_WEIGHT = 2**32 - 1
"""That Envoy can count to when it sums up a split."""


class Need(NamedTuple):
    """Another resource without which this one does nothing."""

    type: ResourceType
    name: str


class Bound(NamedTuple):
    """Where a listener listens."""

    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Split:
    """Of a route, whose live weights are at `<prefix>.<cluster>` of the runtime layer."""

    prefix: str
    weights: tuple[tuple[str, int], ...]
    """Committed ones, by cluster."""


def _regex(matcher: Any) -> Iterator[Broken]:
    """Of an RE2 that is compiled, as Envoy would."""
    if matcher.regex and (wrong := regex.problem(matcher.regex)):
        yield Broken("regex", wrong)


def _duration(found: Any) -> Iterator[Broken]:
    """None of Envoy's may be negative, though few say so."""
    if found.seconds < 0 or found.nanos < 0:
        yield Broken("", f"not negative, but {seconds(found)}")


def _socket_address(address: Any) -> Iterator[Broken]:
    if address.WhichOneof("port_specifier") == "port_value" and not address.port_value:
        yield Broken("port_value", "more than 0, not 0")


def _domains(table: Any) -> Iterator[Broken]:
    found = Counter(domain for host in table.virtual_hosts for domain in host.domains)
    for domain, times in found.items():
        if times > 1:
            yield Broken("virtual_hosts", f"each domain once, not {domain!r} {times} times")


def _listener(listener: Any) -> Iterator[Broken | Bound]:
    if not listener.filter_chains and not listener.HasField("default_filter_chain"):
        yield Broken("filter_chains", "at least 1, not 0")
    address = listener.address.socket_address
    if address.port_value:
        yield Bound(address.address, address.port_value)


def _split(found: Any) -> Iterator[Broken | Split]:
    weights = tuple((entry.name, entry.weight.value) for entry in found.clusters)
    total = sum(weight for _, weight in weights)
    if not total:
        yield Broken("", "weights sum to more than 0, not 0")
    elif total > MOST_WEIGHT:
        yield Broken("", f"weights sum to at most {MOST_WEIGHT:,}, not {total:,}")
    if found.HasField("total_weight") and found.total_weight.value != total:
        yield Broken("total_weight", f"the sum of all weights, {total:,}, not {found.total_weight.value:,}")
    if found.runtime_key_prefix:
        yield Split(found.runtime_key_prefix, weights)


def _names(field: str) -> Own:
    """The message names a cluster there."""

    def needs(message: Any) -> Iterable[Need]:
        name = getattr(message, field)
        return (Need(ResourceType.CLUSTER, name),) if name else ()

    return needs


def _assignment(cluster: Any) -> Iterator[Need]:
    if cluster.HasField("eds_cluster_config"):
        yield Need(ResourceType.ENDPOINT, cluster.eds_cluster_config.service_name or cluster.name)


def _table(rds: Any) -> Iterator[Need]:
    yield Need(ResourceType.ROUTE, rds.route_config_name)


def _members(aggregate: Any) -> Iterator[Need]:
    return (Need(ResourceType.CLUSTER, name) for name in aggregate.clusters)


OWN: Mapping[str, Own] = {
    "envoy.config.cluster.v3.Cluster": _assignment,
    "envoy.config.core.v3.GrpcService.EnvoyGrpc": _names("cluster_name"),
    "envoy.config.core.v3.HttpUri": _names("cluster"),
    "envoy.config.core.v3.SocketAddress": _socket_address,
    "envoy.config.listener.v3.Listener": _listener,
    "envoy.config.route.v3.RouteAction": _names("cluster"),
    "envoy.config.route.v3.RouteAction.RequestMirrorPolicy": _names("cluster"),
    "envoy.config.route.v3.RouteConfiguration": _domains,
    "envoy.config.route.v3.WeightedCluster": _split,
    "envoy.config.route.v3.WeightedCluster.ClusterWeight": _names("name"),
    "envoy.extensions.clusters.aggregate.v3.ClusterConfig": _members,
    "envoy.extensions.filters.network.http_connection_manager.v3.Rds": _table,
    "envoy.type.matcher.v3.RegexMatcher": _regex,
    "google.protobuf.Duration": _duration,
}
"""What Envoy refuses beyond its API's own rules, or does not and then fails at."""
CONSTRAINTS = Constraints(OWN)

NAMED = {ResourceType.ENDPOINT: "cluster_name"}
"""The field that has a resource's name, where it is not `name`."""


def examined(resource: Resource, type_: ResourceType) -> Examined:
    """Of a resource that is no route table."""
    try:
        message: Any = unpacked(type_, resource.body)
    except DecodeError:
        return CONSTRAINTS.content(type_, resource.body)
    found = CONSTRAINTS.examined(message)
    wrong = [*misnamed(message, resource, type_), *(_instances(message) if type_ is ResourceType.ENDPOINT else ())]
    return Examined((*found.broken, *wrong), found.noted)


def misnamed(message: Any, resource: Resource, type_: ResourceType) -> Iterator[Broken]:
    """An Envoy that asks for a name takes no other."""
    field = NAMED.get(type_, "name")
    if getattr(message, field) != resource.name:
        yield Broken(field, f"as asked for, {resource.name!r}, not {getattr(message, field)!r}")


def _instances(assignment: Any) -> Iterator[Broken]:
    """Names of hosts are for clusters that ask DNS."""
    for at, locality in enumerate(assignment.endpoints):
        for place, instance in enumerate(locality.lb_endpoints):
            address = instance.endpoint.address.socket_address.address
            if address and not _is_ip(address):
                path = f"endpoints[{at}].lb_endpoints[{place}].endpoint.address.socket_address.address"
                yield Broken(path, f"an IP address, not {address!r}")


def _is_ip(text: str) -> bool:
    try:
        numeric_address(text)
    except ValueError:
        return False
    return True
