"""Whatever happens on the way, a client ends with the snapshot's content and never has a route that leads nowhere."""

from __future__ import annotations

from collections import deque

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.xds.stream.snapshots import (
    CLUSTER,
    ENDPOINT,
    LAYER,
    LISTENER,
    ROUTE,
    RUNTIME,
    TABLE,
    routed_clusters,
    snapshot,
)
from xds.snapshot import Resource, ResourceSet, ResourceType
from xds.stream import delta, sotw
from xds.stream.state import Request, StreamState, Variant
from xds.stream.update import Update, next_update

RECEIVED = {Variant.SOTW: sotw.received, Variant.DELTA: delta.received}
CLUSTER_NAMES = [f"c{n}" for n in range(40)]
EDITS = st.dictionaries(st.sampled_from(CLUSTER_NAMES), st.integers(1, 3))
POISON = st.frozensets(st.tuples(st.sampled_from([CLUSTER, ENDPOINT]), st.sampled_from(CLUSTER_NAMES)), max_size=2)


class FakeEnvoy:
    """What an Envoy holds, asks for and answers; messages wait in queues until someone delivers them."""

    def __init__(
        self, variant: Variant, held: dict[ResourceType, dict[str, Resource]], cold: frozenset[str] = frozenset()
    ) -> None:
        """`cold` are clusters of an earlier stream that still wait for a load assignment."""
        self.variant, self.held, self.cold = variant, held, cold
        self.asked: dict[ResourceType, frozenset[str]] = {}
        self.nonces: dict[ResourceType, str] = {}
        self.requests: deque[Request] = deque()
        self.warming: dict[str, set[str]] = {}
        self.poison: frozenset[tuple[ResourceType, str]] = frozenset()
        self.atomic = False
        """A response with a bad cluster is refused as a whole, as Envoy does when a constraint of the API is broken."""
        reconnects = any(held.values())
        for type_ in ResourceType if reconnects else (RUNTIME, CLUSTER):
            if type_ is not CLUSTER or not cold:
                self.ask(type_, self.wanted(type_), first=True)

    def wanted(self, type_: ResourceType) -> frozenset[str]:
        match type_:
            case ResourceType.RUNTIME:
                return frozenset([LAYER])
            case ResourceType.ENDPOINT:
                return frozenset(self.held[CLUSTER])
            case ResourceType.ROUTE:
                return frozenset([TABLE] if self.held[LISTENER] else [])
        return frozenset()

    def ask(self, type_: ResourceType, names: frozenset[str], first: bool = False) -> None:
        before = self.asked.get(type_, frozenset())
        self.asked[type_] = names
        if self.variant is Variant.SOTW:
            version = ResourceSet(self.held[type_].values()).version if self.held[type_] else ""
            self.requests.append(Request(type_, self.nonces.get(type_, ""), names=names, version=version))
        else:
            versions = {name: r.version for name, r in self.held[type_].items()} if first else {}
            request = Request(type_, names=names - before, dropped=before - names, versions=versions)
            self.requests.append(request)

    def take(self, update: Update) -> None:
        self.nonces[update.type] = update.nonce
        bad = [r.name for r in update.resources if self._bad(update.type, r)]
        if bad and (update.type is not CLUSTER or self.atomic):
            self.answer(update, f"bad {bad}")
            if update.type is ENDPOINT:
                self._warmed({r.name for r in update.resources})
            return
        good = {r.name: r for r in update.resources if r.name not in bad}
        fresh = {n for n, r in good.items() if self._version(update.type, n) != r.version}
        self._apply(update, good, bad)
        self._follow(update.type)
        if update.type in (CLUSTER, ENDPOINT):
            self._warmed({*good, *update.removed} if update.type is ENDPOINT else set())
        if update.type is CLUSTER and fresh and not bad:
            self.warming[update.nonce] = fresh
        else:
            self.answer(update, f"bad {bad}" if bad else None)

    def answer(self, update: Update, error: str | None) -> None:
        names = self.asked[update.type] if self.variant is Variant.SOTW else frozenset[str]()
        self.requests.append(Request(update.type, update.nonce, error, names=names))
        if update.type is CLUSTER and LISTENER not in self.asked:
            self.ask(LISTENER, frozenset(), first=True)

    def _apply(self, update: Update, good: dict[str, Resource], bad: list[str]) -> None:
        held = self.held[update.type]
        if self.variant is Variant.SOTW and update.type in (CLUSTER, LISTENER):
            kept = {name: held[name] for name in bad if name in held}
            self.held[update.type] = {**kept, **good}
        else:
            held.update(good)
            if self.variant is Variant.DELTA:
                for name in update.removed:
                    held.pop(name, None)

    def _follow(self, type_: ResourceType) -> None:
        follower = {CLUSTER: ENDPOINT, LISTENER: ROUTE}.get(type_)
        if follower is None:
            return
        wanted = self.wanted(follower)
        for name in set(self.held[follower]) - wanted:
            del self.held[follower][name]
        if wanted != self.asked.get(follower, frozenset()):
            self.ask(follower, wanted, first=follower not in self.asked)

    def _warmed(self, names: set[str]) -> None:
        """A response with clusters is accepted once a load assignment has come for each, however often before."""
        if self.cold:
            self.cold = (self.cold - names) & self.held[CLUSTER].keys()
            if not self.cold:
                self.ask(CLUSTER, frozenset(), first=True)
        for nonce, waiting in list(self.warming.items()):
            still = (waiting - names) & self.held[CLUSTER].keys()
            self.warming[nonce] = still
            if not still:
                del self.warming[nonce]
                self.answer(Update(CLUSTER, (), (), "", nonce), None)

    def _bad(self, type_: ResourceType, resource: Resource) -> bool:
        """Some names are bad at every version but their first, so that a snapshot without them can be had."""
        return (type_, resource.name) in self.poison and not resource.body.endswith(b" 1")

    def _version(self, type_: ResourceType, name: str) -> str | None:
        held = self.held[type_].get(name)
        return None if held is None else held.version


