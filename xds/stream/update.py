"""The one decision of the control server: what a stream is to be sent next.

Order, https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#eventual-consistency-considerations: runtime
layers, which an Envoy asks for first; clusters that are new or changed; their load assignments; when the clusters are
accepted, which an Envoy does once they are warm, listeners and routes; when those are accepted, the removal of
clusters that no route names any more.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import lru_cache

from xds.snapshot import NOTHING, Resource, ResourceSet, ResourceType, Snapshot
from xds.stream.difference import Difference, difference, gathered, moved
from xds.stream.limits import NAMES
from xds.stream.state import StreamState, Variant
from xds.stream.subscription import NO_NAMES, SINGLY, Batch, Subscription

AT_ONCE = frozenset({ResourceType.RUNTIME, ResourceType.LISTENER})
"""Types whose removals need not wait. A listener's must not: the one that takes its place may want its port."""
ROUTING = (ResourceType.LISTENER, ResourceType.ROUTE)
REMOVED_LAST = (ResourceType.CLUSTER, ResourceType.ENDPOINT, ResourceType.ROUTE)
MOST = 2 * SINGLY
"""Responses of one type that may be on their way. A client that reads but never answers is sent no more; once it
answers, it is sent what is newest then."""


@dataclass(frozen=True, slots=True)
class Update:
    """One response's content: the same for every stream that needs it."""

    type: ResourceType
    resources: tuple[Resource, ...]
    removed: tuple[str, ...]
    version: str
    """Of the type, once this is accepted."""
    nonce: str
    """Hash of all the above, with a number where the same is sent twice in a row."""


@dataclass(frozen=True, slots=True)
class _Offer:
    names: frozenset[str]
    removed: frozenset[str] = NO_NAMES
    suspects: tuple[frozenset[str], ...] | None = None
    """The groups that are left when this offer is one of them."""


Step = tuple[Update, StreamState]


def next_update(state: StreamState, snapshot: Snapshot) -> Step | None:
    """The next response and the stream's state once it is sent; `None` when there is nothing to say for now."""
    if all(_at_rest(sub, snapshot[type_]) for type_, sub in state.subscriptions.items()):
        return None
    return (
        _next(state, snapshot, ResourceType.RUNTIME)
        or _next_clusters(state, snapshot)
        or _next(state, snapshot, ResourceType.ENDPOINT)
        or _next_routing(state, snapshot)
        or _next_removal(state, snapshot)
    )


def _at_rest(sub: Subscription, wanted: ResourceSet) -> bool:
    restless = sub.owed or sub.unanswered or sub.refused or sub.suspects
    return not restless and sub.offered.version == wanted.version


def _next(state: StreamState, snapshot: Snapshot, type_: ResourceType) -> Step | None:
    sub = state.subscriptions.get(type_)
    if sub is None or _at_rest(sub, snapshot[type_]):
        return None
    offer = _offer(state, snapshot, type_)
    if offer is not None and _full(sub):
        # What a whole list leaves out may be what the answers wait for.
        offer = _Offer(NO_NAMES, offer.removed) if offer.removed and state.whole(type_) else None
    return None if offer is None else _sent(state, snapshot, type_, offer)


def _full(sub: Subscription) -> bool:
    """The client has enough to answer."""
    return len(sub.outstanding) >= MOST or sum(len(batch.removed) for batch in sub.outstanding) > NAMES


def _next_clusters(state: StreamState, snapshot: Snapshot) -> Step | None:
    """A cluster that is sent, changed or not, becomes warm only by a load assignment that comes after it."""
    step = _next(state, snapshot, ResourceType.CLUSTER)
    if step is None:
        return None
    update, after = step
    assignments = after.subscriptions.get(ResourceType.ENDPOINT)
    if assignments is None:
        return step
    sent = after.subscriptions[ResourceType.CLUSTER].outstanding[-1].names
    before = state.subscriptions[ResourceType.CLUSTER]
    if state.whole(ResourceType.CLUSTER) and (before.suspects or before.refused):
        # Of a list that it refused an Envoy has applied what was good, which this one may take back.
        sent = frozenset(resource.name for resource in update.resources)
    # One that there is none of is said to be absent where the cluster would wait for it.
    owing = replace(assignments, owed=assignments.owed | assignments.select(sent))
    return update, after.having(ResourceType.ENDPOINT, owing)


def _next_routing(state: StreamState, snapshot: Snapshot) -> Step | None:
    if state.warming:
        return None
    clusters = state.subscriptions.get(ResourceType.CLUSTER)
    if clusters is not None and (clusters.outstanding or _suspects(state, snapshot, ResourceType.CLUSTER)):
        return None
    for type_ in ROUTING:
        # Routes may name the cluster that was refused, so those that the client has are left as they are. A client
        # that has none is better off with routes of which one leads nowhere.
        if _cluster_missing(clusters, snapshot) and not _waiting(state.subscriptions.get(type_)):
            continue
        if (step := _next(state, snapshot, type_)) is not None:
            return step
    return None


