"""What one group of Envoys is to have: serialized resources with content versions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from operator import attrgetter

from compiler.diagnostics import Position


class ResourceType(StrEnum):
    """Type URLs, in the order in which Envoy asks for them."""

    RUNTIME = "type.googleapis.com/envoy.service.runtime.v3.Runtime"
    CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
    ENDPOINT = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
    LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"
    ROUTE = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"

    @property
    def label(self) -> str:
        """For people, metrics and `/status`: `cluster`, `endpoint`, …"""
        return self.name.lower()


@dataclass(frozen=True, slots=True, eq=False)
class Resource:
    name: str
    version: str
    """Hash of `body`: the same on every replica and after every restart."""
    body: bytes
    """The message itself, serialized deterministically, without its `Any`."""
    origin: Position
    """The policy line to name when an Envoy refuses it."""
    parts: tuple[tuple[str, Position], ...] = ()
    """Of a route table, the names of the routes in it, each with its own line."""


def alike(one: Resource, other: Resource) -> bool:
    """Also written at the same place: a refusal names the line where its resource stands today."""
    return one.version == other.version and one.origin == other.origin


def resource(name: str, body: bytes, origin: Position, parts: tuple[tuple[str, Position], ...] = ()) -> Resource:
    return Resource(name, digest(body), body, origin, parts)


def digest(content: bytes) -> str:
    """What content is known by, wherever it is: to Envoys as its version, on the disk as its name."""
    return hashlib.blake2b(content, digest_size=8).hexdigest()


class ResourceSet(Mapping[str, Resource]):
    """All resources of one type, by name. Immutable, and shared by every stream that was sent it."""

    __slots__ = ("by_name", "version")

    def __init__(self, resources: Iterable[Resource] = ()) -> None:
        self.by_name: Mapping[str, Resource] = {r.name: r for r in sorted(resources, key=attrgetter("name"))}
        self.version = digest("".join([f"{r.name}\0{r.version}\0" for r in self.by_name.values()]).encode())

    def __getitem__(self, name: str) -> Resource:
        return self.by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.by_name)

    def __len__(self) -> int:
        return len(self.by_name)

    # Versions are content hashes: two sets with the same one hold the same names at the same versions. So what has
    # once been worked out for a set (a difference, a serialized response) is found again by any set equal to it.

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ResourceSet) and self.version == other.version

    def __hash__(self) -> int:
        return hash(self.version)


NOTHING = ResourceSet()


@dataclass(frozen=True, slots=True)
class HeldBack:
    """A resource, or a part of one, that was made of policy and is not served."""

    code: str
    type: ResourceType
    name: str
    """Of the resource; of a route in a table, the route's own."""
    constraint: str
    """What it breaks."""
    origin: Position
    kept: bool
    """Whether the last one that was good is served in its place."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One group's resources, consistent among themselves: every cluster named in a route is here."""

    sets: Mapping[ResourceType, ResourceSet]
    """One for each type, empty ones too."""
    held: tuple[HeldBack, ...] = ()
    """What policy has beside these, and is not fit to be served."""

    def __getitem__(self, type_url: ResourceType) -> ResourceSet:
        return self.sets[type_url]

    def having(self, type_url: ResourceType, resources: ResourceSet) -> Snapshot:
        """With other resources of one type."""
        return Snapshot({**self.sets, type_url: resources}, self.held)
