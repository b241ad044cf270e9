"""One stream of one Envoy, from its first request to its end: one task reads, one loop writes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import grpc
from google.protobuf.message import DecodeError

from xds.admin.metrics import Metrics
from xds.cache import Snapshots, UnknownGroupError
from xds.snapshot import ResourceType, Snapshot
from xds.stream.node import Node
from xds.stream.refusals import rejected
from xds.stream.responses import Responses
from xds.stream.services import Service
from xds.stream.siblings import Beside, beside, changed_clusters, next_update_beside, owing, together
from xds.stream.state import Request, StreamState, Variant
from xds.stream.subscription import Batch
from xds.stream.update import Step, Update
from xds.translate.group import PlacementError

OPENING = 15.0
"""Seconds that a client has for naming the types it wants; Envoy names them all at once."""
DETAIL = 500
"""Characters of a refusal's reason that are kept: an Envoy may quote the whole resource."""
DOUBTFUL = 10_000
"""Nodes that are remembered: an id is the client's own word."""
SMALL = 48 << 10
"""Bytes of a request that is worth remembering decoded: more than a thousand names, less than an Envoy's node."""

TYPES = {str(type_): type_ for type_ in ResourceType}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Framing:
    """How a variant writes requests and responses."""

    variant: Variant
    decoded: Callable[[bytes], Request]
    received: Callable[[StreamState, ResourceType, Request], StreamState]
    encoded: Callable[[Update], bytes]