def _cluster_missing(clusters: Subscription | None, snapshot: Snapshot) -> bool:
    if clusters is None or not clusters.refused:
        return False
    refusals = clusters.quarantine(snapshot[ResourceType.CLUSTER]).items()
    return any(refusal.good is None and name not in snapshot.aside for name, refusal in refusals)


def _waiting(sub: Subscription | None) -> bool:
    return sub is not None and (sub.unanswered or bool(sub.owed))


def _next_removal(state: StreamState, snapshot: Snapshot) -> Step | None:
    if not all(_moved_on(state, snapshot, type_) for type_ in ROUTING):
        return None
    for type_ in REMOVED_LAST:
        sub = state.subscriptions.get(type_)
        if sub is None or (state.variant_of(type_) is Variant.SOTW and not state.whole(type_)):
            continue
        gap = difference(sub.offered, sub.goal(snapshot[type_]))
        if gap.removed and not _full(sub) and (removed := sub.select(gap.removed)):
            return _sent(state, snapshot, type_, _Offer(NO_NAMES, removed))
        if sub.outstanding:  # a client that lets a cluster go also lets its load assignment go, unasked
            return None
    return None


def _moved_on(state: StreamState, snapshot: Snapshot, type_: ResourceType) -> bool:
    """The client's listeners or routes are the snapshot's, so that it needs no cluster which is not in there."""
    wanted = snapshot[type_]
    sub = state.subscriptions.get(type_)
    if sub is None:
        return not (state.opening and wanted)
    if _at_rest(sub, wanted):
        return not sub.outstanding
    return not sub.outstanding and not sub.quarantine(wanted) and _offer(state, snapshot, type_) is None


def _suspects(state: StreamState, snapshot: Snapshot, type_: ResourceType) -> bool:
    sub = state.subscriptions[type_]
    return any(_split(snapshot[type_], sub.select(group))[0] for group in sub.suspects)


def _offer(state: StreamState, snapshot: Snapshot, type_: ResourceType) -> _Offer | None:
    """What a subscription is to be sent, leaving aside what other types have to say about it."""
    sub, wanted = state.subscriptions[type_], snapshot[type_]
    goal = sub.goal(wanted)
    gap = difference(sub.offered, goal)
    changed = sub.select(gap.changed)
    if sub.suspects:
        changed -= sub.suspected()
    removed = _removable(state, type_, gap)
    asked = sub.owed | sub.lapsed(wanted) if sub.refused else sub.owed
    if sub.refused and (state.variant_of(type_) is Variant.DELTA or state.whole(type_)):
        asked |= sub.doubted(wanted)
    present, absent = _split(_source(type_, sub, snapshot), asked)
    present -= removed
    absent = _unheard_of(state, snapshot, type_, absent)
    if sub.unanswered or (asked and state.whole(type_)):
        return _Offer(changed | present, removed | absent)
    if present or absent:
        return _Offer(present, removed | absent)
    if changed or removed:
        singly = state.variant_of(type_) is Variant.DELTA and 1 < len(changed) <= SINGLY
        return _Offer(frozenset([min(changed)]) if singly else changed, removed)
    if state.whole(type_) and sub.outstanding:
        return None  # its suspects can only be told apart one after the other
    return _suspect_offer(state, snapshot, type_, goal)


def _removable(state: StreamState, type_: ResourceType, gap: Difference) -> frozenset[str]:
    """Of what is to go, that which need not wait for the routes."""
    sub = state.subscriptions[type_]
    removed = sub.select(gap.removed)
    if not removed or type_ in AT_ONCE:
        return removed
    if type_ is not ResourceType.CLUSTER or not sub.outstanding:
        return NO_NAMES
    # No route can name a cluster that has not been accepted. It must go at once: its load assignment, for which its
    # acceptance and so the routes would wait, is gone as well.
    before = sub.outstanding[0].before
    sent = removed & NO_NAMES.union(*(batch.names for batch in sub.outstanding))
    return frozenset(name for name in sent if name not in before)


def _source(type_: ResourceType, sub: Subscription, snapshot: Snapshot) -> ResourceSet:
    """Where resources are taken from: what goes last may be asked for again to the end."""
    goal = sub.goal(snapshot[type_])
    return _and_what_goes(goal, sub.offered) if type_ in REMOVED_LAST else goal


@lru_cache(8)
def _and_what_goes(goal: ResourceSet, offered: ResourceSet) -> ResourceSet:
    """Bodies come from `goal` where it has them: what a client says it has comes without."""
    gone = difference(offered, goal).removed
    return gathered((*goal.values(), *(offered[name] for name in gone))) if gone else goal


def _suspect_offer(state: StreamState, snapshot: Snapshot, type_: ResourceType, goal: ResourceSet) -> _Offer | None:
    sub = state.subscriptions[type_]
    for at, group in enumerate(sub.suspects):
        present, absent = _split(goal, sub.select(group))
        absent = _unheard_of(state, snapshot, type_, absent)
        if present or absent:
            return _Offer(present, absent, suspects=sub.suspects[at + 1 :])
    return None


