"""One stream of one Envoy, from its first request to its end: one task reads, one loop writes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import grpc
from google.protobuf.message import DecodeError

from xds.admin.metrics import Metrics
from xds.cache import Snapshots, UnknownGroupError
from xds.hangup import hang_up
from xds.snapshot import ResourceType, Snapshot
from xds.stream.identity import identity, may_ask
from xds.stream.limits import SILENT, ExcessError
from xds.stream.node import Node, stated
from xds.stream.refusals import rejected
from xds.stream.services import Service
from xds.stream.siblings import Beside, beside, changed_clusters, owing
from xds.stream.state import DETAIL, StreamState
from xds.stream.subscription import Batch
from xds.stream.taking import REASON, Taking, until_cancelled
from xds.stream.transitions import Framing, Received, Sent, Transitions
from xds.stream.update import MOST
from xds.translate.group import PlacementError

OPENING = 15.0
"""Seconds that a client has for naming the types it wants; Envoy names them all at once."""
WARMING = 600.0
"""Seconds in which a client that is back may have clusters that are not warm: an instance that is silent at its first
health check has the check's timeout for it."""
STOPPING = "the control server is stopping"
LAST_WORDS = 1.0
"""Seconds in which a client can read why its stream ended, before the connection does."""
A_WHILE = 3600.0
"""Seconds after which the time of day is looked at again: it is not this machine's monotonic clock."""
MOST_OF_NODE = 64
"""Streams of one node that heed each other; it has six services at most, and some of its streams may be dead."""
DOUBTFUL = 10_000
"""Nodes that are remembered: an id is the client's own word."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the streams of a server share."""

    snapshots: Snapshots
    transitions: Transitions
    nodes: Nodes
    metrics: Metrics
    clock: Callable[[], float]
    """Seconds since 1970."""
    served: Callable[[Connection], None]
    """Called when the transport has taken a stream's first response."""
    pushed: Callable[[Connection, ResourceType, int, float, float], None]
    """Called when the transport has taken a response: its bytes, when it was given it, and when it had it."""
    answered: Callable[[Connection, ResourceType, bool, float], None]
    """Called when a response has been answered: whether it was refused, and when."""
    settled: Callable[[Connection], None]
    """Called when there is nothing more to send and nothing to wait for."""
    turned_away: Callable[[str, str], None]
    """Called with the client and the reason when a stream is ended for one."""
    unknown_type: Callable[[Node, str], None]
    introduced: Callable[[Connection], None]
    """Called when a client has said who it is."""
    doubtful: set[tuple[str, str]]
    """Service and id of nodes that refuse something there, or did when their last stream of it ended."""


class Refused(Exception):  # noqa: N818  (not a fault of ours: the stream is ended with this reason)
    def __init__(self, code: grpc.StatusCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(slots=True)
class OfNode:
    """The streams of one node."""

    streams: list[Connection] = field(default_factory=list)
    """In the order of their first requests."""
    separate: int = 0
    """How many of them are of a separate service."""

    def siblings(self, stream: Connection) -> list[Connection]:
        """Two aggregated streams are none: they carry the same, and many Envoys may be given one id by mistake."""
        if not self.separate or len(self.streams) == 1:
            return []
        apart = stream.service.type is not None
        return [other for other in self.streams if other is not stream and (apart or other.service.type is not None)]


class Nodes:
    def __init__(self) -> None:
        self._nodes: dict[Node, OfNode] = {}

    def __iter__(self) -> Iterator[tuple[Node, Connection]]:
        return ((node, stream) for node, those in self._nodes.items() for stream in those.streams)

    def __contains__(self, node: Node) -> bool:
        return node in self._nodes

    def join(self, node: Node, stream: Connection) -> OfNode:
        """All streams of `node`, those too that are opened later. Raises Refused when they are too many."""
        found = self._nodes.setdefault(node, OfNode())
        heeding = found.separate or stream.service.type is not None
        if heeding and len(found.streams) >= MOST_OF_NODE:
            reason = f"X105 node {node.id}: it has {MOST_OF_NODE} streams open, and may have no more"
            raise Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, reason)
        found.streams.append(stream)
        found.separate += stream.service.type is not None
        return found

    def leave(self, node: Node, stream: Connection) -> None:
        found = self._nodes[node]
        found.streams.remove(stream)
        found.separate -= stream.service.type is not None
        if not found.streams:
            del self._nodes[node]