@lru_cache(512)
def _decoded(framing: Framing, raw: bytes) -> Request:
    """Nonces name contents, so the acknowledgement of a change comes in the same bytes from every stream."""
    return framing.decoded(raw)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the streams of a server share."""

    snapshots: Snapshots
    responses: Responses
    nodes: Nodes
    metrics: Metrics
    pushed: Callable[[Connection], None]
    """Called when a response has been handed to the transport."""
    settled: Callable[[Connection], None]
    """Called when there is nothing more to send and nothing to wait for."""
    unknown_type: Callable[[Node, str], None]
    doubtful: set[tuple[str, str]]
    """Service and id of nodes that refuse something there, or did when their last stream of it ended."""


class Refused(Exception):  # noqa: N818  (not a fault of ours: the stream is ended with this reason)
    def __init__(self, code: grpc.StatusCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Nodes:
    """The streams of each node, in the order of their first requests."""

    def __init__(self) -> None:
        self._streams: dict[Node, tuple[Connection, ...]] = {}

    def __iter__(self) -> Iterator[tuple[Node, Connection]]:
        return ((node, stream) for node, streams in self._streams.items() for stream in streams)

    def join(self, node: Node, stream: Connection) -> None:
        self._streams[node] = (*self._streams.get(node, ()), stream)

    def leave(self, node: Node, stream: Connection) -> None:
        others = tuple(other for other in self._streams.get(node, ()) if other is not stream)
        self._streams[node] = others
        if not others:
            del self._streams[node]

    def siblings(self, node: Node, stream: Connection) -> tuple[Connection, ...]:
        streams = self._streams.get(node, ())
        return () if len(streams) == 1 else tuple(other for other in streams if other is not stream)


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
        self.state = StreamState(framing.variant, separate=service.type is not None)
        self._framing, self._context, self._around = framing, context, around
        self._snapshot: Snapshot | None = None
        self._wake = asyncio.Event()
        self._ended = False
        self._refusal: Refused | None = None

    def wake(self) -> None:
        self._wake.set()

    @property
    def beside(self) -> Beside:
        return beside(self.state, (other.state for other in self._siblings()))

    def _siblings(self) -> tuple[Connection, ...]:
        return () if self.node is None else self._around.nodes.siblings(self.node, self)

    def _moved(self) -> None:
        """Siblings may have waited for that."""
        for other in self._siblings():
            other.wake()

    def end(self) -> None:
        self._ended = True
        self._wake.set()

    async def run(self) -> None:
        reader = asyncio.create_task(self._read())
        timer = asyncio.get_running_loop().call_later(OPENING, self._opened)
        try:
            await self._write()
        except Refused as refusal:
            self._around.metrics.stream_refused(refusal.code.name)
            log.warning("stream refused peer=%s reason=%s", self._context.peer(), refusal)
            await self._context.abort(refusal.code, str(refusal))
        finally:
            timer.cancel()
            reader.cancel()
            self._leave()

    def _opened(self) -> None:
        self.state = self.state.opened()
        self._wake.set()

    def _leave(self) -> None:
        if self.node is None:
            return
        self._moved()
        self._around.nodes.leave(self.node, self)
        log.info("stream closed node=%s group=%s", self.node.id, self.node.group.name)

    async def _write(self) -> None:
        """Sends what is newest when the transport is ready for it, so a slow reader misses what lies between."""
        while not self._ended:
            self._wake.clear()
            if self._refusal is not None:
                raise self._refusal
            if (step := self._step()) is not None:
                update, self.state = step
                self._moved()
                await self._send(update)
                continue
            if not self.state.outstanding and not together(self.state, self.beside).warming:
                self._around.settled(self)
            await self._wake.wait()

    def _step(self) -> Step | None:
        snapshot = self._current()
        if snapshot is None:
            return None
        self.state = self.state.resolved(snapshot, self._around.snapshots.known)
        return next_update_beside(self.state, self.beside, snapshot)

    def _current(self) -> Snapshot | None:
        if self.node is None:
            return None
        try:
            self._snapshot = self._around.snapshots.get(self.node.group)
        except UnknownGroupError as unknown:
            # A group that was served and is no longer in the policy: its Envoys keep what they have.
            if self._snapshot is None:
                reason = f"X105 node {self.node.id}: group '{self.node.group.name}' is unknown"
                raise Refused(grpc.StatusCode.PERMISSION_DENIED, reason) from unknown
        except PlacementError as problem:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, f"X105 node {self.node.id}: {problem}") from problem
        return self._snapshot

    async def _send(self, update: Update) -> None:
        response = self._around.responses.encoded(self._framing.variant, update, self._framing.encoded)
        await self._context.write(response)
        self._around.metrics.pushed(self._framing.variant, update.type, len(response))
        self._around.pushed(self)

    async def _read(self) -> None:
        try:
            while isinstance(raw := await self._context.read(), bytes):  # else it is EOF
                self._receive(self._request(raw))
                self._wake.set()
                self._moved()
            self._ended = True
        except Refused as refusal:
            self._refusal = refusal
        except Exception:
            log.exception("stream failed peer=%s", self._context.peer())
            self._refusal = Refused(grpc.StatusCode.INTERNAL, "a fault of the control server")
        self._wake.set()

    def _request(self, raw: bytes) -> Request:
        try:
            return _decoded(self._framing, raw) if len(raw) <= SMALL else self._framing.decoded(raw)
        except DecodeError as problem:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "not a discovery request") from problem
        except ValueError as problem:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, f"X105 {problem}") from problem

    def _receive(self, request: Request) -> None:
        if self.node is None:
            self.node = self._introduced(request)
            self._around.nodes.join(self.node, self)
        type_ = self._type(self.node, request.type_url)
        if type_ is None:
            self._around.unknown_type(self.node, request.type_url)
            return
        if request.error is not None:
            request = replace(request, error=request.error[:DETAIL] or "no reason given")
        batch = self.state.batch(type_, request.nonce)
        self.state = self._framing.received(self.state, type_, request)
        if batch is not None:
            self._answered(self.node, type_, batch, request.error)
            self._doubt(self.node)
            if changed := changed_clusters(self.state, type_, batch):
                for other in self._siblings():
                    other.state = owing(other.state, changed)

    def _type(self, node: Node, type_url: str) -> ResourceType | None:
        """`None` for one that is never answered. A separate service implies its type, and carries no other.

        https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#resource-types
        """
        implied = self.service.type
        if implied is not None and type_url not in ("", implied):
            reason = f"X105 node {node.id}: {self.service.label} carries {implied} and not {type_url[:DETAIL]}"
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, reason)
        return implied or TYPES.get(type_url)

    def _introduced(self, request: Request) -> Node:
        """Who the client is; it says so in its first request only."""
        node = request.node
        if node is None or not node.id or not node.group.name:
            reason = "X105 the first request must name its node: an id, and its group as cluster"
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, reason)
        variant = self.state.variant
        log.info("stream opened node=%s group=%s variant=%s", node.id, node.group.name, variant)
        if (self.service.label, node.id) in self._around.doubtful:
            self._around.doubtful.discard((self.service.label, node.id))
            self.state = replace(self.state, believed=False)
        return node

    def _doubt(self, node: Node) -> None:
        """At once, and not when the stream ends: a client that was cut off is back before its old stream is known to
        be dead."""
        if not self.state.doubtful:
            self._around.doubtful.discard((self.service.label, node.id))
        elif len(self._around.doubtful) < DOUBTFUL:
            self._around.doubtful.add((self.service.label, node.id))

    def _answered(self, node: Node, type_: ResourceType, batch: Batch, detail: str | None) -> None:
        if detail is None:
            self._around.metrics.accepted(self.state.variant, type_)
            return
        self._around.metrics.rejected(self.state.variant, type_)
        log.warning("%s", rejected(node, type_, batch, detail))
