"""Snapshots in which one resource is not as it should be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xds.snapshot import Resource, ResourceSet, ResourceType, Snapshot, resource
from xds.soundness.constraints import unpacked
from xds.soundness.tables import ROUTE_LIST, Entry, parts, with_entries

Change = Callable[[Any], Any]


def changed(snapshot: Snapshot, type_: ResourceType, name: str, change: Change) -> Snapshot:
    """With one resource changed in place."""
    old = snapshot[type_][name]
    message: Any = unpacked(type_, old.body)
    change(message)
    return having(snapshot, type_, resource(name, message.SerializeToString(deterministic=True), old.origin, old.lines))


def routed(snapshot: Snapshot, key: str, change: Change, table: str = "default") -> Snapshot:
    """With the routes of one name changed in place."""
    old, entry = snapshot[ResourceType.ROUTE][table], Entry(0, key)
    routes: Any = unpacked(ROUTE_LIST, parts(old).routes[entry])
    change(routes)
    return having(snapshot, ResourceType.ROUTE, with_entries(old, {entry: routes.SerializeToString()}))


def having(snapshot: Snapshot, type_: ResourceType, one: Resource) -> Snapshot:
    return snapshot.having(type_, ResourceSet({**snapshot[type_].by_name, one.name: one}.values()))


def without(snapshot: Snapshot, type_: ResourceType, *names: str) -> Snapshot:
    return snapshot.having(type_, ResourceSet(of for of in snapshot[type_].values() if of.name not in names))


def message(snapshot: Snapshot, type_: ResourceType, name: str) -> Any:
    return unpacked(type_, snapshot[type_][name].body)


def routes(snapshot: Snapshot, key: str, table: str = "default") -> Any:
    """The routes of one name."""
    return unpacked(ROUTE_LIST, parts(snapshot[ResourceType.ROUTE][table]).routes[Entry(0, key)]).routes  # type: ignore[attr-defined]
