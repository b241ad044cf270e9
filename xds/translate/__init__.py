"""Fleet to Envoy resources: pure, one module for each resource type.

All decisions have been taken before; what stands here is only written down in Envoy's words.
"""

from __future__ import annotations

from collections.abc import Iterable

from compiler.fleet import Backend, Fleet, Gateway, Route
from compiler.fleet import routes as fleet_routes
from xds.live.shares import Before, left_behind, live_shares
from xds.live.state import LiveState
from xds.snapshot import ResourceSet, ResourceType, Snapshot
from xds.translate.aggregates import rests
from xds.translate.clusters import clusters
from xds.translate.endpoints import load_assignments
from xds.translate.group import Group, Placement, group_gateway, group_names, placement
from xds.translate.listeners import listeners
from xds.translate.routes import route_configurations
from xds.translate.runtime import runtime

__all__ = ["Group", "Placement", "group_names", "layer", "place", "placement", "snapshot"]


def snapshot(fleet: Fleet, group: Group) -> Snapshot:
    """Everything for the Envoys of `group`. Raises KeyError for a name that is not among `group_names`."""
    gateway = _gateway(fleet, group)
    routes = fleet_routes(fleet, gateway) if gateway.hosts else ()
    backends, rest = _backends(routes), rests(routes)
    return Snapshot(
        {
            ResourceType.RUNTIME: runtime(gateway),
            ResourceType.CLUSTER: clusters(backends | rest, routes),
            ResourceType.ENDPOINT: load_assignments(backends, rest),
            ResourceType.LISTENER: listeners(gateway, group.placement),
            ResourceType.ROUTE: route_configurations(gateway, routes),
        }
    )


def place(of_group: Snapshot, fleet: Fleet, group: Group) -> Snapshot:
    """`of_group` for another placement of the same group: all but the listeners are shared, not made again."""
    moved = listeners(_gateway(fleet, group), group.placement)
    return Snapshot({**of_group.sets, ResourceType.LISTENER: moved})


def layer(fleet: Fleet, name: str, live: LiveState, before: Before | None = None) -> ResourceSet:
    """The runtime layer of the group called `name`, whose routes are those of `fleet` as policy has it.

    `before` is what its Envoys may still have: routes of another fleet, and what was live then.
    """
    gateway = _gateway(fleet, Group(name))
    found = live_shares(fleet, gateway, live)
    then = None if before is None else group_gateway(before.fleet, name)
    if before is None or then is None:
        return runtime(gateway, found)
    return runtime(gateway, (*left_behind(live_shares(before.fleet, then, before.live), fleet, gateway), *found))


def _gateway(fleet: Fleet, group: Group) -> Gateway:
    gateway = group_gateway(fleet, group.name)
    if gateway is None:
        raise KeyError(group.name)
    return gateway


def _backends(routes: Iterable[Route]) -> dict[str, Backend]:
    """Each version that a route leads to, once, by the name of its cluster."""
    found: dict[str, Backend] = {}
    for route in routes:
        backends = [backend for share in route.shares for backend in share.backends]
        copies = [Backend(mirror.model, mirror.version) for mirror in route.mirrors]
        found.update((backend.cluster, backend) for backend in (*backends, *copies))
    return found
