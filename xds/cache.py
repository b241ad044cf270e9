"""The current snapshot of each group and placement, made from the current fleet and replaced all at once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import chain

from compiler.fleet import Fleet
from compiler.kept import Kept
from xds.facts import NO_FACTS, Facts, facts
from xds.holding_back import Told, sound, sound_layer, sound_listeners
from xds.live.shares import Before
from xds.live.state import NOTHING_LIVE, LiveState
from xds.snapshot import HeldBack, ResourceSet, ResourceType, Snapshot
from xds.soundness.problems import Examiner
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
    """The fleet has no such group; or of a fleet that is not there, none was kept."""


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
    commit: str = ""
    """That the fleet was read at, where git knows."""


@dataclass(frozen=True, slots=True)
class Restored:
    """Snapshots as they were kept, of a fleet that is not there."""

    groups: Mapping[str, Snapshot]
    """By group name, at the placement that policy gave."""
    served_as: Mapping[str, str]
    """Of groups that are served another one's snapshot, that one."""
    place: Callable[[Snapshot, Group], Snapshot]
    """The same for another placement of the group. Raises PlacementError."""
    commit: str = ""
    """That the policies were read at, where git knew."""


class Snapshots:
    def __init__(self, translation: Translation) -> None:
        self._translation = translation
        self._prepared: Prepared | None = None
        self._restored: Restored | None = None
        """Until there is a fleet."""
        self._good: Mapping[str, Snapshot] = {}
        """Of a server before this one, until there is a fleet: what is not sound stays as it was there."""
        self._live: tuple[LiveState, tuple[Before, ...]] = NOTHING_LIVE, ()
        self._asked, self._asked_before = frozenset[str](), frozenset[str]()
        """Groups that Envoys have asked for since the fleet was replaced, and of the fleet before."""
        self._placed: OrderedDict[Group, Snapshot] = OrderedDict()
        self._placed_before: Mapping[Group, Snapshot] = {}
        """Of the fleet before."""
        self._remembered: OrderedDict[str, ResourceSet] = OrderedDict()
        self._told = Told()
        self.edition = 0
        """Counts what is served: what `get` gives stays the same for as long as this does."""

    @property
    def fleet(self) -> Fleet | None:
        return None if self._prepared is None else self._prepared.fleet

    @property
    def facts(self) -> Facts:
        """Of the fleet; none without one."""
        return NO_FACTS if self._prepared is None else self._prepared.facts

    @property
    def commit(self) -> str:
        """Of the policies that are served; empty where it is not known."""
        found = self._prepared or self._restored
        return "" if found is None else found.commit

    def committed(self, commit: str) -> None:
        """The policies that are served are this commit's."""
        if self._prepared is not None:
            self._prepared = replace(self._prepared, commit=commit)

    @property
    def groups(self) -> Mapping[str, Snapshot]:
        """Of the groups that are there whether or not an Envoy asks, and of the others for which one has."""
        found = self._prepared or self._restored
        return {} if found is None else found.groups

    @property
    def held_back(self) -> Mapping[HeldBack, tuple[str, ...]]:
        """What is not served as policy has it, each with the groups that would have it."""
        found: dict[HeldBack, dict[str, None]] = {}
        every = chain(self.groups.items(), ((group.name, placed) for group, placed in self._placed.items()))
        for name, snapshot in every:
            for held in snapshot.held:
                found.setdefault(held, {})[name] = None
        return {held: tuple(names) for held, names in found.items()}

    def prepared(self, fleet: Fleet) -> Prepared:
        """What `replace` takes. It may be called in another thread: it changes nothing here, and reads nothing that
        `get` changes under it."""
        served = self._prepared
        kept = Kept(None if served is None else served.kept)
        asked = self._asked | self._asked_before
        names = {*self._translation.group_names(fleet)}
        names |= {name for name in asked if self._translation.served_as(fleet, name) == name}
        before, examiner = self.groups or self._good, Examiner(kept)
        groups = {
            name: sound(self._translation.snapshot(fleet, Group(name), kept), before.get(name), examiner, name)
            for name in sorted(names)
        }
        told = facts(fleet, kept)
        kept.closed()
        return Prepared(fleet, groups, told, kept, Kept(kept if fleet.tenants else None, apart=True))

    def replace(self, prepared: Prepared, live: LiveState = NOTHING_LIVE, before: tuple[Before, ...] = ()) -> None:
        """With live weights from the first snapshot on: there is no moment with policy's alone."""
        self._live = live, before
        self._prepared, self._restored, self._good = self._with_layers(prepared), None, {}
        self.edition += 1
        self._asked, self._asked_before = frozenset(), self._asked
        self._placed, self._placed_before = OrderedDict(), self._placed
        self._remember(self.groups.values())
        self._told.all(self.held_back, self.commit)

    def good_before(self, groups: Mapping[str, Snapshot]) -> None:
        """What a server before this one has served."""
        self._good = groups

    def restore(self, restored: Restored) -> None:
        """What is served until there is a fleet. Nothing is live in it but what was when it was kept."""
        self._restored = restored
        self.edition += 1
        self._remember(self.groups.values())

    def replace_layers(self, live: LiveState, before: tuple[Before, ...] = ()) -> bool:
        """Changes nothing else, so that nothing is placed or translated again. Whether any layer is another one now."""
        if self._prepared is None:
            return False
        self._live = live, before
        old, self._prepared = self._prepared, self._with_layers(self._prepared)
        if all(old.groups[name] == snapshot for name, snapshot in self.groups.items()):
            return False
        self.edition += 1
        for group, placed in self._placed.items():
            of_group = self.groups[group.name]
            own = (of for of in placed.held if of.type is not ResourceType.RUNTIME)
            held = tuple(dict.fromkeys((*own, *of_group.held)))
            layer = of_group[ResourceType.RUNTIME]
            self._placed[group] = replace(placed.having(ResourceType.RUNTIME, layer), held=held)
        self._told.all(self.held_back, self.commit)
        self._remember(self.groups.values())
        return True

    def _with_layers(self, prepared: Prepared) -> Prepared:
        """With other runtime layers; all else is shared."""
        groups = {name: self._with_layer(prepared.fleet, name, of) for name, of in prepared.groups.items()}
        return replace(prepared, groups=groups)

    def _with_layer(self, fleet: Fleet, name: str, snapshot: Snapshot) -> Snapshot:
        live, before = self._live
        return sound_layer(self._translation.layer(fleet, name, live, before), snapshot, self.groups.get(name))

    def get(self, group: Group) -> Snapshot | None:
        """`None` before a fleet is loaded. Raises UnknownGroupError, PlacementError."""
        found = self._placed.get(group)
        if found is not None:
            return found
        if self._prepared is None:
            return None if self._restored is None else self._of_restored(self._restored, group)
        name = self._translation.served_as(self._prepared.fleet, group.name)
        if name is None:
            raise UnknownGroupError(f"group '{group.name}' is unknown")
        if name != group.name:
            return self.get(Group(name, group.placement))
        base = self._group(self._prepared, name)
        placed = self._translation.place(base, self._prepared.fleet, group)
        placed = sound_listeners(placed, base, self._placed_before.get(group))
        self._told.more(placed.held, self.commit)
        return self._place(group, placed)

    def _of_restored(self, restored: Restored, group: Group) -> Snapshot:
        base = restored.groups.get(restored.served_as.get(group.name, group.name))
        if base is None:
            said = f"group '{group.name}' is unknown, or no Envoy had asked for it: the last good snapshot is served"
            raise UnknownGroupError(said)
        return self._place(group, restored.place(base, group))

    def _place(self, group: Group, placed: Snapshot) -> Snapshot:
        self._placed[group] = placed
        if len(self._placed) > PLACEMENTS:
            self._placed.popitem(last=False)
        return placed

    def _group(self, prepared: Prepared, name: str) -> Snapshot:
        """Made when the first Envoy asks for it; for the fleets after this one it is prepared with the others."""
        self._asked |= {name}
        if name not in prepared.groups:
            made = self._translation.snapshot(prepared.fleet, Group(name), prepared.apart)
            made = sound(made, None, Examiner(prepared.apart), name)
            groups = {**prepared.groups, name: self._with_layer(prepared.fleet, name, made)}
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