def _unheard_of(state: StreamState, snapshot: Snapshot, type_: ResourceType, absent: frozenset[str]) -> frozenset[str]:
    """Of names that do not exist, those to be called so at once; what the client still has goes in its turn.

    State of the world has no words for it but a whole list, an empty load assignment for a cluster that waits for one,
    and an empty layer: an Envoy asks for nothing else before it has been answered about each of its layers.
    """
    if not absent:
        return absent
    awaited = _awaited(state) if type_ is ResourceType.ENDPOINT else NO_NAMES
    if state.variant_of(type_) is Variant.SOTW and not state.whole(type_) and type_ is not ResourceType.RUNTIME:
        absent = absent & awaited
    offered, wanted = state.subscriptions[type_].offered, snapshot[type_]
    # A cluster does not get warm by what the client says it has of an earlier stream.
    return frozenset(name for name in absent if name not in offered or (name in awaited and name not in wanted))


def _awaited(state: StreamState) -> frozenset[str]:
    """Clusters that the client cannot accept before it has been sent their load assignments."""
    if state.keeps_clusters:
        # In state of the world the words for one that is gone take a cluster's hosts away, and routes may still lead
        # to it. Most often what is warming gets warm in the first seconds, so that clusters and routes follow.
        waits = state.opening and state.variant_of(ResourceType.ENDPOINT) is Variant.SOTW
        return NO_NAMES if waits else state.subscriptions[ResourceType.ENDPOINT].names
    clusters = state.subscriptions.get(ResourceType.CLUSTER)
    return NO_NAMES if clusters is None else NO_NAMES.union(*(batch.after for batch in clusters.outstanding))


def _sent(state: StreamState, snapshot: Snapshot, type_: ResourceType, offer: _Offer) -> Step:
    sub = state.subscriptions[type_]
    goal = sub.goal(snapshot[type_])
    after = moved(sub.offered, goal, _settled(state, type_, sub, difference(sub.offered, goal), offer))
    source, names = _source(type_, sub, snapshot), offer.names
    anew, gone = offer.names, offer.removed
    if state.whole(type_):
        source, names = after, sub.select(_all_names(after))
        # It says again what has not been accepted yet, and may be refused for that.
        anew = names & anew.union(*(batch.names for batch in sub.outstanding))
        gone = gone.union(*(batch.removed for batch in sub.outstanding)) - names
        # To a later stream a version of all clusters would say that the client has them all.
        version = after.version if sub.wildcard else moved(NOTHING, after, names).version
    else:
        version = after.version
    update = _update(type_, source, names, offer.removed, version)
    update = replace(update, nonce=sub.unused(update.nonce))
    batch = Batch(update.nonce, anew, gone, sub.offered, after)
    kept = sub.quarantine(snapshot[type_])
    over = offer.names | offer.removed
    refused = {name: refusal for name, refusal in sub.refused.items() if name in kept or name not in over}
    return update, state.having(
        type_,
        replace(
            sub,
            offered=after,
            owed=NO_NAMES if state.whole(type_) else sub.owed - offer.names - offer.removed,
            unanswered=False,
            refused=refused if sub.refused else sub.refused,
            suspects=sub.suspects if offer.suspects is None else offer.suspects,
            outstanding=(*sub.outstanding, batch),
            nonce=update.nonce,
            sent=after.version,
        ),
    )


def _settled(
    state: StreamState, type_: ResourceType, sub: Subscription, gap: Difference, offer: _Offer
) -> frozenset[str]:
    """The names that are as they should be once the offer is sent: those in it, and those nobody asked for."""
    changed = gap.changed - (sub.select(gap.changed) - offer.names)
    if state.variant_of(type_) is Variant.SOTW and type_ in (ResourceType.RUNTIME, ResourceType.ROUTE):
        return changed | gap.removed  # an emptied layer says it; for a route there is no way, so it counts as said
    return changed | (gap.removed - (sub.select(gap.removed) - offer.removed))


@lru_cache(16)
def _all_names(resources: ResourceSet) -> frozenset[str]:
    return frozenset(resources)


@lru_cache(16)
def _split(resources: ResourceSet, names: frozenset[str]) -> tuple[frozenset[str], frozenset[str]]:
    """`names` that there are bodies of, and the others."""
    present = frozenset(name for name in names if name in resources and resources[name].parts)
    return (names, NO_NAMES) if len(present) == len(names) else (present, names - present)


@lru_cache(16)
def _update(
    type_: ResourceType, source: ResourceSet, names: frozenset[str], removed: frozenset[str], version: str
) -> Update:
    resources = tuple(source[name] for name in sorted(names))
    gone = tuple(sorted(removed))
    digest = hashlib.blake2b(f"{type_}\0{version}".encode(), digest_size=8)
    for resource in resources:
        digest.update(f"\0{resource.name}\0{resource.version}".encode())
    for name in gone:
        digest.update(f"\0\0{name}".encode())
    return Update(type_, resources, gone, version, digest.hexdigest())
