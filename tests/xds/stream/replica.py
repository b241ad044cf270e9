"""Control servers without a network: each has its own memory of what it served, and streams to it can break."""

from __future__ import annotations

from collections import deque

from xds.snapshot import ResourceSet, ResourceType, Snapshot
from xds.stream import delta, sotw
from xds.stream.state import Request, StreamState, Variant
from xds.stream.subscription import WILDCARD
from xds.stream.update import Update, next_update

RECEIVED = {Variant.SOTW: sotw.received, Variant.DELTA: delta.received}


class Replica:
    def __init__(self, first: Snapshot) -> None:
        self._known: dict[str, ResourceSet] = {}
        self.publish(first)

    def publish(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self._known.update((resources.version, resources) for resources in snapshot.sets.values())

    def knows(self, version: str) -> bool:
        return version in self._known

    def resolved(self, state: StreamState) -> StreamState:
        return state.resolved(self.snapshot, self._known.get)


class Stream:
    """The server's end of a stream, and what is on its way to the client. It fails when a version is sent again that
    the client has refused, before there was another or the client has asked anew."""

    def __init__(self, variant: Variant, replica: Replica, *, believed: bool = True) -> None:
        self.state = StreamState(variant, believed=believed)
        self.replica = replica
        self.responses: deque[Update] = deque()
        self.sent: list[Update] = []
        self._asked: dict[ResourceType, frozenset[str]] = {}
        self._refused: dict[tuple[ResourceType, str], str] = {}
        self._anew: list[tuple[int, ResourceType, str]] = []
        """Names that were asked for anew, and how many responses had been sent by then."""

    def receive(self, request: Request) -> None:
        type_ = ResourceType(request.type_url)
        if request.error is not None:
            self._note_refusal(type_, request.nonce)
        anew = self._asked_anew(type_, request)
        for key in [key for key in self._refused if key[0] is type_ and {key[1], WILDCARD} & anew]:
            del self._refused[key]
        self._anew += ((len(self.sent), type_, name) for name in anew)
        self.state = RECEIVED[self.state.variant](self.state, type_, request)

    def _asked_anew(self, type_: ResourceType, request: Request) -> frozenset[str]:
        """State of the world: what a request before it did not name. One whose nonce is older than that of the last
        response is stale, and need not be answered: the client says it again when it answers that response.

        https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#ack-nack-and-resource-type-instance-version
        """
        if self.state.variant is Variant.DELTA:
            return request.names
        last = next((update.nonce for update in reversed(self.sent) if update.type is type_), "")
        before = self._asked.get(type_, frozenset())
        if request.nonce not in ("", last):
            self._asked[type_] = before & request.names
            return frozenset()
        self._asked[type_] = request.names
        return request.names - before

    def send(self) -> None:
        """One response, if there is one to be sent."""
        self.state = self.replica.resolved(self.state)
        step = next_update(self.state, self.replica.snapshot)
        if step is None:
            return
        update, self.state = step
        for resource in update.resources:
            refused = self._refused.pop((update.type, resource.name), None)
            assert refused != resource.version, f"{update.type} {resource.name} has been refused as it is"
        for name in update.removed:
            self._refused.pop((update.type, name), None)
        self.responses.append(update)
        self.sent.append(update)

    @property
    def doubtful(self) -> bool:
        """The client may have applied more than it says."""
        return self.state.doubtful or self.state.outstanding

    def opened(self) -> None:
        """The client has had the time to name all its types."""
        self.state = self.state.opened()

    def waited(self) -> None:
        """Nor has it clusters of an earlier stream that will ever be warm."""
        self.state = self.state.opened().warmed()

    def _note_refusal(self, type_: ResourceType, nonce: str) -> None:
        """Of a resource that came alone, and was neither sent nor asked for again since. Not of one that the client has
        had already: that it may be sent again, for a cluster that is to become warm."""
        at = max(at for at, update in enumerate(self.sent) if (update.type, update.nonce) == (type_, nonce))
        later = {
            resource.name for update in self.sent[at + 1 :] if update.type is type_ for resource in update.resources
        }
        later |= {name for sent, asked, name in self._anew if asked is type_ and sent > at}
        if len(self.sent[at].resources) != 1:
            return
        (refused,) = self.sent[at].resources
        batch = self.state.batch(type_, nonce)
        had = None if batch is None else batch.before.get(refused.name)
        if (had is None or had.version != refused.version) and not later & {refused.name, WILDCARD}:
            self._refused[type_, refused.name] = refused.version