class Connection:
    def __init__(
        self,
        service: Service,
        framing: Framing,
        context: grpc.aio.ServicerContext[bytes, bytes],
        around: Surroundings,
    ) -> None:
        self.service = service
        self.node: Node | None = None
        self.identity = identity(context.auth_context())
        self.state = around.transitions.shared(StreamState(framing.variant, only=service.type))
        self._framing, self._context, self._around = framing, context, around
        self._of_node = OfNode()
        self._snapshot: Snapshot | None = None
        self._edition = 0
        self._given: dict[tuple[ResourceType, str], float] = {}
        """When each response that is not answered was given to the transport, by type and nonce."""
        self._asleep: asyncio.Future[None] | None = None
        self._served = False
        self._ended = False
        self._sent_away = False
        self._refusal: Refused | None = None
        self._expiry: tuple[asyncio.TimerHandle, ...] = ()
        self._opening: asyncio.TimerHandle | None = None

    def wake(self) -> None:
        """Whoever is awake looks for something to send before it sleeps again."""
        if self._asleep is not None and not self._asleep.done():
            self._asleep.set_result(None)

    @property
    def beside(self) -> Beside:
        siblings = self._siblings()
        return beside(self.state, (other.state for other in siblings)) if siblings else {}

    def _siblings(self) -> list[Connection]:
        return self._of_node.siblings(self)

    def _moved(self) -> None:
        """Siblings may have waited for that."""
        if self._of_node.separate:
            for other in self._siblings():
                other.wake()

    def end(self) -> None:
        """Its client is to look for another server."""
        self._ended = self._sent_away = True
        self.wake()

    async def run(self) -> None:
        reader = asyncio.create_task(self._read())
        loop = asyncio.get_running_loop()
        self._open()
        timers = (loop.call_later(WARMING, self._warmed), loop.call_later(SILENT, self._heard_nothing))
        self._look_at_certificate()
        taking = Taking(self._context.peer(), self._stalled)
        try:
            await self._write(taking)
            if self._sent_away:
                self._last_words(grpc.StatusCode.UNAVAILABLE, STOPPING)
        except grpc.aio.InternalError:  # it could not write: the client is gone
            await until_cancelled()
        except Refused as refusal:
            self._told(refusal.code, str(refusal))
            self._last_words(refusal.code, str(refusal))
        finally:
            for timer in (*timers, *self._expiry, self._opening):
                if timer is not None:
                    timer.cancel()
            taking.close()
            reader.cancel()
            self._leave()
            self._refusal = None  # its traceback leads back here

    def refuse(self, code: grpc.StatusCode, reason: str) -> None:
        self._refusal = self._refusal or Refused(code, reason)
        self.wake()

    def _told(self, code: grpc.StatusCode, reason: str) -> None:
        self._around.metrics.stream_refused(code.name)
        log.warning("stream refused peer=%s reason=%s", self._context.peer(), reason)
        self._around.turned_away(self.client, reason)

    @property
    def client(self) -> str:
        """As `turned_away` lists it. A peer without its port, which is another one at each attempt."""
        known = self.node or self.identity
        return str(known) if known else self._context.peer().rpartition(":")[0]

    def _stalled(self) -> None:
        self._told(grpc.StatusCode.DEADLINE_EXCEEDED, REASON)

    def _heard_nothing(self) -> None:
        if self.node is None:
            self.refuse(grpc.StatusCode.DEADLINE_EXCEEDED, f"X105 no request within {SILENT:.0f} s")

    def _look_at_certificate(self) -> None:
        """Nobody else ends the stream of a certificate that has expired: TLS looks at it once, and Envoy never."""
        if self.identity is None:
            return
        loop = asyncio.get_running_loop()
        left = self.identity.not_after - self._around.clock()
        if left > 0:
            self._expiry = (loop.call_later(min(left, A_WHILE), self._look_at_certificate),)
            return
        self.refuse(grpc.StatusCode.UNAUTHENTICATED, f"X105 the certificate of {self.identity} has expired")
        # Its next stream would be on this connection, and so with this certificate.
        loop.call_later(LAST_WORDS, hang_up, self._context.peer())

    def _open(self) -> None:
        self._opening = asyncio.get_running_loop().call_later(OPENING, self._opened)

    def _opened(self) -> None:
        self.become(self.state.opened())
        self.wake()

    def _warmed(self) -> None:
        self.become(self.state.warmed())
        self.wake()

    def await_sibling(self) -> None:
        """One has ended, and its client, which has what it was sent there, may be about to open another."""
        if self._opening is not None and not self._ended:
            self._opening.cancel()
            self.become(self.state.reopened())
            self._open()

    def become(self, state: StreamState) -> None:
        self.state = self._around.transitions.shared(state)

    def _leave(self) -> None:
        if self.node is None:
            return
        if self._of_node.separate:
            for other in self._siblings():
                other.await_sibling()
        self._moved()
        self._around.nodes.leave(self.node, self)
        log.info("stream closed node=%s group=%s", self.node.id, self.node.group.name)

    def _last_words(self, code: grpc.StatusCode, reason: str) -> None:
        """How the stream ends. Not by `abort`: its exception has the call in a cycle, so that what the client has sent
        and nobody has read would stay until Python looks for garbage, and many such clients may come until then."""
        self._context.set_code(code)
        self._context.set_details(reason)

    async def _write(self, taking: Taking) -> None:
        """Sends what is newest when the transport is ready for it, so a slow reader misses what lies between."""
        while not self._ended:
            if self._refusal is not None:
                raise self._refusal
            if (sent := self._next()) is None:
                self._asleep = asyncio.get_running_loop().create_future()
                await self._asleep
                continue
            self.state = sent.state
            self._moved()
            await self._send(sent, taking)

    async def _send(self, sent: Sent, taking: Taking) -> None:
        began, size = self._around.clock(), len(sent.response)
        if len(self._given) > MOST * len(ResourceType):
            self._given.clear()  # those that were superseded are never answered
        self._given[sent.type, sent.state.subscriptions[sent.type].nonce] = began
        with taking:
            await self._context.write(sent.response)
        if not self._served:
            self._served = True
            self._around.served(self)
        now = self._around.clock()
        self._around.metrics.pushed(self._framing.variant, sent.type, size, max(0.0, now - began))
        self._around.pushed(self, sent.type, size, began, now)

    def _next(self) -> Sent | None:
        snapshot = self._current()
        if snapshot is None:
            return None
        transitions, known = self._around.transitions, self._around.snapshots.known
        if self._of_node.separate and (siblings := self.beside):
            found = transitions.next_beside(self._framing, self.state, siblings, snapshot, known)
        else:
            found = transitions.next(self._framing, self.state, snapshot, known)
        if isinstance(found, Sent):
            return found
        self.state = found.state
        if found.settled:
            self._around.settled(self)
        return None

    def _current(self) -> Snapshot | None:
        if self.node is None:
            return None
        edition = self._around.snapshots.edition
        if self._edition == edition:
            return self._snapshot
        try:
            self._snapshot = self._around.snapshots.get(self.node.group)
        except UnknownGroupError as unknown:
            # A group that was served and is no longer in the policy: its Envoys keep what they have.
            if self._snapshot is None:
                raise Refused(grpc.StatusCode.PERMISSION_DENIED, f"X105 node {self.node.id}: {unknown}") from unknown
        except PlacementError as problem:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, f"X105 node {self.node.id}: {problem}") from problem
        self._check_identity(self.node)
        self._edition = edition
        return self._snapshot

    def _check_identity(self, node: Node) -> None:
        """Anew for each policy, which says whose namespaces are whose. Raises Refused."""
        fleet = self._around.snapshots.fleet
        if self.identity is not None and fleet is not None and not may_ask(self.identity, node.group.name, fleet):
            reason = f"X105 node {node.id}: group '{node.group.name}' is not for {self.identity}"
            raise Refused(grpc.StatusCode.PERMISSION_DENIED, reason)

    async def _read(self) -> None:
        try:
            while isinstance(raw := await self._context.read(), bytes):  # else it is EOF
                self._receive(raw)
                del raw  # a thousand lists of all names, while nothing is said
                self._moved()
                if self._next() is not None:  # else the loop that writes sleeps on
                    self.wake()
            self._ended = True
        except Refused as refusal:
            # Without its traceback, which holds the request and all that was made of it.
            self._refusal = Refused(refusal.code, str(refusal))
        except grpc.aio.InternalError:  # the client is gone
            self._ended = True
        except Exception:
            log.exception("stream failed peer=%s", self._context.peer())
            self._refusal = Refused(grpc.StatusCode.INTERNAL, "a fault of the control server")
        self.wake()

    def _receive(self, raw: bytes) -> None:
        framing, transitions = self._framing, self._around.transitions
        try:
            if self.node is None:
                message = framing.parsed(raw)
                request, node = framing.as_request(message), self._introduced(stated(message.node))
                self._of_node = self._around.nodes.join(node, self)
                self.node = node
                self._around.introduced(self)
                received = transitions.asked(framing, self.state, request)
            else:
                received = transitions.received(framing, self.state, raw)
        except DecodeError as problem:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "not a discovery request") from problem
        except ExcessError as problem:
            raise Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, f"X105 {problem}") from problem
        except ValueError as problem:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, f"X105 {problem}") from problem
        if not isinstance(received, Received):
            self._not_carried(self.node, received.type_url)
            return
        self.state = received.state
        if received.answers is not None:
            self._answered(self.node, received.type, received.answers, received.request.error)
            self._doubt(self.node, received.doubtful)
            for other in self._siblings():
                if changed := changed_clusters(self.state, received.type, received.answers):
                    other.become(owing(other.state, changed))

    def _not_carried(self, node: Node, type_url: str) -> None:
        """An aggregated stream may carry types that we do not have; a separate one has a single type.

        https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#resource-types
        """
        if self.service.type is not None:
            reason = (
                f"X105 node {node.id}: {self.service.label} carries {self.service.type} and not {type_url[:DETAIL]}"
            )
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, reason)
        if not type_url:
            reason = f"X105 node {node.id}: {self.service.label} carries every type, so a request must name its own"
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, reason)
        self._around.unknown_type(node, type_url)

    def _introduced(self, node: Node | None) -> Node:
        """Who the client is; it need say so in its first request only."""
        if node is None or not node.id or not node.group.name:
            reason = "X105 the first request must name its node: an id, and its group as cluster"
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, reason)
        if self.identity is not None:
            node = replace(node, identity=str(self.identity))
        variant = self.state.variant
        log.info("stream opened node=%s group=%s variant=%s", node.id, node.group.name, variant)
        if (self.service.label, node.id) in self._around.doubtful:
            self._around.doubtful.discard((self.service.label, node.id))
            self.become(replace(self.state, believed=False))
        return node

    def _doubt(self, node: Node, doubtful: bool) -> None:
        """At once, and not when the stream ends: a client that was cut off is back before its old stream is known to
        be dead."""
        if not doubtful:
            self._around.doubtful.discard((self.service.label, node.id))
        elif len(self._around.doubtful) < DOUBTFUL:
            self._around.doubtful.add((self.service.label, node.id))

    def _answered(self, node: Node, type_: ResourceType, batch: Batch, detail: str | None) -> None:
        now, refused = self._around.clock(), detail is not None
        seconds = max(0.0, now - self._given.pop((type_, batch.nonce), now))
        self._around.metrics.answered(self.state.variant, type_, seconds, refused=refused)
        self._around.answered(self, type_, refused, now)
        if detail is None:
            return
        wanted = None if self._snapshot is None else self._snapshot[type_]
        said, fields = rejected(node, type_, batch, detail, wanted, self._around.snapshots.commit)
        log.warning("%s", said, extra={"fields": fields})
