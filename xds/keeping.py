"""What is served is kept on the disk, and given back to a server that starts without good policies."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from compiler.fleet import Fleet
from xds.cache import Prepared, Restored, Snapshots
from xds.snapshot import ResourceType, Snapshot
from xds.store.last_good import LastGood
from xds.store.served import ServedFolder
from xds.translate.group import Group, group_gateway, served_as_others
from xds.translate.listeners import listener_names, moved

SERVED = "served"
"""The folder for it, in that for state."""
LOOK = 1.0
"""Seconds between two looks for groups that an Envoy has asked for, and for live weights."""
AGAIN = 10.0
"""Seconds until what could not be kept is tried again, unless something changes before."""

Files = tuple[tuple[str, str], ...]
"""Name and text of each policy file."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Serving:
    """What the snapshots of the moment are made of."""

    digest: str
    since: datetime
    files: Files
    fleet: Fleet


@dataclass(frozen=True, slots=True)
class GivenBack:
    """The last good, ready to be served."""

    digest: str
    since: datetime
    snapshots: Prepared | Restored


@dataclass(frozen=True, slots=True)
class Kept:
    """How what is served stands to the disk."""

    digest: str = ""
    """Of the policies of which there is a snapshot; empty where there is none."""
    problem: str = ""
    """Why what is served now is not there; empty where it is, or will be in a moment."""


class Keeping:
    def __init__(
        self,
        folder: ServedFolder,
        environment: str,
        fleet_of: Callable[[Files, str], Fleet | None],
        failing: Callable[[bool], None],
    ) -> None:
        """`failing` is told whether what is served cannot be kept."""
        self.kept = Kept()
        self._folder, self._environment, self._fleet_of, self._failing = folder, environment, fleet_of, failing
        self._last: LastGood | None = None
        """Of a server before this one, until there are good policies."""
        self._serving: Serving | None = None
        self._groups: Mapping[str, Snapshot] | None = None
        self._commit = ""
        """As they were last kept."""
        self._changed = asyncio.Event()

    async def load(self) -> Mapping[str, Snapshot]:
        """What was served before, by group. Says what there is of it, and what is damaged."""
        try:
            found = await asyncio.to_thread(self._folder.load)
        except OSError as problem:
            log.error("no last good snapshot can be read problem=%s", problem)
            return {}
        if found is not None and found.environment != self._environment:
            log.error("the last good snapshot is of another environment, so it is not served env=%s", found.environment)
        elif found is not None:
            self._last, self.kept = found, Kept(found.digest)
            log.info("last good snapshot found digest=%s since=%s", found.digest, _shown(found.since))
        return {} if self._last is None else self._last.groups

    async def last_good(self, prepare: Callable[[Fleet], Prepared]) -> GivenBack | None:
        """Of the server before this one, before policies of this one are good."""
        return None if self._last is None else await asyncio.to_thread(self._given_back, self._last, prepare)

    def serving(self, serving: Serving) -> None:
        """Called when the snapshots have been replaced by those of good policies."""
        self._serving, self._last = serving, None
        self._changed.set()

    async def run(self, snapshots: Snapshots) -> None:
        """For ever. Streams are served meanwhile, and wait for nothing here."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), AGAIN if self.kept.problem else LOOK)
            self._changed.clear()
            if self._serving is None or (self._groups is snapshots.groups and self._commit == snapshots.commit):
                continue
            await self._keep(self._serving, snapshots.groups, snapshots.commit)

    async def _keep(self, serving: Serving, groups: Mapping[str, Snapshot], commit: str) -> None:
        try:
            await asyncio.to_thread(self._save, serving, groups, commit)
        except OSError as problem:
            self._not_kept(serving, str(problem.strerror or problem))
        except Exception:
            log.exception("keeping failed digest=%s", serving.digest)
            self._not_kept(serving, "a fault of turnout; the log says where")
        else:
            if self.kept != Kept(serving.digest):
                log.info("snapshot kept digest=%s", serving.digest)
            self._groups, self._commit, self.kept = groups, commit, Kept(serving.digest)
            self._failing(False)

    def _not_kept(self, serving: Serving, problem: str) -> None:
        if self.kept.problem != problem:
            stays = self.kept.digest or "nothing"
            log.error("snapshot cannot be kept digest=%s kept=%s problem=%s", serving.digest, stays, problem)
        self.kept = Kept(self.kept.digest, problem)
        self._failing(True)

    def _save(self, serving: Serving, groups: Mapping[str, Snapshot], commit: str) -> None:
        fleet = serving.fleet
        gateways = {name: group_gateway(fleet, name) for name in groups}
        order = {name: listener_names(gateway) for name, gateway in gateways.items() if gateway is not None}
        what = serving.digest, self._environment, serving.since, serving.files
        self._folder.save(LastGood(*what, groups, order, served_as_others(fleet), commit))

    def _given_back(self, last: LastGood, prepare: Callable[[Fleet], Prepared]) -> GivenBack:
        """With its fleet where that can be had, as only then all that concerns a fleet is there."""
        try:
            fleet = self._fleet_of(last.files, last.environment)
            prepared = None if fleet is None else prepare(fleet)
        except Exception:
            log.exception("the last good policies fail digest=%s", last.digest)
            prepared = None
        if prepared is None:
            log.error("the last good policies are none to this version of turnout digest=%s", last.digest)
            return GivenBack(last.digest, last.since, restored(last))
        if others := _others(last, prepared):
            said = "this version of turnout makes other resources of the last good policies digest=%s groups=%s"
            log.warning(said, last.digest, ",".join(others))
        return GivenBack(last.digest, last.since, replace(prepared, commit=last.commit))


def restored(last: LastGood) -> Restored:
    """As it was kept, without a fleet."""

    def place(of_group: Snapshot, group: Group) -> Snapshot:
        order = last.listeners[last.served_as.get(group.name, group.name)]
        listeners = moved(of_group[ResourceType.LISTENER], order, group.placement)
        return of_group.having(ResourceType.LISTENER, listeners)

    return Restored(last.groups, last.served_as, place, last.commit)


def _others(last: LastGood, prepared: Prepared) -> list[str]:
    """Groups that get something else than they had. Runtime layers have live weights."""
    types = [type_ for type_ in ResourceType if type_ is not ResourceType.RUNTIME]
    both = last.groups.keys() & prepared.groups.keys()
    return sorted(name for name in both if any(last.groups[name][t] != prepared.groups[name][t] for t in types))


def _shown(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")
