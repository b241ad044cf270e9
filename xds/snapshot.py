"""What one group of Envoys is to have: serialized resources with content versions."""

from __future__ import annotations

import hashlib
from collections.abc import ItemsView, Iterable, Iterator, Mapping, ValuesView
from dataclasses import dataclass
from enum import StrEnum
from operator import attrgetter
from typing import NamedTuple

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
    """Made of the body alone: the same on every replica and after every restart."""
    parts: tuple[bytes, ...]
    """Of the message itself, serialized deterministically, without its `Any`. None where only its version is known.

    A route table has most of them in common with the one before it and with those of other groups. It is joined when it
    is sent: a copy of one for 1,000 models is half a megabyte.
    """
    origin: Position
    """The policy line to name when an Envoy refuses it."""
    lines: tuple[tuple[str, Position], ...] = ()
    """Of a route table, the names of the routes in it, each with its own line."""

    @property
    def body(self) -> bytes:
        return self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)


def alike(one: Resource, other: Resource) -> bool:
    """Also written at the same place: a refusal names the line where its resource stands today."""
    return one.version == other.version and one.origin == other.origin


def resource(name: str, body: bytes, origin: Position, lines: tuple[tuple[str, Position], ...] = ()) -> Resource:
    return Resource(name, digest(body), (body,), origin, lines)


def digest(content: bytes) -> str:
    """What content is known by, wherever it is: to Envoys as its version, on the disk as its name."""
    return hashlib.blake2b(content, digest_size=8).hexdigest()


_WEIGHT_BYTES = 16
_WHOLE = 1 << 8 * _WEIGHT_BYTES


def _weight(resource: Resource) -> int:
    """Hash of name and version. The version of a set is made of their sum, so that a change of one takes no look at the
    others."""
    content = f"{resource.name}\0{resource.version}".encode()
    return int.from_bytes(hashlib.blake2b(content, digest_size=_WEIGHT_BYTES).digest())


def _of_weight(weight: int) -> str:
    return digest(weight.to_bytes(_WEIGHT_BYTES))


class Step(NamedTuple):
    """How a set was made of another one."""

    version: str
    """Of that one."""
    changed: frozenset[str]
    """Names that are new or have another version."""
    removed: frozenset[str]


class ResourceSet(Mapping[str, Resource]):
    """All resources of one type, by name. Immutable, and shared by every stream that was sent it."""

    __slots__ = ("by_name", "step", "version", "weight")

    def __init__(self, resources: Iterable[Resource] = ()) -> None:
        self.by_name: Mapping[str, Resource] = {r.name: r for r in sorted(resources, key=attrgetter("name"))}
        self.weight = sum(map(_weight, self.by_name.values())) % _WHOLE
        self.version = _of_weight(self.weight)
        self.step: Step | None = None

    def having(self, resources: Iterable[Resource], without: Iterable[str] = ()) -> ResourceSet:
        """With `resources` beside its own, or in the place of those with their names; and `without` some it has."""
        by_name, weight, names = dict(self.by_name), self.weight, len(self)
        removed = frozenset(without)
        for name in removed:
            weight -= _weight(by_name.pop(name))
        changed: list[str] = []
        for resource in resources:
            before = by_name.get(resource.name)
            if before is None or before.version != resource.version:
                changed.append(resource.name)
                weight += _weight(resource) - (0 if before is None else _weight(before))
            by_name[resource.name] = resource
        made = ResourceSet.__new__(ResourceSet)
        made.by_name = by_name if len(by_name) == names - len(removed) else dict(sorted(by_name.items()))
        made.weight = weight % _WHOLE
        made.version = _of_weight(made.weight)
        made.step = Step(self.version, frozenset(changed), removed)
        return made

    def __getitem__(self, name: str) -> Resource:
        return self.by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.by_name)

    def __len__(self) -> int:
        return len(self.by_name)

    # As `Mapping` has them, without a line of Python for each.

    def values(self) -> ValuesView[Resource]:
        return self.by_name.values()

    def items(self) -> ItemsView[str, Resource]:
        return self.by_name.items()

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
    aside: frozenset[str] = frozenset()
    """Clusters that no route leads to until they are accepted."""

    def __getitem__(self, type_url: ResourceType) -> ResourceSet:
        return self.sets[type_url]

    def having(self, type_url: ResourceType, resources: ResourceSet) -> Snapshot:
        """With other resources of one type."""
        return Snapshot({**self.sets, type_url: resources}, self.held)
