"""What one group of Envoys is to have: serialized resources with content versions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

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


def resource(name: str, body: bytes, origin: Position) -> Resource:
    return Resource(name, _digest([body]), body, origin)


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


class ResourceSet(Mapping[str, Resource]):
    """All resources of one type, by name. Immutable, and shared by every stream that was sent it."""

    __slots__ = ("_resources", "version")

    def __init__(self, resources: Iterable[Resource] = ()) -> None:
        self._resources = {r.name: r for r in sorted(resources, key=lambda r: r.name)}
        self.version = _digest(f"{r.name}\0{r.version}\0".encode() for r in self._resources.values())

    def __getitem__(self, name: str) -> Resource:
        return self._resources[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._resources)

    def __len__(self) -> int:
        return len(self._resources)

    # Versions are content hashes: two sets with the same one hold the same names at the same versions. So what has
    # once been worked out for a set (a difference, a serialized response) is found again by any set equal to it.

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ResourceSet) and self.version == other.version

    def __hash__(self) -> int:
        return hash(self.version)


NOTHING = ResourceSet()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One group's resources, consistent among themselves: every cluster named in a route is here."""

    sets: Mapping[ResourceType, ResourceSet]
    """One for each type, empty ones too."""

    def __getitem__(self, type_url: ResourceType) -> ResourceSet:
        return self.sets[type_url]

    def having(self, type_url: ResourceType, resources: ResourceSet) -> Snapshot:
        """With other resources of one type."""
        return Snapshot({**self.sets, type_url: resources})
