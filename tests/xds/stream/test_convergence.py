"""Whatever happens on the way, a client ends with the snapshot's content and never has a route that leads nowhere."""

from __future__ import annotations

from collections import deque

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.xds.stream.replica import Replica, Stream
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
from xds.snapshot import Resource, ResourceSet, ResourceType, Snapshot
from xds.stream.state import Request, Variant
from xds.stream.update import Update

NAMES = [f"c{n}" for n in range(40)]
Model = tuple[int, int, bool]
"""The versions of its cluster and of its load assignment, and whether a route leads to it."""
Models = dict[str, Model]
MODEL = st.tuples(st.integers(1, 3), st.integers(1, 3), st.booleans())
FEW = st.sampled_from(NAMES[:5])
"""So that edits and refusals meet; with all names a change may be too large to go one by one."""
MODELS = st.dictionaries(FEW, MODEL) | st.dictionaries(st.sampled_from(NAMES), MODEL)
POISON = st.frozensets(st.tuples(st.sampled_from([CLUSTER, ENDPOINT]), FEW), max_size=2)
EXAMPLES = max(300, settings.default.max_examples)
RESPONSES_AT_MOST = 400
"""After the last event: each of the names may have to be sent alone, more than once."""


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
        self.warming: set[str] = set()
        self.usable: set[str] = set()
        """Clusters that have been warm once. They serve as they were while they are changed."""
        self.unanswered: list[tuple[Update, str | None]] = []
        """As long as clusters are warming, an Envoy says nothing about clusters."""
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
        bad = [r.name for r in update.resources if self.refuses(update.type, r)]
        if bad and (update.type is not CLUSTER or self.atomic):
            self.answer(update, f"bad {bad}")
            if update.type in (CLUSTER, ENDPOINT):
                self._warmed({r.name for r in update.resources} if update.type is ENDPOINT else set())
            return
        good = {r.name: r for r in update.resources if r.name not in bad}
        fresh = {n for n, r in good.items() if self._version(update.type, n) != r.version}
        self._apply(update, good, bad)
        self._follow(update.type)
        self.answer(update, f"bad {bad}" if bad else None)
        if update.type is CLUSTER:
            self.warming |= fresh
        if update.type in (CLUSTER, ENDPOINT):
            self._warmed({*good, *update.removed} if update.type is ENDPOINT else set())

    def answer(self, update: Update, error: str | None) -> None:
        if update.type is CLUSTER:
            self.unanswered.append((update, error))
        else:
            self.say(update, error)

    def say(self, update: Update, error: str | None) -> None:
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
        """Clusters are warm once a load assignment has come for each, however often before."""
        if self.cold:
            self.cold = (self.cold - names) & self.held[CLUSTER].keys()
            if not self.cold:
                self.ask(CLUSTER, frozenset(), first=True)
        self.warming = (self.warming - names) & self.held[CLUSTER].keys()
        self.usable = (self.usable & self.held[CLUSTER].keys()) | (self.held[CLUSTER].keys() - self.warming - self.cold)
        if not self.warming:
            # State of the world has one request for each type, which names the last nonce; delta has a queue of them.
            answers = self.unanswered if self.variant is Variant.DELTA else self.unanswered[-1:]
            self.unanswered = []
            for update, error in answers:
                self.say(update, error)

    def refuses(self, type_: ResourceType, resource: Resource) -> bool:
        """Some names are bad at every version but their first, so that a snapshot without them can be had."""
        return (type_, resource.name) in self.poison and not resource.body.endswith(b" 1")

    def _version(self, type_: ResourceType, name: str) -> str | None:
        held = self.held[type_].get(name)
        return None if held is None else held.version