class Convergence(RuleBasedStateMachine):
    variant = Variant.DELTA
    state: StreamState

    @initialize(clusters=EDITS, poison=POISON, atomic=st.booleans())
    def start(self, clusters: dict[str, int], poison: frozenset[tuple[ResourceType, str]], atomic: bool) -> None:
        self.known: dict[str, ResourceSet] = {}
        self.poison, self.atomic = poison, atomic
        self.doubtful = False
        self._publish(clusters, clusters)
        self._connect({type_: {} for type_ in ResourceType})

    @rule(clusters=EDITS, endpoints=st.integers(1, 3))
    def edit(self, clusters: dict[str, int], endpoints: int) -> None:
        self._publish(clusters, dict.fromkeys(clusters, endpoints))

    @rule()
    def the_server_sends(self) -> None:
        self.state = self.state.resolved(self.snapshot, self.known.get)
        if (step := next_update(self.state, self.snapshot)) is not None:
            update, self.state = step
            self.responses.append(update)

    @rule()
    def the_server_receives(self) -> None:
        if self.envoy.requests:
            request = self.envoy.requests.popleft()
            type_ = ResourceType(request.type_url)
            self.state = RECEIVED[self.variant](self.state, type_, request)

    @rule()
    def the_envoy_receives(self) -> None:
        if self.responses:
            self.envoy.take(self.responses.popleft())

    @rule(elsewhere=st.booleans())
    def the_stream_breaks(self, elsewhere: bool) -> None:
        """The next server may be another replica, which remembers no older versions. State of the world then has no
        words for what the client still has, so its routes may lead nowhere for a moment."""
        if elsewhere and self.variant is Variant.DELTA:
            self.known = {s.version: s for s in self.snapshot.sets.values()}
        self.doubtful = self.state.doubtful or any(sub.outstanding for sub in self.state.subscriptions.values())
        self._connect(self.envoy.held, frozenset(self.envoy.cold.union(*self.envoy.warming.values())))

    @invariant()
    def no_route_leads_to_a_cluster_that_was_not_sent(self) -> None:
        if not hasattr(self, "envoy") or TABLE not in self.envoy.held[ROUTE]:
            return
        missing = routed_clusters(self.envoy.held[ROUTE][TABLE]) - self.envoy.held[CLUSTER].keys()
        assert {name for name in missing if (CLUSTER, name) not in self.poison} == set()

    def teardown(self) -> None:
        if not hasattr(self, "envoy"):
            return
        self.state = self.state.opened()
        for _ in range(5000):
            before = (len(self.responses), len(self.envoy.requests))
            self.the_envoy_receives()
            self.the_server_receives()
            self.the_server_sends()
            if before == (0, 0) == (len(self.responses), len(self.envoy.requests)):
                break
        else:
            raise AssertionError("the stream never comes to rest")
        self._check_content()

    def _check_content(self) -> None:
        wanted = {t: {name: r.version for name, r in self.snapshot[t].items()} for t in ResourceType}
        held = {t: {name: r.version for name, r in self.envoy.held[t].items()} for t in ResourceType}
        for type_ in (CLUSTER, ENDPOINT):
            bad = {name for poisoned, name in self.poison if poisoned in (CLUSTER, type_)}
            good = {name: version for name, version in wanted[type_].items() if name not in bad}
            assert good.items() <= held[type_].items(), type_
        if wanted[CLUSTER].keys() <= held[CLUSTER].keys():
            # Nothing is missing that routes need, so they have moved, and what they have left is gone.
            assert held[LISTENER] == wanted[LISTENER]
            assert held[ROUTE] == wanted[ROUTE]
            assert held[CLUSTER].keys() == wanted[CLUSTER].keys()
        assert held[RUNTIME] == wanted[RUNTIME]

    def _publish(self, clusters: dict[str, int], endpoints: dict[str, int]) -> None:
        self.snapshot = snapshot(clusters, endpoints)
        self.known.update((s.version, s) for s in self.snapshot.sets.values())

    def _connect(self, held: dict[ResourceType, dict[str, Resource]], cold: frozenset[str] = frozenset()) -> None:
        self.state = StreamState(self.variant, believed=not self.doubtful)
        self.responses: deque[Update] = deque()
        self.envoy = FakeEnvoy(self.variant, held, cold & held[CLUSTER].keys())
        self.envoy.poison, self.envoy.atomic = self.poison, self.atomic


class SotwConvergence(Convergence):
    variant = Variant.SOTW


TestDelta = Convergence.TestCase
TestStateOfTheWorld = SotwConvergence.TestCase
TestDelta.settings = TestStateOfTheWorld.settings = settings(stateful_step_count=50, deadline=None)
