"""In which order a change is safe: what Argo CD and the control server see to, and what takes a commit of its own.

Both read a commit each in its own time. What one of them has to have done before the other begins is therefore nobody's
to order but the one's who commits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import groupby
from operator import attrgetter

from compiler.diff.effect import Effect
from compiler.diff.objects import ObjectChange
from compiler.diff.request_class import RequestClass
from compiler.diff.sent import is_envoys, is_sent, served_by_envoys
from compiler.diff.settings import Change, Setting
from compiler.emit.object import Wave
from compiler.fleet import Carrier, Fleet, Tier, Version
from compiler.kinds.measures import duration_text


class Hand(StrEnum):
    YOU = "you"
    ARGO_CD = "Argo CD"
    KUBERNETES = "Kubernetes"
    CONTROL_SERVER = "the control server"


@dataclass(frozen=True, slots=True)
class Step:
    commit: int
    """From 1. Where there is a second, the change is not safe in one."""
    by: Hand
    what: str
    why: str


_CARRIERS = {
    Carrier.ENVOY: "Turnout's own Envoys",
    Carrier.ISTIO: "Istio's gateway",
    Carrier.GATEWAY_API: "the Gateway API's gateway",
}
_MOST_NAMES = 6
_Key = tuple[str, str]
"""A model and a version of it."""


def steps(
    before: Fleet,
    after: Fleet,
    classes: Sequence[RequestClass],
    objects: Sequence[ObjectChange],
    settings: Sequence[Setting],
) -> tuple[Step, ...]:
    """None where nothing changes."""
    case = _case(before, after, classes)
    first = tuple(_first(case))
    move = 2 if first else 1
    come, go = (_hosts(classes, comes) for comes in (True, False))
    # Clients need the new host before the old one goes.
    last = (*_last(case), *(_hosts_that_go(go) if come else ()))
    stop = move + 1 if last else move
    every = (
        *first,
        *(() if come else (replace(step, commit=move) for step in _hosts_that_go(go))),
        *_commits(bool(first), stop if last else None, move),
        *_without_endpoints(case.unlisted, move),
        *_applied(objects, 1, below=Wave.CLUSTER_SETTINGS),
        *_restarted(objects),
        *_moved(objects, is_sent(before, after, classes, settings), move),
        *_hosts_that_come(come, move),
        *_carried_by_others(before, after, move),
        *(replace(step, commit=stop) for step in last),
        *_pruned(objects, stop),
        *_nodes_that_go(before, after, stop),
    )
    return tuple(sorted(every, key=attrgetter("commit")))


@dataclass(frozen=True, slots=True)
class _Case:
    before: Mapping[_Key, Version]
    after: Mapping[_Key, Version]
    grows: frozenset[_Key]
    """Get more of the requests that were answered before, at hosts that Turnout's own Envoys carry."""
    grows_elsewhere: frozenset[_Key]
    """The same, at hosts of which Argo CD applies the routes."""
    shrinks: frozenset[_Key]
    """Get less of some requests, at any host."""
    shrinks_at_envoys: frozenset[_Key]
    named_no_more: tuple[str, ...]
    """Names that were answered before, and are refused after."""
    unlisted: tuple[_Key, ...]
    """Get requests that nobody answers for want of an endpoint, and did not before."""
    replaced: tuple[_Key, ...]
    """Of models of Turnout's own Envoys: get requests that endpoints would have to answer which all come with them."""


def _case(before: Fleet, after: Fleet, classes: Iterable[RequestClass]) -> _Case:
    grows, elsewhere, shrinks = set[_Key](), set[_Key](), set[_Key]()
    at_envoys, unlisted = set[_Key](), set[_Key]()
    refused: list[str] = []
    for found in classes:
        one, other = _shares(found.before.effect), _shares(found.after.effect)
        more = {key for key, share in other.items() if one and share > one.get(key, 0)}
        less = {key for key, share in one.items() if share > other.get(key, 0)}
        shrinks |= less
        unlisted |= _unanswered(found.after.effect) - _unanswered(found.before.effect)
        if is_envoys(found):
            grows |= more
            at_envoys |= less
        else:
            elsewhere |= more
        if one and found.after.effect["error"] and not found.naming.unknown:
            refused.extend(found.naming.names)
    return _Case(
        _versions(before),
        _versions(after),
        frozenset(grows),
        frozenset(elsewhere - grows),
        frozenset(shrinks),
        frozenset(at_envoys),
        tuple(dict.fromkeys(refused)),
        tuple(sorted(unlisted)),
        tuple(_replaced(before, after)),
    )


