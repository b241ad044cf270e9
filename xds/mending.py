"""A snapshot that is not sound, mended: step by step, from the version that was good last to doing without."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.service.runtime.v3 import rtds_pb2

from compiler.diagnostics import BUILT_IN, Position
from xds.snapshot import HeldBack, Resource, ResourceSet, ResourceType, Snapshot
from xds.soundness.constraints import Broken
from xds.soundness.problems import Place, Problem, missing
from xds.soundness.resources import CONSTRAINTS, Need, examined
from xds.soundness.tables import frame_examined, parts, routes_examined, routes_in, with_entries
from xds.translate.messages import message_resource
from xds.translate.replies import held_back_format

GOOD = 1
"""The step that puts back what was good. The next does without it."""
_ROUTE = re.compile(r"routes\[(\d+)\]")


class Mending:
    def __init__(self, made: Snapshot, before: Snapshot | None) -> None:
        """`before` is sound."""
        self._sets = {type_: dict(resources.by_name) for type_, resources in made.sets.items()}
        self._made, self._before = made, before
        self._steps: dict[Place, int] = {}
        """The last one taken at each place."""
        self._told: dict[tuple[ResourceType, str, Broken], tuple[Position, list[Place]]] = {}
        """What is wrong with what, and where: the routes of a model and of its aliases are the same."""

    def snapshot(self) -> Snapshot:
        """As it is by now; sets in which nothing was mended are the same objects."""
        return Snapshot({type_: _mended(resources, self._sets[type_]) for type_, resources in self._made.sets.items()})

    def held(self) -> tuple[HeldBack, ...]:
        return tuple(
            HeldBack("X102", type_, name, str(broken), origin, all(self._steps[place] == GOOD for place in places))
            for (type_, name, broken), (origin, places) in self._told.items()
        )

    def mend(self, found: Iterable[Problem]) -> None:
        """One step further at each place that has a problem."""
        by_place: dict[Place, list[Broken]] = {}
        for place, broken in found:
            by_place.setdefault(place, []).append(broken)
        for place, there in by_place.items():
            whole = place._replace(entry=None)
            gone = place.name not in self._sets[place.type] and place.type is not ResourceType.ENDPOINT
            if gone or (whole != place and whole in by_place):
                continue  # with something larger, or put back with it
            for broken in there:
                self._note(place, broken)
            self._step(place)

    def _note(self, place: Place, broken: Broken) -> None:
        """What comes of putting something back is no news."""
        if place in self._steps:
            return
        name, origin = place.name, self._origin(place)
        if place.entry is not None:
            resource = self._sets[place.type][place.name]
            route, path = _route_at(parts(resource).routes[place.entry], broken)
            name, broken = route or name, broken.after(path)
            origin = dict(resource.lines).get(name, origin)
        self._told.setdefault((place.type, name, broken), (origin, []))[1].append(place)

    def _step(self, place: Place) -> None:
        good = self._good(place)
        step = self._steps.get(place, GOOD if good is None else 0) + 1
        self._steps[place] = step
        if step == GOOD and good is not None:
            self._put_back(place, good)
        elif place.entry is None:
            self._leave_out(place)
        else:
            table = self._sets[place.type][place.name]
            routes = self._answered(parts(table).routes[place.entry]) if step == GOOD + 1 else None
            self._sets[place.type][place.name] = with_entries(table, {place.entry: routes})

    def _origin(self, place: Place) -> Position:
        """Of a load assignment that is not there, that of the cluster of the same name."""
        found = self._sets[place.type].get(place.name) or self._sets[ResourceType.CLUSTER].get(place.name)
        return BUILT_IN if found is None else found.origin

    def _good(self, place: Place) -> Resource | bytes | None:
        found = None if self._before is None else self._before[place.type].get(place.name)
        return found if found is None or place.entry is None else parts(found).routes.get(place.entry)

    def _put_back(self, place: Place, good: Resource | bytes) -> None:
        at = self._sets[place.type]
        if isinstance(good, bytes):
            assert place.entry is not None
            at[place.name] = with_entries(at[place.name], {place.entry: good})
            self._bring(routes_examined(good).noted)
            return
        at[place.name] = good
        if place.type is not ResourceType.ROUTE:
            self._bring(examined(good, place.type).noted)
            return
        self._bring(frame_examined(good, parts(good).frame).noted)
        for content in parts(good).routes.values():
            self._bring(routes_examined(content).noted)

    def _bring(self, needs: Iterable[Any]) -> None:
        """What is needed and not there any more, as it was."""
        for need in needs:
            if not isinstance(need, Need) or need.name in self._sets[need.type] or self._before is None:
                continue
            good = self._before[need.type].get(need.name)
            if good is not None and Place(need.type, need.name) not in self._steps:
                self._put_back(Place(need.type, need.name), good)

    def _leave_out(self, place: Place) -> None:
        """But what Envoys would wait for, for ever: that is empty."""
        at, origin = self._sets[place.type], self._origin(place)
        match place.type:
            case ResourceType.ENDPOINT:
                empty: Any = endpoint_pb2.ClusterLoadAssignment(cluster_name=place.name)
            case ResourceType.RUNTIME:
                empty = rtds_pb2.Runtime(name=place.name, layer={})
            case _:
                del at[place.name]
                return
        at[place.name] = message_resource(place.name, empty, origin)

    def _answered(self, content: bytes) -> bytes | None:
        """The routes, each that is not sound with an answer of our own, or left out where nobody knows what it matches.

        One answer for all where none is left; None where these are no routes.
        """
        found = route_components_pb2.RouteList()
        routes = routes_in(content)
        for route in routes:
            of = CONSTRAINTS.examined(route)
            if not of.broken and not any(missing(of.noted, self._sets)):
                found.routes.add().CopyFrom(route)
            elif not CONSTRAINTS.examined(route.match).broken:
                found.routes.add(match=route.match, **_held_back(route.name))
        if routes and not found.routes:
            found.routes.add(match={"prefix": "/"}, **_held_back(routes[0].name))
        return found.SerializeToString(deterministic=True) if found.routes else None


def _mended(made: ResourceSet, now: Mapping[str, Resource]) -> ResourceSet:
    others = [resource for name, resource in now.items() if made.by_name.get(name) is not resource]
    gone = made.by_name.keys() - now.keys()
    return made.having(others, gone) if others or gone else made


def _held_back(name: str) -> dict[str, Any]:
    answer = {"status": 503, "body_format": held_back_format(name.removesuffix("/stream"))}
    return {"name": name, "direct_response": answer}


def _route_at(content: bytes, broken: Broken) -> tuple[str, str]:
    """The name of the route that `broken` is about, and the path to it."""
    at = _ROUTE.match(broken.path)
    routes = routes_in(content)
    if at is None or int(at[1]) >= len(routes):
        return "", ""
    return str(routes[int(at[1])].name).removesuffix("/stream"), at[0]
