"""A client that asks for anything, in any order, and refuses anything, ends with exactly what it asks for."""

from __future__ import annotations

from collections import deque

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.xds.stream.replica import Replica, Stream
from tests.xds.stream.snapshots import (
    CLUSTER,
    ENDPOINT,
    INGRESS,
    LAYER,
    LISTENER,
    ROUTE,
    RUNTIME,
    TABLE,
    routed_clusters,
    snapshot,
)
from xds.snapshot import ResourceType, Snapshot
from xds.stream.state import WHOLE_LISTS, Request, Variant
from xds.stream.subscription import WILDCARD
from xds.stream.update import Update

Models = dict[str, tuple[int, int]]
"""The versions of each one's cluster and load assignment."""
NAMES = ("a", "b", "c")
VERSIONS = st.tuples(st.integers(1, 3), st.integers(1, 3))
MODELS = st.dictionaries(st.sampled_from(NAMES), VERSIONS)
POOLS = {
    CLUSTER: (*NAMES, WILDCARD),
    ENDPOINT: NAMES,
    LISTENER: (INGRESS, "nobody", WILDCARD),
    ROUTE: (TABLE, "nobody"),
    RUNTIME: (LAYER, "nobody"),
}
"""The names that are asked for."""
TYPES = st.sampled_from([CLUSTER, CLUSTER, ENDPOINT, ENDPOINT, LISTENER, ROUTE, RUNTIME])
Ask = tuple[ResourceType, frozenset[str], frozenset[str], int]
ASK = TYPES.flatmap(
    lambda type_: st.tuples(
        st.just(type_),
        st.frozensets(st.sampled_from(POOLS[type_])),
        st.frozensets(st.sampled_from(POOLS[type_])) | st.just(frozenset[str]()),
        st.sampled_from([0, 1, 2, 10]),
    )
)
RESPONSES_AT_MOST = 100
"""After the last event."""
EXAMPLES = max(150, settings.default.max_examples)


class Client:
    """It holds versions, by type and name, and forgets what it no longer asks for."""

    def __init__(
        self, variant: Variant, held: dict[ResourceType, dict[str, str]], lists: dict[ResourceType, str]
    ) -> None:
        """`held` and `lists` are of an earlier stream."""
        self.variant, self.held, self.lists = variant, held, lists
        """Lists: the version of the last that it accepted, in state of the world."""
        self.names: dict[ResourceType, frozenset[str]] = {}
        """Of the types that this stream has asked for."""
        self.is_back = any(held.values())
        """From an earlier stream, with something that it had there."""
        self.legacy: set[ResourceType] = set()
        """Types that it has asked for without naming anything: a wildcard."""
        self.absent: dict[ResourceType, set[str]] = {type_: set() for type_ in ResourceType}
        """Delta: what was said not to exist."""
        self.requests: deque[Request] = deque()
        self.astonished = False
        """By what it has not asked for."""
        self.refuses = False
        """The next response with something new; what has gone nobody refuses."""
        self.refused: set[tuple[ResourceType, str, str]] = set()
        """What it has refused and not taken since, by type, name and version; on this stream."""
        self.routed: set[str] = set()
        """Clusters that its route table leads to, where it has asked for all clusters before it asked for routes, and
        has neither refused nor forgotten any."""
        self.careful = not self.is_back
        self._nonces: dict[ResourceType, str] = {}

    def wants(self, type_: ResourceType, name: str) -> bool:
        return type_ in self.legacy or bool({name, WILDCARD} & self.names[type_])

    def ask(self, type_: ResourceType, more: frozenset[str], less: frozenset[str] = frozenset()) -> None:
        first = type_ not in self.names
        if type_ is CLUSTER and (not first or more or less):
            self.careful = False
        if type_ is ROUTE and CLUSTER not in self.names:
            self.careful = False
        self.names[type_] = (self.names.get(type_, frozenset()) - less) | more
        said = more | less if self.variant is Variant.DELTA else self.names[type_]
        if type_ is ROUTE and not self.wants(ROUTE, TABLE):
            self.routed = set()
        if first and not said and type_ in WHOLE_LISTS:
            self.legacy.add(type_)
        elif self.names[type_] if self.variant is Variant.SOTW else WILDCARD in more | less:
            self.legacy.discard(type_)
        kept = {name: version for name, version in self.held[type_].items() if self.wants(type_, name)}
        if len(kept) < len(self.held[type_]):
            self.lists.pop(type_, None)  # it no longer has all of that version
        self.held[type_] = kept
        if self.variant is Variant.SOTW:
            version, nonce = self.lists.get(type_, ""), self._nonces.get(type_, "")
            self.requests.append(Request(type_, nonce, names=self.names[type_], version=version))
            return
        self.absent[type_] -= more
        versions = self.held[type_] if first else {}
        self.requests.append(Request(type_, names=more, dropped=less, versions=versions))

    def take(self, update: Update) -> None:
        type_, sotw = update.type, self.variant is Variant.SOTW
        self._nonces[type_] = update.nonce
        sent = {resource.name: resource.version for resource in update.resources}
        assert not self.astonished or all(self.wants(type_, name) for name in sent), f"{type_} {sent}"
        names = self.names[type_] if sotw else frozenset[str]()
        fresh = sent.items() - self.held[type_].items()
        if self.refuses and fresh:
            self.refuses = self.careful = False
            self.refused |= {(type_, name, version) for name, version in fresh}
            self.requests.append(Request(type_, update.nonce, "no", names=names))
            return
        self.refused -= {(type_, name, version) for name, version in sent.items()}
        if sotw and type_ in WHOLE_LISTS:
            self.held[type_] = {name: version for name, version in sent.items() if self.wants(type_, name)}
            self.lists[type_] = update.version
        elif sotw:
            self.held[type_].update((name, version) for name, version in sent.items() if self.wants(type_, name))
        else:
            self.held[type_].update((name, version) for name, version in sent.items() if self.wants(type_, name))
            self.absent[type_] = (self.absent[type_] - sent.keys()) | set(update.removed)
            for name in update.removed:
                self.held[type_].pop(name, None)
        if type_ is ROUTE and self.wants(ROUTE, TABLE):
            self.routed = set().union(*map(routed_clusters, update.resources))
        assert not self.careful or self.routed <= self.held[CLUSTER].keys(), "a route leads nowhere"
        self.requests.append(Request(type_, update.nonce, names=names))

    def forgets(self, type_: ResourceType) -> None:
        """All that it has, and asks for it again at once: delta has words for that."""
        self.held[type_], self.absent[type_], self.careful = {}, set(), False
        self.ask(type_, self.names[type_])