def _replaced(before: Fleet, after: Fleet) -> Iterator[_Key]:
    served, known = served_by_envoys(before) & served_by_envoys(after), _versions(before)
    for key, version in sorted(_versions(after).items()):
        old = known.get(key)
        if old is None or key[0] not in served:
            continue
        had, has = _answering(old), _answering(version)
        answered = bool(had) and bool(old.weight or version.weight)
        if has and not had & has and (answered or version.weight > old.weight):
            yield key


def _answering(version: Version) -> set[tuple[str, int]]:
    """Where requests go as long as all is well, or at once where it is not: other standbys are asleep or not there."""
    return {(of.address, of.port) for of in version.endpoints if of.tier in (Tier.ACTIVE, Tier.HOT)}


def _first(case: _Case) -> Iterator[Step]:
    """What has to be there before requests are moved to it."""
    for key in sorted(case.grows | case.grows_elsewhere):
        version, known = case.after[key], case.before.get(key)
        if known is not None and version.replicas <= known.replicas:
            continue
        if key in case.grows:
            why = "the control server moves requests as soon as it reads the commit, and instances have yet to load"
        elif version.autoscaling is not None and version.replicas > 1:
            why = "Argo CD applies autoscalers after routes, and what an autoscaler starts has yet to load"
        else:
            continue
        load = duration_text(version.cold_start.cold)
        if known is None or not known.replicas:
            what = f"{_named(key)} without requests, and wait until its {_instances(version)} ready (up to {load})"
        else:
            count = f"{version.replicas} instances of {_named(key)} in place of {known.replicas}"
            what = f"{count}, and wait until all are ready (up to {load})"
        yield Step(1, Hand.YOU, f"commit {what}", why)
    for key in case.replaced:
        probe = duration_text(case.after[key].health_check.timeout)
        where = "beside the old ones" if _answering(case.before[key]) else "before its requests"
        what = f"commit the new endpoints of {_named(key)} {where}, and wait until Envoys have probed them"
        why = "an Envoy lets go of an endpoint at once, and sends nothing to a new one before that"
        yield Step(1, Hand.YOU, f"{what} (up to {probe} each time)", why)


def _last(case: _Case) -> Iterator[Step]:
    """What has to stay until nothing is sent to it any more."""
    for name in case.named_no_more:
        why = "whoever still does gets 404"
        yield Step(1, Hand.YOU, f"see that nobody asks for {name} any more before it goes", why)
    for key in sorted(case.shrinks):
        known, version = case.before[key], case.after.get(key)
        if version is None:
            if key in case.shrinks_at_envoys:
                why = "Argo CD and the control server do not wait for each other, so pods may go before routes"
                yield Step(1, Hand.YOU, f"remove {_named(key)} when its last request has been answered", why)
            continue
        gone = bool(known.endpoints) and not version.endpoints
        if gone and key in case.shrinks_at_envoys and key not in case.unlisted:
            what = f"take the endpoints of {_named(key)} away when its last request has been answered"
            why = "an Envoy gets endpoints before routes: some requests would find none"
            yield Step(1, Hand.YOU, what, why)
        if version.replicas < known.replicas:
            what = f"take {_named(key)} from {known.replicas} to {version.replicas} active instances"
            why = "Argo CD applies Deployments before routes: there would be fewer instances for all of the requests"
            yield Step(1, Hand.YOU, what, why)


def _commits(waits: bool, stop: int | None, commit: int) -> Iterator[Step]:
    """What of the change goes into the commit with which requests move, where that is not all."""
    if stop is not None:
        when = "when that is ready, " if waits else ""
        what = f"{when}commit all but what stands under commit {stop}"
        yield Step(commit, Hand.YOU, what, "its requests have to go first")
    elif waits:
        yield Step(commit, Hand.YOU, "commit the rest when that is ready", "requests move then")


def _without_endpoints(versions: Sequence[_Key], commit: int) -> Iterator[Step]:
    if versions:
        what = f"list endpoints of {_listed([_named(key) for key in versions])}, or send no requests there"
        why = "Turnout's own Envoys know of no other instances, and answer 503 for a version without"
        yield Step(commit, Hand.YOU, what, why)


def _hosts(classes: Iterable[RequestClass], come: bool) -> tuple[str, ...]:
    """Those that come, or those that go."""
    found = (of.place for of in classes if (of.place.before if come else of.place.after) is None)
    return tuple(host for place in found for host in place.hosts)