class Convergence(RuleBasedStateMachine):
    """One Envoy, and two replicas of which one may not have heard of the last edits yet."""

    variant = Variant.DELTA
    envoy: FakeEnvoy

    @initialize(models=MODELS, poison=POISON, atomic=st.booleans())
    def start(self, models: Models, poison: frozenset[tuple[ResourceType, str]], atomic: bool) -> None:
        self.models, self.listener = models, 1
        self.poison, self.atomic = poison, atomic
        self.doubtful = self.unknown = self.lost = False
        self.replicas = [Replica(self._snapshot()) for _ in range(2)]
        self._connect({type_: {} for type_ in ResourceType})

    @rule(models=MODELS, listener=st.integers(1, 2), late=st.booleans())
    def edit_everything(self, models: Models, listener: int, late: bool) -> None:
        self.models, self.listener = models, listener
        self._publish(late)

    @rule(name=FEW, model=st.none() | MODEL, late=st.booleans())
    def edit_one(self, name: str, model: Model | None, late: bool) -> None:
        """It comes, changes or goes."""
        self.models = {n: m for n, m in self.models.items() if n != name} | ({name: model} if model else {})
        self._publish(late)

    @rule(edits=st.lists(MODELS, min_size=2, max_size=4))
    def edits_come_faster_than_answers(self, edits: list[Models]) -> None:
        for self.models in edits:
            self._publish(late=False)
            self.stream.send()
            self.the_envoy_receives()

    @rule()
    def the_other_replica_hears_of_it(self) -> None:
        self._publish(late=False)

    @rule()
    def the_server_sends(self) -> None:
        self.stream.send()

    @rule()
    def the_server_receives(self) -> None:
        if self.envoy.requests:
            self.stream.receive(self.envoy.requests.popleft())

    @rule()
    def the_envoy_receives(self) -> None:
        if self.stream.responses:
            update = self.stream.responses.popleft()
            self.envoy.take(update)
            self.lost = self.lost and update.type is not ROUTE

    @rule(rounds=st.integers(2, 40))
    def they_talk_for_a_while(self, rounds: int) -> None:
        for _ in range(rounds):
            if not self._goes_on():
                break

    @rule()
    def seconds_pass(self) -> None:
        """In which the server hears of all that the Envoy asks for by itself."""
        while self.envoy.requests:
            self.the_server_receives()
        self.stream.opened()

    @rule()
    def the_stream_breaks(self) -> None:
        self._connect_again()

    @rule()
    def the_envoy_goes_to_the_other_replica(self) -> None:
        self.replicas.reverse()
        self._connect_again()

    @invariant()
    def no_route_leads_to_a_cluster_that_cannot_be_used(self) -> None:
        """It was not sent, or was let go, or has not got its load assignment yet."""
        if not hasattr(self, "envoy") or TABLE not in self.envoy.held[ROUTE] or self.lost:
            return
        missing = routed_clusters(self.envoy.held[ROUTE][TABLE]) - self.envoy.usable
        assert {name for name in missing if (CLUSTER, name) not in self.poison} == set()

    def teardown(self) -> None:
        if not hasattr(self, "envoy"):
            return
        self._publish(late=False)
        self.stream.waited()
        before = len(self.stream.sent)
        while self._goes_on():
            assert len(self.stream.sent) - before < RESPONSES_AT_MOST, "the stream does not come to rest"
        self._check_content()

    def _goes_on(self) -> bool:
        done = (len(self.stream.sent), len(self.stream.responses), len(self.envoy.requests))
        self.the_envoy_receives()
        self.the_server_receives()
        self.the_server_sends()
        return done[1:] != (0, 0) or done != (len(self.stream.sent), 0, len(self.envoy.requests))

    def _check_content(self) -> None:
        snapshot = self.replicas[0].snapshot
        wanted = {t: {name: r.version for name, r in snapshot[t].items()} for t in ResourceType}
        held = {t: {name: r.version for name, r in self.envoy.held[t].items()} for t in ResourceType}
        for type_ in (CLUSTER, ENDPOINT):
            bad = {name for poisoned, name in self.poison if poisoned in (CLUSTER, type_)}
            good = {name: version for name, version in wanted[type_].items() if name not in bad}
            assert good.items() <= held[type_].items(), type_
        if wanted[CLUSTER].keys() <= held[CLUSTER].keys() and not self._waits_for_what_it_refuses():
            # Nothing is missing that routes need, so they have moved, and what they have left is gone.
            assert held[LISTENER] == wanted[LISTENER]
            assert held[ROUTE] == wanted[ROUTE]
            assert held[CLUSTER].keys() == wanted[CLUSTER].keys() or self._keeps_what_nobody_knows_of()
        assert held[RUNTIME] == wanted[RUNTIME]

    def _waits_for_what_it_refuses(self) -> bool:
        """A load assignment whose last good version the client has from an earlier stream, and nobody else."""
        assignments = self.replicas[0].snapshot[ENDPOINT]
        waits = (assignments[name] for name in self.envoy.warming if name in assignments)
        return any(self.envoy.refuses(ENDPOINT, assignment) for assignment in waits)

    def _keeps_what_nobody_knows_of(self) -> bool:
        """State of the world: a client that is back with nobody knows what refuses the only list that it is sent."""
        clusters = self.replicas[0].snapshot[CLUSTER].values()
        return self.unknown and any(self.envoy.refuses(CLUSTER, cluster) for cluster in clusters)

    def _snapshot(self) -> Snapshot:
        clusters = {name: model[0] for name, model in self.models.items()}
        endpoints = {name: model[1] for name, model in self.models.items()}
        routed = [name for name, model in self.models.items() if model[2]]
        return snapshot(clusters, endpoints, routed, self.listener)

    def _publish(self, late: bool) -> None:
        for replica in self.replicas[: 1 if late else 2]:
            replica.publish(self._snapshot())

    def _connect_again(self) -> None:
        """A server that never served what the client has, or does not believe it, has no words in state of the world
        for clusters that only the client knows: its routes lead nowhere until it is sent others."""
        self.doubtful = self.stream.doubtful
        if self.variant is Variant.SOTW:
            known = self.replicas[0].knows(ResourceSet(self.envoy.held[CLUSTER].values()).version)
            self.unknown = self.doubtful or not known
            self.lost = self.lost or self.unknown
        self._connect(self.envoy.held, frozenset(self.envoy.cold | self.envoy.warming))

    def _connect(self, held: dict[ResourceType, dict[str, Resource]], cold: frozenset[str] = frozenset()) -> None:
        self.stream = Stream(self.variant, self.replicas[0], believed=not self.doubtful)
        usable = self.envoy.usable if hasattr(self, "envoy") else set()
        self.envoy = FakeEnvoy(self.variant, held, cold & held[CLUSTER].keys())
        self.envoy.usable = usable
        self.envoy.poison, self.envoy.atomic = self.poison, self.atomic