class Subscribing(RuleBasedStateMachine):
    variant = Variant.DELTA
    client: Client

    @initialize(models=MODELS, everything=st.booleans())
    def start(self, models: Models, everything: bool) -> None:
        self.models = models
        self.replicas = [Replica(_snapshot(models)) for _ in range(2)]
        self._connect({type_: {} for type_ in ResourceType}, {})
        if everything:
            for type_, names in ((CLUSTER, ()), (LISTENER, ()), (ROUTE, (TABLE,))):
                self.client.ask(type_, frozenset(names))

    @rule(models=MODELS, late=st.booleans())
    def edit(self, models: Models, late: bool) -> None:
        """The other replica may hear of it later."""
        self.models = models
        for replica in self.replicas[: 1 if late else 2]:
            replica.publish(_snapshot(models))

    @rule(asks=st.lists(ASK, min_size=1, max_size=4))
    def the_client_asks(self, asks: list[Ask]) -> None:
        """For some names more, and some less, in one request; then they may talk for a while."""
        for type_, more, less, rounds in asks:
            self.client.ask(type_, more, less - more)
            self.they_talk_for_a_while(rounds)

    @rule(type_=TYPES)
    def the_client_asks_again_for_what_it_has(self, type_: ResourceType) -> None:
        if type_ in self.client.names:
            self.client.ask(type_, frozenset(self.client.held[type_].keys() & self.client.names[type_]))

    @rule(ask=ASK)
    def the_client_drops_and_takes_up_again(self, ask: Ask) -> None:
        type_, among, _, _ = ask
        if some := among & self.client.names.get(type_, frozenset()):
            self.client.ask(type_, frozenset(), some)
            self.client.ask(type_, some)

    @rule(name=st.sampled_from(NAMES), versions=VERSIONS)
    def one_model_changes(self, name: str, versions: tuple[int, int]) -> None:
        """And the client does not know it yet."""
        self.edit({**self.models, name: versions}, late=False)
        self.stream.send()

    @rule(rounds=st.sampled_from([0, 1, 10]))
    def the_client_forgets_what_it_has(self, rounds: int) -> None:
        for type_ in sorted(self.client.names.keys() - self.client.legacy) if self.variant is Variant.DELTA else ():
            self.client.forgets(type_)
            self.they_talk_for_a_while(rounds)

    @rule()
    def the_client_refuses_what_comes_next(self) -> None:
        self.client.refuses = True

    @rule()
    def the_server_sends(self) -> None:
        self.stream.send()

    @rule()
    def the_server_receives(self) -> None:
        if self.client.requests:
            self.stream.receive(self.client.requests.popleft())

    @rule()
    def the_client_receives(self) -> None:
        if self.stream.responses:
            self.client.take(self.stream.responses.popleft())

    @rule(rounds=st.integers(2, 20))
    def they_talk_for_a_while(self, rounds: int) -> None:
        for _ in range(rounds):
            self._talk()

    @rule(elsewhere=st.booleans(), otherwise=st.frozensets(TYPES))
    def the_client_comes_back(self, elsewhere: bool, otherwise: frozenset[ResourceType]) -> None:
        """It asks for the same again, with what it has; of the types in `otherwise` later, and for anything."""
        if elsewhere:
            self.replicas.reverse()
        before = self.client
        self._connect(before.held, before.lists, believed=elsewhere or not self.stream.state.doubtful)
        for type_, names in before.names.items():
            if type_ not in otherwise and (names or type_ in before.legacy):
                star = self.variant is Variant.DELTA and type_ in before.legacy and bool(names)
                self.client.ask(type_, names | {WILDCARD} if star else names)
        if self.variant is Variant.DELTA and ROUTE not in otherwise and CLUSTER in self.client.names:
            self.client.careful, self.client.routed = before.careful, before.routed

    def teardown(self) -> None:
        if not hasattr(self, "client"):
            return
        for replica in self.replicas:
            replica.publish(self.replicas[0].snapshot)
        self.client.refuses = False
        self.stream.waited()
        self._come_to_rest()
        # Now the server knows what the client wants, so it sends nothing else.
        self.client.astonished = True
        self.replicas[0].publish(_snapshot(dict.fromkeys(NAMES, (7, 7)), 7))
        self._come_to_rest()

    def _come_to_rest(self) -> None:
        before = len(self.stream.sent)
        while self._talk():
            assert len(self.stream.sent) - before < RESPONSES_AT_MOST, "the stream does not come to rest"
        for type_ in self.client.names:
            self._check(type_)

    def _talk(self) -> bool:
        before = (len(self.stream.sent), len(self.stream.responses), len(self.client.requests))
        self.the_client_receives()
        self.the_server_receives()
        self.the_server_sends()
        return before[1:] != (0, 0) or len(self.stream.sent) != before[0]

    def _check(self, type_: ResourceType) -> None:
        client = self.client
        wanted = {n: r.version for n, r in self.replicas[0].snapshot[type_].items() if client.wants(type_, n)}
        held = {name: version for name, version in client.held[type_].items() if client.wants(type_, name)}
        if self.variant is Variant.SOTW and type_ not in WHOLE_LISTS:
            # There are no words for what does not exist.
            held = {name: version for name, version in held.items() if name in wanted}
        refused = self._refused(type_)
        lacking = self._refused(CLUSTER) - client.held[CLUSTER].keys()
        if lacking and type_ in (LISTENER, ROUTE):
            return  # routes may lead to what the client lacks
        keeps = bool(lacking or self._refused(LISTENER) or self._refused(ROUTE))
        if keeps:
            # Its routes are not the snapshot's, so they may need what has gone.
            held = {name: version for name, version in held.items() if name in wanted}
        assert _without(held, refused) == _without(wanted, refused), type_
        if self.variant is Variant.DELTA and not keeps:
            assert client.names[type_] - wanted.keys() - {WILDCARD} <= client.absent[type_], type_

    def _refused(self, type_: ResourceType) -> set[str]:
        """What the client refuses as it is."""
        wanted = self.replicas[0].snapshot[type_].items()
        return {name for name, resource in wanted if (type_, name, resource.version) in self.client.refused}

    def _connect(
        self, held: dict[ResourceType, dict[str, str]], lists: dict[ResourceType, str], *, believed: bool = True
    ) -> None:
        self.stream = Stream(self.variant, self.replicas[0], believed=believed)
        self.client = Client(self.variant, held, lists)


class SotwSubscribing(Subscribing):
    variant = Variant.SOTW


def _without(versions: dict[str, str], names: set[str]) -> dict[str, str]:
    return {name: version for name, version in versions.items() if name not in names}


def _snapshot(models: Models, others: int = 1) -> Snapshot:
    """`others` is the version of all that is no model's."""
    clusters, assignments = ({name: model[at] for name, model in models.items()} for at in (0, 1))
    return snapshot(clusters, assignments, listener=others, layer=others)


TestDelta = Subscribing.TestCase
TestStateOfTheWorld = SotwSubscribing.TestCase
TestDelta.settings = TestStateOfTheWorld.settings = settings(
    max_examples=EXAMPLES, stateful_step_count=25, deadline=None
)
