"""The shares of routes that live weights decide, by the names that the committed route table has for them.

They are worked out from committed routes and not by making routes of a live fleet: there the order of hops would be
another one, and with it the names of aggregates, which no Envoy has in its table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from compiler.fleet import Fleet, Gateway, MirrorShare, Route, Share
from compiler.fleet.routes import routes_about
from xds.live.state import LiveState, Override


@dataclass(frozen=True, slots=True)
class LiveShares:
    """Of one route: the weights of all versions of the models that are overridden, and of the mirrors to them.

    Versions of other models are not here: their committed weights hold. All weights of the route together sum to what
    the committed ones do, so never to 0, which an Envoy would answer with 404.
    """

    route: Route
    shares: tuple[Share, ...]
    mirrors: tuple[MirrorShare, ...]


@dataclass(frozen=True, slots=True)
class Before:
    """What Envoys may still have while an edit is under way to them."""

    fleet: Fleet
    live: LiveState
    until: datetime
    """When all Envoys are taken to have moved on."""


def live_shares(fleet: Fleet, gateway: Gateway, state: LiveState) -> tuple[LiveShares, ...]:
    """Of the routes that `gateway` has by policy. Also of overrides that policy agrees with."""
    if not state.overrides or not gateway.hosts:
        return ()
    found = (_of_route(route, state.overrides) for route in routes_about(fleet, gateway, state.overrides))
    return tuple(live for live in found if live.shares or live.mirrors)


def left_behind(before: tuple[LiveShares, ...], fleet: Fleet, gateway: Gateway) -> tuple[LiveShares, ...]:
    """Of what was live `before` an edit, the shares that mean nothing to the edited routes.

    They stay in the layer while Envoys still have the routes of before: else a version that has been drained, and is
    removed from policy now, would get requests again until the new routes are there.
    """
    names = {share.model.name for live in before for share in live.shares}
    routes = {route.name: route for route in routes_about(fleet, gateway, names)} if names and gateway.hosts else {}
    found = (_left(live, routes.get(live.route.name)) for live in before)
    return tuple(live for live in found if live.shares)


def _left(before: LiveShares, route: Route | None) -> LiveShares:
    read = {share.cluster for share in _split(route)} if route is not None else set()
    shares = tuple(share for share in before.shares if share.cluster not in read)
    return LiveShares(before.route, shares, ())


def _of_route(route: Route, overrides: Mapping[str, Override]) -> LiveShares:
    mirrors = tuple(_mirrors(route, overrides)) if route.is_listed else ()
    return LiveShares(route, tuple(_shares(route, overrides)), mirrors)


def _shares(route: Route, overrides: Mapping[str, Override]) -> Iterator[Share]:
    """A model that gets nothing of the route by policy gets nothing by a live weight, and then its keys must not be
    there: Envoys that still have routes of before, where it got all, would have a split that sums to 0."""
    split = _split(route)
    for name, override in overrides.items():
        of_model = [share for share in split if share.model.name == name]
        percent = sum(share.weight for share in of_model) // 100
        if percent:
            yield from (replace(s, weight=percent * override.weight(s.version.name)) for s in of_model)


def _split(route: Route) -> tuple[Share, ...]:
    """Of what has a runtime key: a route to one cluster has none, nor one that answers by itself."""
    return route.shares if len(route.shares) > 1 and route.is_listed else ()


def _mirrors(route: Route, overrides: Mapping[str, Override]) -> Iterator[MirrorShare]:
    """Those of the table alone: a version without weight has no mirror there that could be raised."""
    for name, override in overrides.items():
        following = [mirror for mirror in route.mirrors if mirror.follows and mirror.model.name == name]
        yield from (replace(m, weight=m.percent * override.weight(m.version.name)) for m in following)
