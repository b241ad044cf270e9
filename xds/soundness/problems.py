"""Why a snapshot is not fit to be served: resources that break a constraint, and references that lead nowhere."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from compiler.kept import Kept
from xds.snapshot import ResourceSet, ResourceType, Snapshot
from xds.soundness.constraints import Broken, Examined
from xds.soundness.resources import CONSTRAINTS, Bound, Need, examined
from xds.soundness.tables import Entry, entry_examined, frame_examined, parts, routes_in

PLACEMENTS = 4096
"""Of which it is remembered what is wrong with their listeners."""
_LISTENERS = tuple(ResourceType).index(ResourceType.LISTENER)


class Place(NamedTuple):
    """A resource, or the routes at one entry of a table."""

    type: ResourceType
    name: str
    entry: Entry | None = None


class Problem(NamedTuple):
    place: Place
    broken: Broken


_Found = tuple[Place, Examined]


class _Summary(NamedTuple):
    """What there is to say of many places at once."""

    wrong: tuple[Problem, ...]
    needs: Mapping[ResourceType, frozenset[str]]
    found: tuple[_Found, ...]
    """Of each place, for when something is wrong."""


def problems(snapshot: Snapshot, before: Snapshot | None, kept: Kept, group: str = "") -> list[Problem]:
    """Of resources by themselves; only where none has any, of what they need and of what is in each other's way.

    `before` is what was good last: of two listeners that want one address the new one is in the way. `group` is whose
    snapshot it is, for `kept`.
    """
    summaries = [
        kept.last(("examined", type_, group), (snapshot[type_],), _of_type, (type_, snapshot[type_], kept))
        for type_ in ResourceType
    ]
    wrong = [problem for summary in summaries for problem in summary.wrong]
    if wrong:
        return wrong
    if all(_is_there(summary, snapshot) for summary in summaries):
        return list(_in_the_way(summaries[_LISTENERS].found, snapshot, before))
    return [problem for summary in summaries for problem in _missing(summary, snapshot)]


def _of_type(type_: ResourceType, resources: ResourceSet, kept: Kept) -> _Summary:
    each = _tables if type_ is ResourceType.ROUTE else _plain
    found = tuple(each(type_, resources, kept))
    wrong = tuple(Problem(place, broken) for place, examined in found for broken in examined.broken)
    needs: dict[ResourceType, set[str]] = defaultdict(set)
    for _, of in found:
        for noted in of.noted:
            if noted.__class__ is Need:
                needs[noted.type].add(noted.name)
    return _Summary(wrong, {needed: frozenset(names) for needed, names in needs.items()}, found)


def _plain(type_: ResourceType, resources: ResourceSet, kept: Kept) -> Iterator[_Found]:
    each = kept.each(examined, zip(resources.values()), type_)
    return zip([Place(type_, name) for name in resources], each, strict=True)


def _tables(type_: ResourceType, tables: ResourceSet, kept: Kept) -> Iterator[_Found]:
    for name, table in tables.items():
        frame, routes = parts(table)
        yield Place(type_, name), frame_examined(table, frame)
        for entry, content in routes.items():
            yield Place(type_, name, entry), entry_examined(content, kept)


def _is_there(summary: _Summary, snapshot: Snapshot) -> bool:
    return all(names <= snapshot[type_].by_name.keys() for type_, names in summary.needs.items())


def _missing(summary: _Summary, snapshot: Snapshot) -> Iterator[Problem]:
    for place, of in summary.found:
        if place.entry is None:
            for need in of.noted:
                if isinstance(need, Need) and need.name not in snapshot[need.type]:
                    yield _absent(place, need)
            continue
        content = parts(snapshot[place.type][place.name]).routes[place.entry]
        for at, route in enumerate(routes_in(content)):
            for broken in missing(CONSTRAINTS.examined(route).noted, snapshot.sets):
                yield Problem(place, broken.within(f"routes[{at}]"))


def _absent(place: Place, need: Need) -> Problem:
    """Of a cluster and its load assignment the cluster is not to blame."""
    if need.type is ResourceType.ENDPOINT:
        return Problem(Place(need.type, need.name), Broken("", f"that its cluster '{place.name}' has one"))
    return Problem(place, _nowhere(need))


def missing(noted: Iterable[Any], sets: Mapping[ResourceType, Container[str]]) -> Iterator[Broken]:
    for need in noted:
        if isinstance(need, Need) and need.name not in sets[need.type]:
            yield _nowhere(need)


def _nowhere(need: Need) -> Broken:
    return Broken("", f"the reference to {need.type.label} '{need.name}', which is not there")


def listeners_are_sound(snapshot: Snapshot) -> bool:
    """For a snapshot that is sound but for its listeners, perhaps."""
    summary = _of_listeners(snapshot[ResourceType.LISTENER])
    in_the_way = _in_the_way(summary.found, snapshot, None)
    return not summary.wrong and _is_there(summary, snapshot) and not any(in_the_way)


@lru_cache(PLACEMENTS)
def _of_listeners(listeners: ResourceSet) -> _Summary:
    return _of_type(ResourceType.LISTENER, listeners, Kept())


def _in_the_way(found: Iterable[_Found], snapshot: Snapshot, before: Snapshot | None) -> Iterator[Problem]:
    """Listeners that want an address which another one has."""
    wanting: dict[Bound, list[str]] = defaultdict(list)
    for place, of in found:
        for noted in of.noted:
            if isinstance(noted, Bound):
                wanting[noted].append(place.name)

    def is_new(name: str) -> bool:
        old = None if before is None else before[ResourceType.LISTENER].get(name)
        return old is None or old.version != snapshot[ResourceType.LISTENER][name].version

    for bound, names in wanting.items():
        first, *others = sorted(names, key=lambda name: (is_new(name), name))
        for name in others:
            said = f"an address of its own, not {bound.address}:{bound.port} of '{first}'"
            yield Problem(Place(ResourceType.LISTENER, name), Broken("address", said))
