"""What becomes of a stream, worked out once for all streams that stand where it stands.

A stream's state is a value, and so are a request and a snapshot. The Envoys of a group ask for the same and answer
alike, so a thousand of them walk through the same few states: what the first of them needs a while for, the others
find done. For that, equal states are made one object, and a step is known by the objects that it starts from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from xds.snapshot import ResourceType, Snapshot
from xds.stream.lacking import without_lacking
from xds.stream.limits import check_names
from xds.stream.recent import Recent
from xds.stream.responses import Responses
from xds.stream.siblings import Beside, next_update_beside, together
from xds.stream.state import Known, Request, StreamState, Variant
from xds.stream.subscription import Batch
from xds.stream.update import Step, Update, next_update

MOST = 1024
"""States that are kept; of those, and of as many before them, none is made a second time."""
MOST_BYTES = 8 << 20
"""Of requests that are kept to be compared with, and of the states they lead to; of responses twice as many."""
COST = 4 << 10
"""Bytes that a step counts for beside its response."""
NAME = 64
"""Bytes that a name in a state counts for."""
UNKNOWN = 256
"""Bytes that a name counts for in a step when there is nothing of that name: with the answer that says so."""
TOGETHER = 256
"""Names that make a state count as one more: all that are kept may be of a client that asks for names at random."""
SMALL = 48 << 10
"""Bytes of a request that is worth keeping: more than a thousand names, less than an Envoy's node."""


@dataclass(frozen=True, slots=True)
class Framing:
    """How a variant writes requests and responses."""

    variant: Variant
    parsed: Callable[[bytes], Any]
    """A message of the protocol. Raises google.protobuf.message.DecodeError."""
    as_request: Callable[[Any], Request]
    received: Callable[[StreamState, ResourceType, Request], StreamState]
    encoded: Callable[[Update, str], bytes]
    """With the identifier of the control plane."""


@dataclass(frozen=True, slots=True)
class Received:
    """What a request does to a stream."""

    request: Request
    type: ResourceType
    state: StreamState
    answers: Batch | None
    """The response that is accepted or refused."""
    doubtful: bool
    """What the client has may differ from the versions it will bring along to its next stream."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A response, and the state of a stream that it has been sent on."""

    type: ResourceType
    response: bytes
    state: StreamState


@dataclass(frozen=True, slots=True)
class Rest:
    """Nothing to say for now."""

    state: StreamState
    settled: bool
    """Nor anything to wait for."""


class Transitions:
    def __init__(self, identifier: Callable[[], str] = str) -> None:
        """`identifier` is that of the control plane, in what is sent from now on."""
        self._identifier = identifier
        self._responses = Responses()
        self._states = Recent(MOST)
        self._requests = Recent(MOST_BYTES)
        self._steps = Recent(2 * MOST_BYTES)

    def turn(self) -> None:
        """There are other snapshots now. What is kept holds old ones, with all that is in them."""
        for kept in (self._states, self._requests, self._steps, self._responses):
            kept.turn()

    def shared(self, state: StreamState) -> StreamState:
        """The one object for all states that are equal to `state`."""
        found: StreamState | None = self._states.get(state)
        return self._states.put(state, state, 1 + state.named // TOGETHER) if found is None else found

    def received(self, framing: Framing, state: StreamState, raw: bytes) -> Received | Request:
        """Of a stream's request that is not its first; the request itself if the stream does not carry its type.

        Raises google.protobuf.message.DecodeError, or ExcessError.
        """
        key = (id(state), raw)
        found: tuple[StreamState, Received] | None = self._requests.get(key)
        if found is not None:
            return found[1]
        made = self.asked(framing, state, framing.as_request(framing.parsed(raw)))
        if isinstance(made, Received) and len(raw) <= SMALL:
            self._requests.put(key, (state, made), len(raw) + NAME * made.state.named)
        return made

    def asked(self, framing: Framing, state: StreamState, request: Request) -> Received | Request:
        """As `received`, of a request that has been read."""
        type_ = state.carries(request.type_url)
        if type_ is None:
            return request
        check_names(request.names)
        check_names(request.versions)
        answers = state.batch(type_, request.nonce)
        after = framing.received(state, type_, request)
        asked = after.subscriptions[type_]
        check_names(asked.names)
        check_names(asked.owed.difference(asked.offered.by_name))  # of what it has, it may ask for all there is again
        return Received(request, type_, self.shared(after), answers, after.doubtful)

    def next(self, framing: Framing, state: StreamState, snapshot: Snapshot, known: Known) -> Sent | Rest:
        key = (id(state), id(snapshot), self._identifier())
        found: tuple[StreamState, Snapshot, Sent | Rest] | None = self._steps.get(key)
        if found is None:
            next_ = self._next(framing, state, snapshot, known)
            size = len(next_.response) if isinstance(next_, Sent) else 0
            found = self._steps.put(key, (state, snapshot, next_), size + COST + UNKNOWN * _unknown(state, snapshot))
        return found[2]

    def next_beside(
        self, framing: Framing, state: StreamState, siblings: Beside, snapshot: Snapshot, known: Known
    ) -> Sent | Rest:
        """As `next`, for a node that has other streams."""
        resolved = self.shared(state.resolved(snapshot, known))
        step = next_update_beside(resolved, siblings, without_lacking(together(resolved, siblings), snapshot))
        return _rest(resolved, siblings) if step is None else self._sent(framing, step)

    def _next(self, framing: Framing, state: StreamState, snapshot: Snapshot, known: Known) -> Sent | Rest:
        resolved = self.shared(state.resolved(snapshot, known))
        step = next_update(resolved, without_lacking(resolved, snapshot))
        return _rest(resolved, {}) if step is None else self._sent(framing, step)

    def _sent(self, framing: Framing, step: Step) -> Sent:
        update, after = step
        response = self._responses.encoded(framing.variant, update, self._identifier(), framing.encoded)
        return Sent(update.type, response, self.shared(after))


def _unknown(state: StreamState, snapshot: Snapshot) -> int:
    """Names that are asked for, or that the client says it has, and that there is nothing of."""
    return sum(
        len(sub.names - snapshot[type_].by_name.keys()) + len(sub.claim.by_name.keys() - snapshot[type_].by_name.keys())
        for type_, sub in state.subscriptions.items()
    )


def _rest(state: StreamState, siblings: Beside) -> Rest:
    return Rest(state, settled=not state.outstanding and not together(state, siblings).warming)