class SotwConvergence(Convergence):
    variant = Variant.SOTW


TestDelta = Convergence.TestCase
TestStateOfTheWorld = SotwConvergence.TestCase
TestDelta.settings = TestStateOfTheWorld.settings = settings(
    max_examples=EXAMPLES, stateful_step_count=50, deadline=None
)


def test_a_cluster_that_the_list_after_a_refusal_takes_back_is_told_that_it_has_no_load_assignment() -> None:
    """It warms anew, and until it is warm an Envoy answers nothing about clusters."""
    talk = SotwConvergence()
    talk.start(models={}, poison=frozenset({(CLUSTER, "c0")}), atomic=False)
    for _ in range(2):
        talk.the_server_receives()
    talk.edits_come_faster_than_answers([{}, {"c0": (1, 1, False), "c1": (2, 1, False)}])
    for edits in (
        [{}, {}],
        [{}, {"c0": (1, 1, False), "c1": (1, 1, False)}, {"c0": (2, 1, False), "c2": (1, 1, False)}],
    ):
        talk.the_stream_breaks()
        talk.the_stream_breaks()
        for _ in range(2):
            talk.the_server_receives()
        talk.edits_come_faster_than_answers(edits)
    talk.teardown()


def test_a_cluster_that_a_refused_response_takes_away_is_sent_again_when_it_is_back() -> None:
    """Of a response that an Envoy refuses for one cluster it has done the rest."""
    talk = Convergence()
    talk.start(models={}, poison=frozenset({(CLUSTER, "c4")}), atomic=False)
    talk.they_talk_for_a_while(rounds=1)
    talk.edit_everything(models={"c1": (1, 1, False)}, listener=1, late=False)
    talk.they_talk_for_a_while(rounds=2)
    talk.edit_everything(models={"c4": (2, 1, False)}, listener=1, late=False)
    talk.they_talk_for_a_while(rounds=4)
    talk.edit_everything(models={"c1": (1, 1, True)}, listener=1, late=False)
    talk.they_talk_for_a_while(rounds=5)
    talk.no_route_leads_to_a_cluster_that_cannot_be_used()
    talk.teardown()
