"""Fleet to Envoy resources: pure, one module for each resource type.

All decisions have been taken before; what stands here is only written down in Envoy's words.
"""

from __future__ import annotations

from typing import NamedTuple

from compiler.fleet import Backend, Fleet, Gateway, Route
from compiler.fleet import routes as fleet_routes
from compiler.fleet.routes import sees
from compiler.kept import Kept
from xds.live.shares import Before, left_behind, live_shares
from xds.live.state import LiveState
from xds.snapshot import Resource, ResourceSet, ResourceType, Snapshot, alike
from xds.translate.aggregates import rests
from xds.translate.clusters import clusters
from xds.translate.endpoints import Told, load_assignments
from xds.translate.group import Group, Placement, group_gateway, group_names, placement, served_as
from xds.translate.listeners import listeners
from xds.translate.routes import route_configurations
from xds.translate.runtime import runtime
from xds.translate.together import together
from xds.translate.tracing import collector_resource

__all__ = ["Group", "Placement", "group_names", "layer", "place", "placement", "served_as", "snapshot"]


def snapshot(fleet: Fleet, group: Group, kept: Kept | None = None) -> Snapshot:
    """Everything for the Envoys of `group`. Raises KeyError for a group that is unknown."""
    kept = kept or Kept()
    gateway = _gateway(fleet, group)
    routes = fleet_routes(fleet, gateway, kept) if gateway.hosts else ()
    view = kept.ordinal(sees(gateway))
    traced = fleet.platform.tracing is not None
    reached = kept.last(("reached", view), (routes, traced), _all_reached, (view, routes, traced, kept))
    return Snapshot(
        {
            ResourceType.RUNTIME: runtime(gateway, fleet.platform.tracing),
            ResourceType.CLUSTER: _with_collector(reached.clusters, fleet, gateway, kept),
            ResourceType.ENDPOINT: reached.load_assignments,
            ResourceType.LISTENER: listeners(gateway, group.placement, fleet.platform.tracing),
            ResourceType.ROUTE: route_configurations(gateway, routes, kept),
        }
    )


def place(of_group: Snapshot, fleet: Fleet, group: Group) -> Snapshot:
    """`of_group` for another placement of the same group: all but the listeners are shared, not made again."""
    moved = listeners(_gateway(fleet, group), group.placement, fleet.platform.tracing)
    return Snapshot({**of_group.sets, ResourceType.LISTENER: moved})


def layer(fleet: Fleet, name: str, live: LiveState, before: tuple[Before, ...] = ()) -> ResourceSet:
    """The runtime layer of the group called `name`, whose routes are those of `fleet` as policy has it.

    `before` is what its Envoys may still have, the oldest first: routes of other fleets, and what was live then.
    """
    gateway = _gateway(fleet, Group(name))
    found = live_shares(fleet, gateway, live)
    still = [
        shares
        for once in before
        if (then := group_gateway(once.fleet, name)) is not None
        for shares in left_behind(live_shares(once.fleet, then, once.live), fleet, gateway)
    ]
    return runtime(gateway, fleet.platform.tracing, (*still, *found))


def _gateway(fleet: Fleet, group: Group) -> Gateway:
    gateway = group_gateway(fleet, group.name)
    if gateway is None:
        raise KeyError(group.name)
    return gateway


def _with_collector(clusters: ResourceSet, fleet: Fleet, gateway: Gateway, kept: Kept) -> ResourceSet:
    """Where spans go, if anywhere; no listener, no spans."""
    tracing = fleet.platform.tracing
    if tracing is None or not gateway.hosts:
        return clusters
    collector = kept.same("collector", collector_resource(tracing), alike)
    return kept.last(("with collector", gateway.name), (clusters, collector), clusters.having, ((collector,),))


class _Reached(NamedTuple):
    """Where one route leads."""

    clusters: tuple[Resource, ...]
    load_assignments: tuple[Resource, ...]
    in_aggregate: bool


class _AllReached(NamedTuple):
    """Where all of a gateway's routes lead."""

    clusters: ResourceSet
    load_assignments: ResourceSet


def _all_reached(view: int, routes: tuple[Route, ...], traced: bool, kept: Kept) -> _AllReached:
    reached = kept.each(_reached, routes, traced, using=(kept,))
    # Of two load assignments for one cluster the second counts: of one in an aggregate.
    alone, in_aggregates = (kept.cut(kept.chained(of, reached)) for of in (_alone, _in_aggregate))
    return _AllReached(
        together(("clusters", view), kept.chained(_clusters, reached), kept),
        together(("load assignments", view), kept.joined([*alone, *in_aggregates]), kept),
    )


def _clusters(reached: _Reached) -> tuple[Resource, ...]:
    return reached.clusters


def _alone(reached: _Reached) -> tuple[Resource, ...]:
    return () if reached.in_aggregate else reached.load_assignments


def _in_aggregate(reached: _Reached) -> tuple[Resource, ...]:
    return reached.load_assignments if reached.in_aggregate else ()


def _reached(route: Route, traced: bool, kept: Kept) -> _Reached:
    backends, rest = _backends(route), rests(route)
    in_aggregate = any(share.hops for share in route.shares)
    return _Reached(
        tuple(clusters(backends | rest, route, kept)),
        tuple(load_assignments(backends, rest, Told(in_aggregate, traced), kept)),
        in_aggregate,
    )


def _backends(route: Route) -> dict[str, Backend]:
    """Each version that the route leads to, once, by the name of its cluster."""
    backends = [backend for share in route.shares for backend in share.backends]
    copies = [Backend(mirror.model, mirror.version) for mirror in route.mirrors]
    return {backend.cluster: backend for backend in (*backends, *copies)}
