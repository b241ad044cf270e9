"""A route table as a frame and the routes that each name leads to, which are nearly all of it.

The table of a thousand models is one resource. What an edit leaves alone of it is not examined again, and one model's
bad routes are no reason to hold back another's.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError

from xds.route_table import ROUTE_LIST, RouteTable, entry, routes_of, with_others
from xds.snapshot import Resource, ResourceSet, ResourceType, resource
from xds.soundness.constraints import Examined, unpacked
from xds.soundness.resources import CONSTRAINTS, misnamed
from xds.wire import Frame

MATCHER_TREE = "type.googleapis.com/xds.type.matcher.v3.Matcher.MatcherTree"


class Entry(NamedTuple):
    """A place in a table."""

    host: int
    """Which of the virtual hosts, from 0."""
    key: str
    """In its map: a model's name or alias, an orchestrator's, or nothing where a request names none."""


class Tree:
    """The routes of one virtual host by name, a RouteList each. The same object for hosts that have the same."""

    def __init__(self, entries: ResourceSet) -> None:
        self.entries = entries

    @cached_property
    def routes(self) -> Mapping[str, bytes]:
        return {name: routes_of(of) for name, of in self.entries.items()}


class Parts(NamedTuple):
    frame: Any
    """The table with one entry left in each map, and no routes in that; None where the bytes are no table."""
    trees: tuple[Tree, ...]
    """Of each virtual host."""

    @property
    def routes(self) -> Mapping[Entry, bytes]:
        return {Entry(at, key): found for at, tree in enumerate(self.trees) for key, found in tree.routes.items()}


NO_TABLE = Parts(None, ())


@lru_cache(16)
def parts(table: Resource) -> Parts:
    """The tables of today are asked for by everyone who looks into one."""
    if isinstance(table, RouteTable):
        return Parts(_frame(table.around, next(iter(table.entries), None)), (_tree(table.entries),))
    try:
        frame: Any = unpacked(ResourceType.ROUTE, table.body)
    except DecodeError:
        return NO_TABLE
    return Parts(frame, tuple(map(_taken_out, frame.virtual_hosts)))


@lru_cache(16)
def _frame(around: Frame, first: str | None) -> Any:
    """With the entry called `first` alone."""
    left = () if first is None else entry(first, b"").parts
    return unpacked(ResourceType.ROUTE, b"".join(around.around(*left)))


@lru_cache(16)
def _tree(entries: ResourceSet) -> Tree:
    """Gateways that see the same have the same."""
    return Tree(entries)


def _taken_out(host: Any) -> Tree:
    """Its routes, which it loses."""
    tree = _parsed(host.matcher.matcher_tree.SerializeToString())
    entries = entries_of(host)
    first = next(iter(tree.routes), None)
    if first is not None and len(tree.routes) == len(entries):
        left = type(entries[first])()
        left.CopyFrom(entries[first])
        entries.clear()
        entries[first].CopyFrom(left)
    for key in tree.routes:
        if key in entries:
            # A map without entries would break a rule of its own.
            _box(entries[key]).value = b""
    return tree


@lru_cache(16)
def _parsed(content: bytes) -> Tree:
    """By all that is in it."""
    found: Any = unpacked(MATCHER_TREE, content)
    entries = found.exact_match_map.map.items()
    return Tree(
        ResourceSet(entry(key, box.value) for key, match in entries if (box := _box(match)).type_url == ROUTE_LIST)
    )


def entries_of(host: Any) -> Any:
    """The map of a virtual host."""
    return host.matcher.matcher_tree.exact_match_map.map


def _box(match: Any) -> Any:
    return match.action.typed_config


def frame_examined(table: Resource, frame: Any) -> Examined:
    """All but the routes in the map."""
    if frame is None:
        return CONSTRAINTS.content(ResourceType.ROUTE, table.body)
    found = CONSTRAINTS.examined(frame)
    return Examined((*found.broken, *misnamed(frame, table, ResourceType.ROUTE)), found.noted)


def routes_examined(routes: bytes) -> Examined:
    found = CONSTRAINTS.content(ROUTE_LIST, routes)
    return Examined(found.broken, tuple(dict.fromkeys(found.noted)))


def routes_in(routes: bytes) -> tuple[Any, ...]:
    """The messages of a RouteList; none where the bytes are none."""
    try:
        found: Any = unpacked(ROUTE_LIST, routes)
    except DecodeError:
        return ()
    return tuple(found.routes)


def with_entries(table: Resource, changed: Mapping[Entry, bytes | None]) -> Resource:
    """`table` with other routes at some entries, or with fewer entries."""
    if isinstance(table, RouteTable):
        others = [entry(at.key, routes) for at, routes in changed.items() if routes is not None]
        return with_others(table, others, [at.key for at, routes in changed.items() if routes is None])
    message: Any = unpacked(ResourceType.ROUTE, table.body)
    for at, routes in changed.items():
        entries = entries_of(message.virtual_hosts[at.host])
        if routes is None:
            entries.pop(at.key, None)
        else:
            box = _box(entries[at.key])
            box.type_url, box.value = ROUTE_LIST, routes
    return resource(table.name, message.SerializeToString(deterministic=True), table.origin, table.lines)
