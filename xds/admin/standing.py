"""How an Envoy stands to what it is to have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum

from xds.snapshot import Snapshot
from xds.stream.peer import Peer
from xds.stream.siblings import together
from xds.stream.update import next_update
from xds.translate.group import Group


class Standing(StrEnum):
    """From good to bad."""

    SYNCED = "synced"
    """It has all that it asked for, on whichever stream, and has said so."""
    BEHIND = "behind"
    """Something is still to be sent, or not answered yet; or there is nothing for its group."""
    REFUSING = "refusing"
    """It has refused something that it is still to have."""


def standing(peer: Peer, snapshot: Snapshot | None) -> Standing:
    """`snapshot` is what its group is to have."""
    if snapshot is None:
        return Standing.BEHIND
    state = together(peer.state, peer.beside)
    if any(sub.quarantine(snapshot[type_]) for type_, sub in state.subscriptions.items()):
        return Standing.REFUSING
    at_rest = not state.outstanding and not state.warming and next_update(state, snapshot) is None
    return Standing.SYNCED if at_rest else Standing.BEHIND


def standings(peers: Iterable[Peer], current: Callable[[Group], Snapshot | None]) -> Mapping[Standing, int]:
    """Envoys by how the worst of their streams stands."""
    order = list(Standing)
    worst: dict[str, Standing] = {}
    for peer in peers:
        found = standing(peer, current(peer.node.group))
        worst[peer.node.id] = max(worst.get(peer.node.id, found), found, key=order.index)
    return Counter(worst.values())
