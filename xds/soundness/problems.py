"""Why a snapshot is not fit to be served: resources that break a constraint, and references that lead nowhere."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping
from functools import lru_cache, partial
from typing import Any, NamedTuple

from compiler.kept import Kept
from xds.route_table import routes_of
from xds.snapshot import Resource, ResourceSet, ResourceType, Snapshot
from xds.soundness.constraints import Broken, Examined
from xds.soundness.resources import CONSTRAINTS, Bound, Need, examined
from xds.soundness.tables import Entry, Tree, frame_examined, parts, routes_examined, routes_in

PLACEMENTS = 4096
"""Of which it is remembered what is wrong with their listeners."""


class Place(NamedTuple):
    """A resource, or the routes at one entry of a table."""

    type: ResourceType
    name: str
    entry: Entry | None = None


class Problem(NamedTuple):
    place: Place
    broken: Broken


class _Found(NamedTuple):
    place: Place
    of: Examined


class _Some(NamedTuple):
    """What is wrong with some of many, and what all of them need."""

    wrong: tuple[Problem, ...]
    needs: frozenset[Need]


class _Summary(NamedTuple):
    """What there is to say of all resources of a type."""

    found: tuple[_Found, ...]
    """Of each; of a route table all but the routes in its hosts' trees."""
    trees: tuple[tuple[Place, tuple[_Found, ...]], ...]
    """Of each host, with a place in it; each entry's own place tells only its key."""
    wrong: tuple[Problem, ...]
    needs: Mapping[ResourceType, frozenset[str]]


class Examiner:
    """Of the snapshots of one run, in which much is the same objects; and with `kept`, as in the run before."""

    def __init__(self, kept: Kept | None = None) -> None:
        self._kept = kept or Kept()
        self._seen: dict[object, Any] = {}

    def problems(self, snapshot: Snapshot, before: Snapshot | None, group: str = "") -> list[Problem]:
        """Of resources by themselves; only where none has any, of what they need and of what is in each other's way.

        `before` is what was good last: of two listeners that want one address the new one is in the way. `group` is
        whose snapshot it is.
        """
        summaries = {type_: self._of_type(type_, snapshot[type_], group) for type_ in ResourceType}
        wrong = [problem for summary in summaries.values() for problem in summary.wrong]
        if wrong:
            return wrong
        if all(_is_there(summary, snapshot) for summary in summaries.values()):
            return list(_in_the_way(summaries[ResourceType.LISTENER].found, snapshot, before))
        return [problem for summary in summaries.values() for problem in _missing(summary, snapshot)]

    def _of_type(self, type_: ResourceType, resources: ResourceSet, group: str) -> _Summary:
        key = type_, resources
        if key not in self._seen:
            name, arguments = ("examined", type_, group), (type_, resources, group)
            self._seen[key] = self._kept.last(name, (resources,), self._summary, arguments)
        found: _Summary = self._seen[key]
        return found

    def _summary(self, type_: ResourceType, resources: ResourceSet, group: str) -> _Summary:
        kept = self._kept
        if type_ is not ResourceType.ROUTE:
            found = kept.each(_EXAMINED[type_], tuple(resources.values()))
            return _summary(
                ("needs", type_, group), found, (), kept.stretches(_SOME[type_], found, using=(kept,)), kept
            )
        frames: list[_Found] = []
        trees: list[tuple[Place, tuple[_Found, ...]]] = []
        some: list[_Some] = []
        for name, table in resources.items():
            frame, hosts = parts(table)
            # Of bytes that are no table there is no frame.
            around = (table,) if frame is None else (frame,)
            frames.append(_Found(Place(type_, name), kept.by(("frame", name), around, frame_examined, (table, frame))))
            for at, tree in enumerate(hosts):
                host = Place(type_, name, Entry(at, ""))
                entries = self._of_tree(tree)
                trees.append((host, entries))
                of_tree = kept.stretches(_SOME_ENTRIES, entries, using=(kept,))
                some += [_Some(tuple(_within(host, problem) for problem in of.wrong), of.needs) for of in of_tree]
        if frames:
            some.append(_some_kept(tuple(frames), kept))
        return _summary(("needs", type_, group), tuple(frames), tuple(trees), some, kept)

    def _of_tree(self, tree: Tree) -> tuple[_Found, ...]:
        if tree not in self._seen:
            self._seen[tree] = self._kept.each(_entry_examined, tuple(tree.entries.values()))
        found: tuple[_Found, ...] = self._seen[tree]
        return found