def _hosts_that_go(hosts: Iterable[str]) -> Iterator[Step]:
    for host in hosts:
        yield Step(1, Hand.YOU, f"lead clients away from {host} before it goes", "nobody answers there any more")


def _hosts_that_come(hosts: Iterable[str], commit: int) -> Iterator[Step]:
    for host in hosts:
        why = "before that, nobody answers there"
        yield Step(commit, Hand.YOU, f"lead clients to {host} when its gateway is there", why)


def _carried_by_others(before: Fleet, after: Fleet, commit: int) -> Iterator[Step]:
    one, other = ({host.name: host.carrier for of in fleet.gateways for host in of.hosts} for fleet in (before, after))
    for host in sorted(one.keys() & other.keys()):
        if one[host] is not other[host]:
            what = f"lead clients of {host} from {_CARRIERS[one[host]]} to {_CARRIERS[other[host]]} at once"
            why = (
                "that is another address, and as a host has one carrier nobody answers at the old one any more; with a "
                "second host at the new carrier, in a commit before, nobody has to wait"
            )
            yield Step(commit, Hand.YOU, what, why)


def _applied(objects: Iterable[ObjectChange], commit: int, below: int) -> Iterator[Step]:
    early = [change for change in objects if change.change is not Change.REMOVED and change.wave < below]
    for wave, of_wave in groupby(sorted(early, key=attrgetter("wave")), key=attrgetter("wave")):
        why = f"wave {wave}, and waits until all are well"
        yield Step(commit, Hand.ARGO_CD, f"applies {_counted(list(of_wave))}", why)


def _restarted(objects: Iterable[ObjectChange]) -> Iterator[Step]:
    names = [
        change.key.rsplit("/", 1)[-1]
        for change in objects
        if change.kind == "Deployment" and any(leaf.path[:2] == ("spec", "template") for leaf in change.leaves)
    ]
    if names:
        why = "each new pod beside an old one until it is ready, which takes room for one more"
        yield Step(1, Hand.KUBERNETES, f"restarts the pods of {_listed(names)}", why)


def _moved(objects: Iterable[ObjectChange], sent: bool, commit: int) -> Iterator[Step]:
    late = [c for c in objects if c.change is not Change.REMOVED and c.wave >= Wave.CLUSTER_SETTINGS]
    for wave, of_wave in groupby(sorted(late, key=attrgetter("wave")), key=attrgetter("wave")):
        yield Step(commit, Hand.ARGO_CD, f"applies {_counted(list(of_wave))}", f"wave {wave}, after the workloads")
    if sent:
        why = "an Envoy gets a cluster and its endpoints before the routes to it, and loses it after them"
        yield Step(commit, Hand.CONTROL_SERVER, "sends the change to Turnout's own Envoys", why)


def _pruned(objects: Iterable[ObjectChange], commit: int) -> Iterator[Step]:
    removed = [change for change in objects if change.change is Change.REMOVED]
    if removed:
        yield Step(commit, Hand.ARGO_CD, f"removes {_counted(removed)}", "last, when all else is well")


def _nodes_that_go(before: Fleet, after: Fleet, commit: int) -> Iterator[Step]:
    stay = {node.name for pool in after.pools for node in pool.nodes}
    gone = [node.name for pool in before.pools for node in pool.nodes if node.name not in stay]
    if gone:
        why = "what runs there goes on until its pods are made anew"
        yield Step(commit, Hand.YOU, f"take {_listed(gone)} away when nothing runs there any more", why)


def _counted(changes: Sequence[ObjectChange]) -> str:
    """`2 × Deployment, Service`."""
    kinds = [change.kind for change in changes]
    counts = [(kinds.count(kind), kind) for kind in dict.fromkeys(kinds)]
    return ", ".join(f"{count} × {kind}" if count > 1 else kind for count, kind in counts)


def _shares(effect: Effect) -> dict[_Key, float]:
    shares: dict[_Key, float] = {}
    for target in effect["targets"]:
        key = (target["model"], target["version"])
        shares[key] = shares.get(key, 0) + target["share"]
    return shares


def _unanswered(effect: Effect) -> set[_Key]:
    return {(target["model"], target["version"]) for target in effect["targets"] if target["answeredBy"] is None}


def _versions(fleet: Fleet) -> dict[_Key, Version]:
    return {(model.name, version.name): version for model in fleet.models for version in model.versions}


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {rest} more" if rest > 0 else "")


def _named(key: _Key) -> str:
    return " ".join(key)


def _instances(version: Version) -> str:
    return "1 instance is" if version.replicas == 1 else f"{version.replicas} instances are"
