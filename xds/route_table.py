"""A route table that is made of parts: what stands around its map, and the map's entries.

Nearly all of the table of a thousand models is in these. An edit makes a few of them anew, and whoever looks into the
table finds the others to be the very objects they were.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain

from google.protobuf import any_pb2

from compiler.diagnostics import BUILT_IN, Position
from xds.core.v3 import extension_pb2
from xds.snapshot import Resource, ResourceSet, digest
from xds.type.matcher.v3 import matcher_pb2
from xds.wire import Frame, delimited, frame, tag

ROUTE_LIST = "type.googleapis.com/envoy.config.route.v3.RouteList"

Lines = tuple[tuple[str, Position], ...]

_MATCH = frame(
    (matcher_pb2.Matcher.OnMatch(), "action"),
    (extension_pb2.TypedExtensionConfig(name="routes"), "typed_config"),
    (any_pb2.Any(type_url=ROUTE_LIST), "value"),
)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class RouteTable(Resource):
    around: Frame
    entries: ResourceSet
    """Of the map, by the names that lead to routes; each an `entry`."""


def entry(name: str, routes: bytes) -> Resource:
    """A part of the table and none that is sent by itself. `routes`, a RouteList, is its last part."""
    head = b"".join(_MATCH.around(routes)[: -len(_MATCH.after) - 1])
    size = len(head) + len(routes)
    head = delimited(1, name.encode()) + tag(2, size) + head
    head = tag(1, len(head) + len(routes)) + head
    return Resource(name, digest(head + routes), (head, routes), BUILT_IN)


def routes_of(of: Resource) -> bytes:
    """Of an `entry`."""
    return of.parts[-1]


def route_table(name: str, around: Frame, entries: ResourceSet, origin: Position, lines: Lines) -> RouteTable:
    """Its version is made of those of its parts: a hash of all would take the longest."""
    version = digest(f"{around.version}\0{entries.version}".encode())
    parts = around.around(*chain.from_iterable([of.parts for of in entries.values()]))
    return RouteTable(name, version, parts, origin, lines, around=around, entries=entries)


def with_others(table: RouteTable, others: Iterable[Resource], without: Iterable[str]) -> RouteTable:
    """With other entries in the place of those with their names, and without some."""
    gone = [name for name in without if name in table.entries]
    return route_table(table.name, table.around, table.entries.having(others, gone), table.origin, table.lines)
