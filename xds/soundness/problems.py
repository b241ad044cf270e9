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
from xds.soundness.tables import Entry, Tree, entry_examined, frame_examined, parts, routes_in

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


_Found = tuple[Place, Examined]


class _OfTree(NamedTuple):
    """What there is to say of the routes of a virtual host."""

    each: Mapping[str, Examined]
    wrong: tuple[tuple[str, Broken], ...]
    needs: frozenset[Need]


class _Summary(NamedTuple):
    """What there is to say of all resources of a type."""

    found: tuple[_Found, ...]
    """Of each; of a route table all but the routes in its hosts' trees."""
    trees: tuple[tuple[Place, _OfTree], ...]
    """Of each host, with a place in it."""
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
        if type_ is not ResourceType.ROUTE:
            each = self._kept.each(examined, tuple(resources.values()), type_)
            return _summary(tuple(zip([Place(type_, name) for name in resources], each, strict=True)))
        found: list[_Found] = []
        trees: list[tuple[Place, _OfTree]] = []
        for name, table in resources.items():
            frame, hosts = parts(table)
            found.append((Place(type_, name), frame_examined(table, frame)))
            for at, tree in enumerate(hosts):
                trees.append((Place(type_, name, Entry(at, "")), self._of_tree(tree, (group, name, at))))
        return _summary(tuple(found), tuple(trees))

    def _of_tree(self, tree: Tree, name: object) -> _OfTree:
        if tree not in self._seen:
            self._seen[tree] = self._kept.last(("examined", name), (tree,), _of_tree, (tree, self._kept))
        found: _OfTree = self._seen[tree]
        return found


def _summary(found: tuple[_Found, ...], trees: tuple[tuple[Place, _OfTree], ...] = ()) -> _Summary:
    wrong = [Problem(place, broken) for place, examined in found for broken in examined.broken]
    wrong += [Problem(_at(place, key), broken) for place, tree in trees for key, broken in tree.wrong]
    every = {noted for _, of in found for noted in of.noted if noted.__class__ is Need}
    needs: dict[ResourceType, set[str]] = defaultdict(set)
    for need in every.union(*(tree.needs for _, tree in trees)):
        needs[need.type].add(need.name)
    return _Summary(found, trees, tuple(wrong), {type_: frozenset(names) for type_, names in needs.items()})


def _of_tree(tree: Tree, kept: Kept) -> _OfTree:
    each = {key: entry_examined(content, kept) for key, content in tree.routes.items()}
    wrong = tuple((key, broken) for key, found in each.items() for broken in found.broken)
    return _OfTree(
        each, wrong, frozenset([of for found in each.values() for of in found.noted if of.__class__ is Need])
    )


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
        for key, of in tree.each.items():
            if any(missing(of.noted, snapshot.sets)):
                yield from _missing_in(_at(host, key), snapshot)


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
    each = (examined(listener, ResourceType.LISTENER) for listener in listeners.values())
    return _summary(tuple(zip([Place(ResourceType.LISTENER, name) for name in listeners], each, strict=True)))


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
