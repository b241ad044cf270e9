"""Streams of one node: what those of the separate services owe each other, so that no route leads nowhere.

By the protocol there is no order between separate streams. But Envoy keeps its side of the bargain on each of them, and
the server sees them all: so what an aggregated stream is sent in order, these are sent in the same order together. A
stream decides as if it carried its siblings' types too, and leaves it to them to send those.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from xds.snapshot import ResourceType, Snapshot
from xds.stream.state import StreamState, Variant
from xds.stream.subscription import NO_NAMES, Batch, Subscription
from xds.stream.update import ROUTING, Step, next_update

Beside = Mapping[ResourceType, tuple[Variant, Subscription]]
"""What a node has asked for on other streams, by type, and how; of types that the stream itself does not carry."""


def beside(state: StreamState, others: Iterable[StreamState]) -> Beside:
    """`others` in the order of their first requests: the last one counts, for the one before it may be dead.

    An aggregated stream heeds separate ones only: another aggregated one is its predecessor, and carries the same.
    Runtime layers depend on nothing, and nothing waits for them on another stream.
    """
    return {
        type_: (other.variant, subscription)
        for other in others
        if state.only is not None or other.only is not None
        for type_, subscription in other.subscriptions.items()
        if type_ not in state.subscriptions and type_ is not ResourceType.RUNTIME
    }


def together(state: StreamState, siblings: Beside) -> StreamState:
    """As if the stream carried its siblings' types too."""
    if not siblings:
        return state
    theirs = {type_: subscription for type_, (_, subscription) in siblings.items()}
    elsewhere = frozenset(type_ for type_, (variant, _) in siblings.items() if variant is not state.variant)
    return replace(state, subscriptions={**theirs, **state.subscriptions}, elsewhere=elsewhere)


def next_update_beside(state: StreamState, siblings: Beside, snapshot: Snapshot) -> Step | None:
    """What comes next for the node, if it is this stream that carries it; else it waits, and is woken when a sibling
    has moved on."""
    if not siblings:
        return next_update(state, snapshot)
    whole = together(state, siblings)
    step = next_update(whole, snapshot)
    if step is None or step[0].type not in state.subscriptions:
        return None
    update, after = step
    if update.type in ROUTING and ResourceType.CLUSTER in siblings and _clusters_without_hosts(whole, snapshot):
        return None
    own = {type_: subscription for type_, subscription in after.subscriptions.items() if type_ not in siblings}
    return update, replace(after, subscriptions=own, elsewhere=frozenset())


def _clusters_without_hosts(state: StreamState, snapshot: Snapshot) -> bool:
    """The client still waits for some cluster's first load assignment.

    An Envoy accepts clusters of an aggregated stream once they are warm, those of a separate one at once.
    """
    assignments = state.subscriptions.get(ResourceType.ENDPOINT)
    if assignments is None:
        return False
    owed = any(name in snapshot[ResourceType.ENDPOINT] and name not in assignments.offered for name in assignments.owed)
    return owed or any(name not in batch.before for batch in assignments.outstanding for name in batch.names)


def changed_clusters(state: StreamState, type_: ResourceType, batch: Batch) -> frozenset[str]:
    """Of the clusters in `batch`, now answered, those whose load assignments another stream is to send again.

    Envoy makes a changed cluster anew and waits for a load assignment, for which it does not ask: it had asked before.
    To send it with the cluster, as on an aggregated stream, would be too early, for it may arrive there first.
    """
    if type_ is not ResourceType.CLUSTER or ResourceType.ENDPOINT in state.subscriptions:
        return NO_NAMES
    return frozenset(name for name in batch.names if name in batch.before)


def owing(state: StreamState, clusters: frozenset[str]) -> StreamState:
    """Which is to send these clusters' load assignments, as far as they were asked for there."""
    assignments = state.subscriptions.get(ResourceType.ENDPOINT)
    if assignments is None or not (asked := assignments.select(clusters)):
        return state
    return state.having(ResourceType.ENDPOINT, replace(assignments, owed=assignments.owed | asked))
