"""The current snapshot of each group and placement, made from the current fleet and replaced all at once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from compiler.fleet import Fleet
from compiler.kept import Kept
from xds.live.shares import Before
from xds.live.state import LiveState
from xds.snapshot import ResourceSet, ResourceType, Snapshot
from xds.translate.group import Group

REMEMBERED = 32
"""Sets that an Envoy may name by their version when it comes back."""
PLACEMENTS = 4096
"""Snapshots that are kept of one fleet; beyond that they are made again when asked for."""


@dataclass(frozen=True, slots=True)
class Translation:
    """Fleet to snapshot: the functions of `xds.translate`."""

    group_names: Callable[[Fleet], Iterable[str]]
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
    kept: Kept
    """For the fleet after this one."""

    def having(self, layers: Layers) -> Prepared:
        """With other runtime layers; all else is shared."""
        groups = {name: snapshot.having(ResourceType.RUNTIME, layers[name]) for name, snapshot in self.groups.items()}
        return Prepared(self.fleet, groups, self.kept)


Layers = Mapping[str, ResourceSet]
"""The runtime layer of each group, by its name."""


class Snapshots:
    def __init__(self, translation: Translation) -> None:
        self._translation = translation
        self._prepared: Prepared | None = None
        self._placed: OrderedDict[Group, Snapshot] = OrderedDict()
        self._remembered: OrderedDict[str, ResourceSet] = OrderedDict()
        self.edition = 0
        """Counts what is served: what `get` gives stays the same for as long as this does."""

    @property
    def fleet(self) -> Fleet | None:
        return None if self._prepared is None else self._prepared.fleet

    @property
    def groups(self) -> Mapping[str, Snapshot]:
        return {} if self._prepared is None else self._prepared.groups

    def prepared(self, fleet: Fleet) -> Prepared:
        """What `replace` takes. It may be called in another thread: it changes nothing here, and reads nothing that
        `get` changes."""
        kept = Kept(None if self._prepared is None else self._prepared.kept)
        groups = {
            name: self._translation.snapshot(fleet, Group(name), kept) for name in self._translation.group_names(fleet)
        }
        return Prepared(fleet, groups, kept.closed())

    def replace(self, prepared: Prepared) -> None:
        self._prepared = prepared
        self.edition += 1
        self._placed = OrderedDict()
        for snapshot in prepared.groups.values():
            self._remember(snapshot)

    def layers(self, prepared: Prepared, live: LiveState, before: tuple[Before, ...] = ()) -> Layers:
        return {name: self._translation.layer(prepared.fleet, name, live, before) for name in prepared.groups}

    def replace_layers(self, live: LiveState, before: tuple[Before, ...] = ()) -> bool:
        """Changes nothing else, so that nothing is placed or translated again. Whether any layer is another one now."""
        if self._prepared is None:
            return False
        layers = self.layers(self._prepared, live, before)
        if all(layers[name] == snapshot[ResourceType.RUNTIME] for name, snapshot in self.groups.items()):
            return False
        self._prepared = self._prepared.having(layers)
        self.edition += 1
        for group, placed in self._placed.items():
            self._placed[group] = placed.having(ResourceType.RUNTIME, layers[group.name])
        for snapshot in self.groups.values():
            self._remember(snapshot)
        return True

    def get(self, group: Group) -> Snapshot | None:
        """`None` before a fleet is loaded. Raises UnknownGroupError, PlacementError."""
        found = self._placed.get(group)
        if found is not None or self._prepared is None:
            return found
        base = self._prepared.groups.get(group.name)
        if base is None:
            raise UnknownGroupError(group.name)
        placed = self._placed[group] = self._translation.place(base, self._prepared.fleet, group)
        if len(self._placed) > PLACEMENTS:
            self._placed.popitem(last=False)
        return placed

    def known(self, version: str) -> ResourceSet | None:
        """The set that was served under this version, now or lately, to Envoys that have no placement of their own:
        a thousand placements would crowd out all the rest."""
        return self._remembered.get(version)

    def _remember(self, snapshot: Snapshot) -> None:
        for resources in snapshot.sets.values():
            self._remembered[resources.version] = resources
            self._remembered.move_to_end(resources.version)
        while len(self._remembered) > REMEMBERED:
            self._remembered.popitem(last=False)
