"""The current snapshot of each group and placement, made from the current fleet and replaced all at once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from compiler.fleet import Fleet
from compiler.kept import Kept
from xds.facts import Facts, facts
from xds.live.shares import Before
from xds.live.state import NOTHING_LIVE, LiveState
from xds.snapshot import ResourceSet, ResourceType, Snapshot
from xds.translate.group import Group

REMEMBERED = 32
"""Sets beside those of today that an Envoy may name by their version when it comes back."""
PLACEMENTS = 4096
"""Snapshots that are kept of one fleet; beyond that they are made again when asked for."""


@dataclass(frozen=True, slots=True)
class Translation:
    """Fleet to snapshot: the functions of `xds.translate`."""

    group_names: Callable[[Fleet], Iterable[str]]
    """Of the groups that are made whether or not an Envoy asks."""
    served_as: Callable[[Fleet, str], str | None]
    """The group whose snapshot the Envoys of a group get; `None` for an unknown group."""
    snapshot: Callable[[Fleet, Group, Kept], Snapshot]
    place: Callable[[Snapshot, Fleet, Group], Snapshot]
    """The same for another placement of the group."""
    layer: Callable[[Fleet, str, LiveState, tuple[Before, ...]], ResourceSet]
    """Of a group by its name: the runtime layer with live weights, all that they change."""


class UnknownGroupError(LookupError):
    """The fleet has no such group."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A fleet and its snapshots, ready to be served."""

    fleet: Fleet
    groups: Mapping[str, Snapshot]
    """By group name, at the placement that policy gives."""
    facts: Facts
    kept: Kept
    """For the fleet after this one."""
    apart: Kept
    """For groups of this fleet that are asked for while the next one is prepared, in another thread."""


Layers = Mapping[str, ResourceSet]
"""The runtime layer of each group, by its name."""


class Snapshots:
    def __init__(self, translation: Translation) -> None:
        self._translation = translation
        self._prepared: Prepared | None = None
        self._live: tuple[LiveState, tuple[Before, ...]] = NOTHING_LIVE, ()
        self._asked, self._asked_before = frozenset[str](), frozenset[str]()
        """Groups that Envoys have asked for since the fleet was replaced, and of the fleet before."""
        self._placed: OrderedDict[Group, Snapshot] = OrderedDict()
        self._remembered: OrderedDict[str, ResourceSet] = OrderedDict()
        self.edition = 0
        """Counts what is served: what `get` gives stays the same for as long as this does."""

    @property
    def fleet(self) -> Fleet | None:
        return None if self._prepared is None else self._prepared.fleet

    @property
    def groups(self) -> Mapping[str, Snapshot]:
        """Of the groups that are there whether or not an Envoy asks, and of the others for which one has."""
        return {} if self._prepared is None else self._prepared.groups

    def prepared(self, fleet: Fleet) -> Prepared:
        """What `replace` takes. It may be called in another thread: it changes nothing here, and reads nothing that
        `get` changes under it."""
        kept = Kept(None if self._prepared is None else self._prepared.kept)
        asked = self._asked | self._asked_before
        names = {*self._translation.group_names(fleet)}
        names |= {name for name in asked if self._translation.served_as(fleet, name) == name}
        groups = {name: self._translation.snapshot(fleet, Group(name), kept) for name in sorted(names)}
        told = facts(fleet, kept)
        kept.closed()
        return Prepared(fleet, groups, told, kept, Kept(kept if fleet.tenants else None, apart=True))

    def replace(self, prepared: Prepared, live: LiveState = NOTHING_LIVE, before: tuple[Before, ...] = ()) -> None:
        """With live weights from the first snapshot on: there is no moment with policy's alone."""
        self._live = live, before
        self._prepared = _having(prepared, self._layers(prepared))
        self.edition += 1
        self._asked, self._asked_before = frozenset(), self._asked
        self._placed = OrderedDict()
        self._remember(self.groups.values())

    def replace_layers(self, live: LiveState, before: tuple[Before, ...] = ()) -> bool:
        """Changes nothing else, so that nothing is placed or translated again. Whether any layer is another one now."""
        if self._prepared is None:
            return False
        self._live = live, before
        layers = self._layers(self._prepared)
        if all(layers[name] == snapshot[ResourceType.RUNTIME] for name, snapshot in self.groups.items()):
            return False
        self._prepared = _having(self._prepared, layers)
        self.edition += 1
        for group, placed in self._placed.items():
            self._placed[group] = placed.having(ResourceType.RUNTIME, layers[group.name])
        self._remember(self.groups.values())
        return True

    def _layers(self, prepared: Prepared) -> Layers:
        live, before = self._live
        return {name: self._translation.layer(prepared.fleet, name, live, before) for name in prepared.groups}

    def get(self, group: Group) -> Snapshot | None:
        """`None` before a fleet is loaded. Raises UnknownGroupError, PlacementError."""
        found = self._placed.get(group)
        if found is not None or self._prepared is None:
            return found
        name = self._translation.served_as(self._prepared.fleet, group.name)
        if name is None:
            raise UnknownGroupError(group.name)
        if name != group.name:
            return self.get(Group(name, group.placement))
        base = self._group(self._prepared, name)
        placed = self._placed[group] = self._translation.place(base, self._prepared.fleet, group)
        if len(self._placed) > PLACEMENTS:
            self._placed.popitem(last=False)
        return placed

    def _group(self, prepared: Prepared, name: str) -> Snapshot:
        """Made when the first Envoy asks for it; for the fleets after this one it is prepared with the others."""
        self._asked |= {name}
        if name not in prepared.groups:
            live, before = self._live
            made = self._translation.snapshot(prepared.fleet, Group(name), prepared.apart)
            layer = self._translation.layer(prepared.fleet, name, live, before)
            groups = {**prepared.groups, name: made.having(ResourceType.RUNTIME, layer)}
            self._prepared = prepared = replace(prepared, groups=groups)
            self._remember([groups[name]])
        return prepared.groups[name]

    def known(self, version: str) -> ResourceSet | None:
        """The set that was served under this version, now or lately, to Envoys that have no placement of their own:
        a thousand placements would crowd out all the rest."""
        return self._remembered.get(version)

    def _remember(self, snapshots: Iterable[Snapshot]) -> None:
        for snapshot in snapshots:
            for resources in snapshot.sets.values():
                self._remembered[resources.version] = resources
                self._remembered.move_to_end(resources.version)
        while len(self._remembered) > REMEMBERED + len(ResourceType) * len(self.groups):
            self._remembered.popitem(last=False)


def _having(prepared: Prepared, layers: Layers) -> Prepared:
    """With other runtime layers; all else is shared."""
    groups = {name: snapshot.having(ResourceType.RUNTIME, layers[name]) for name, snapshot in prepared.groups.items()}
    return replace(prepared, groups=groups)
