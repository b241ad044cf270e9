"""What an Envoy is to have that has refused a cluster which it never had: all but the routes that lead there."""

from __future__ import annotations

from dataclasses import replace

from xds.holding_back import sound
from xds.snapshot import NOTHING, ResourceSet, ResourceType, Snapshot
from xds.soundness.problems import Examiner
from xds.stream.difference import Claim
from xds.stream.recent import remembered
from xds.stream.state import StreamState
from xds.stream.subscription import NO_NAMES

KEPT = 16
"""Snapshots that are remembered: the Envoys of a group refuse alike."""

_Sets = tuple[tuple[ResourceType, ResourceSet], ...]


def without_lacking(state: StreamState, snapshot: Snapshot) -> Snapshot:
    """`snapshot`, but with the routes that the client has where policy's would lead to a cluster that it lacks.

    Where it has none for a name, Envoy answers by itself.

    It stays as it is, and its routes wait, for a client of which is not known all that it has.
    """
    lacking = _lacking(state, snapshot)
    if not lacking:
        return snapshot
    had = {type_: _had(state, type_) for type_ in ResourceType}
    known = not any(isinstance(resources, Claim) for resources in had.values())
    if not known or not snapshot[ResourceType.ROUTE].keys() <= had[ResourceType.ROUTE].keys():
        return snapshot
    found = _without(tuple(snapshot.sets.items()), tuple(had.items()), lacking)
    return replace(found, held=snapshot.held)


def _lacking(state: StreamState, snapshot: Snapshot) -> frozenset[str]:
    clusters = state.subscriptions.get(ResourceType.CLUSTER)
    if clusters is None or not clusters.refused:
        return NO_NAMES
    refusals = clusters.quarantine(snapshot[ResourceType.CLUSTER])
    return frozenset(name for name, refusal in refusals.items() if refusal.good is None)


def _had(state: StreamState, type_: ResourceType) -> ResourceSet:
    sub = state.subscriptions.get(type_)
    return NOTHING if sub is None else sub.offered


@remembered(KEPT, lambda *_: 1)
def _without(made: _Sets, had: _Sets, lacking: frozenset[str]) -> Snapshot:
    snapshot, before, examiner = Snapshot(dict(made)), Snapshot(dict(had)), Examiner()
    clusters = snapshot[ResourceType.CLUSTER]
    less = snapshot.having(ResourceType.CLUSTER, clusters.having((), without=lacking))
    if examiner.problems(before, None):
        return snapshot
    mended = sound(less, before, examiner)
    # They are wanted all the same, and refused at this version.
    wanted = mended[ResourceType.CLUSTER].having(clusters[name] for name in lacking)
    return replace(mended.having(ResourceType.CLUSTER, wanted), aside=lacking)