def _found(type_: ResourceType, resource: Resource) -> _Found:
    return _Found(Place(type_, resource.name), examined(resource, type_))


def _entry_examined(entry: Resource) -> _Found:
    return _Found(Place(ResourceType.ROUTE, "", Entry(0, entry.name)), routes_examined(routes_of(entry)))


def _some(found: tuple[_Found, ...]) -> _Some:
    wrong = tuple(Problem(place, broken) for place, of in found for broken in of.broken)
    return _Some(wrong, frozenset(noted for _, of in found for noted in of.noted if noted.__class__ is Need))


def _some_kept(found: tuple[_Found, ...], kept: Kept) -> _Some:
    """Most edits leave what is needed as it is."""
    some = _some(found)
    return some._replace(needs=kept.same(("needs", found[0].place), some.needs))


_EXAMINED = {type_: partial(_found, type_) for type_ in ResourceType}
_SOME = {type_: partial(_some_kept) for type_ in ResourceType}
_SOME_ENTRIES = partial(_some_kept)
"""Functions of their own, as it is by the function that `Kept` knows a long tuple."""


def _summary(
    name: object,
    found: tuple[_Found, ...],
    trees: tuple[tuple[Place, tuple[_Found, ...]], ...],
    some: Iterable[_Some],
    kept: Kept,
) -> _Summary:
    listed = list(some)
    needs = tuple(of.needs for of in listed)
    by_type = kept.last(name, needs, _by_type, (needs,))
    return _Summary(found, trees, tuple(problem for of in listed for problem in of.wrong), by_type)


def _by_type(several: Iterable[frozenset[Need]]) -> Mapping[ResourceType, frozenset[str]]:
    needs: dict[ResourceType, set[str]] = defaultdict(set)
    for need in frozenset().union(*several):
        needs[need.type].add(need.name)
    return {type_: frozenset(names) for type_, names in needs.items()}


def _within(host: Place, problem: Problem) -> Problem:
    assert problem.place.entry is not None
    return Problem(_at(host, problem.place.entry.key), problem.broken)


def _at(place: Place, key: str) -> Place:
    """Another name's routes in the same host."""
    assert place.entry is not None
    return place._replace(entry=place.entry._replace(key=key))


def _is_there(summary: _Summary, snapshot: Snapshot) -> bool:
    return all(names <= snapshot[type_].by_name.keys() for type_, names in summary.needs.items())


def _missing(summary: _Summary, snapshot: Snapshot) -> Iterator[Problem]:
    for place, of in summary.found:
        for need in of.noted:
            if isinstance(need, Need) and need.name not in snapshot[need.type]:
                yield _absent(place, need)
    for host, tree in summary.trees:
        for (_, _, entry), of in tree:
            if entry is not None and any(missing(of.noted, snapshot.sets)):
                yield from _missing_in(_at(host, entry.key), snapshot)


def _missing_in(place: Place, snapshot: Snapshot) -> Iterator[Problem]:
    assert place.entry is not None
    content = parts(snapshot[place.type][place.name]).trees[place.entry.host].routes[place.entry.key]
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
    found = tuple(_found(ResourceType.LISTENER, listener) for listener in listeners.values())
    some = _some(found)
    return _Summary(found, (), some.wrong, _by_type([some.needs]))


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
