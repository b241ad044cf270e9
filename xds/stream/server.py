"""The discovery services on grpc.aio, the streams they have open, and how these stand."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial

import grpc

from xds.admin.metrics import Metrics
from xds.cache import Snapshots
from xds.progress import Progress
from xds.snapshot import ResourceType
from xds.spans import Outcome, Trace, served, untraced
from xds.stages import Cause
from xds.stream import delta, sotw
from xds.stream.admission import MOST_SILENT, Admission, FullError
from xds.stream.connection import Connection, Nodes, Surroundings
from xds.stream.csds import ClientStatus
from xds.stream.departed import Departed, Departures
from xds.stream.node import Node
from xds.stream.peer import Peer
from xds.stream.services import SERVICES, Service
from xds.stream.state import Variant
from xds.stream.transitions import Framing, Transitions
from xds.stream.turned_away import Doorkeeper, TurnedAway

FRAMINGS = (
    Framing(Variant.SOTW, sotw.parsed, sotw.as_request, sotw.received, sotw.encoded),
    Framing(Variant.DELTA, delta.parsed, delta.as_request, delta.received, delta.encoded),
)
OPTIONS = (
    ("grpc.so_reuseport", 0),  # else a second server on the port takes half of the Envoys, and no one notices
    ("grpc.max_concurrent_streams", 128),  # of a connection; an Envoy has six at most
    ("grpc.max_receive_message_length", 1 << 20),  # what NAMES and NODE_BYTES come to
    ("grpc.max_metadata_size", 8 << 10),
    ("grpc.absolute_max_metadata_size", 16 << 10),
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.max_connection_idle_ms", 30_000),  # without a stream
    ("grpc.max_allowed_incoming_connections", 10_000),
    ("grpc.max_send_message_length", -1),
    # A connection keeps the block that it reads into until it is full. By default that is 64 KiB for an acknowledgement
    # that lists a thousand names, for each of a thousand Envoys.
    ("grpc.experimental.tcp_max_read_buffer_size", 8 << 10),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),  # else a client that answers no ping is let go after a minute only
    ("grpc.keepalive_permit_without_calls", 1),
    # Envoys ping every few seconds; the default takes that for an attack and hangs up.
    ("grpc.http2.min_ping_interval_without_data_ms", 500),
    ("grpc.http2.max_ping_strikes", 0),
    # Envoys find each other's server again after a restart: whoever stayed alone has all of them. gRPC adds a tenth of
    # jitter, so that they do not come together; one that comes is sent nothing that it has already.
    ("grpc.max_connection_age_ms", 30 * 60_000),
    ("grpc.max_connection_age_grace_ms", 5_000),
)
UNKNOWN_TYPES_LOGGED = 100
SAVED = 100
"""Changes that are waited for at the same time; of more the newest."""
GRACE = 2.0
"""Seconds in which a stream that is ended has to go."""
APART = 0.2
"""Seconds between two Envoys that are sent away, at most: few need not take all the time there is."""

log = logging.getLogger(__name__)


class Server:
    """Call `publish` after a change of `snapshots`."""

    def __init__(
        self,
        snapshots: Snapshots,
        metrics: Metrics,
        clock: Callable[[], float] = time.time,
        trace: Callable[[Trace], None] = untraced,
    ) -> None:
        """`trace` is told of each change when it is over."""
        self._metrics, self._clock, self._trace = metrics, clock, trace
        self._connections: set[Connection] = set()
        self._doorkeeper, self._departures = Doorkeeper(), Departures()
        self._admission = Admission[Connection]()
        self._unknown_types: set[str] = set()
        self._progress: Progress[Connection] = Progress.among((), Cause("start", clock()), clock())
        self._saved: deque[float] = deque(maxlen=SAVED)
        """When the changes were saved that not every Envoy has yet; of those that no Envoy needed, none."""
        self._around = Surroundings(
            snapshots,
            Transitions(lambda: snapshots.commit),
            Nodes(),
            metrics,
            clock,
            self._served,
            self._pushed,
            self._answered,
            self._settled,
            self._turned_away,
            self._unknown_type,
            self._admission.spoke,
            doubtful=set(),
        )
        self._server = grpc.aio.server(options=OPTIONS)
        status = ClientStatus(self.peers, snapshots, self._turned_away)
        self._server.add_generic_rpc_handlers((*map(self._handlers, SERVICES), status.handlers()))

    async def start(self, host: str, port: int, credentials: grpc.ServerCredentials | None = None) -> int:
        """The port it listens on, which is chosen when `port` is 0. Raises OSError when it cannot be had.

        Without `credentials` there is no TLS, and every client may ask for every group.
        """
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            if credentials is None:
                bound = self._server.add_insecure_port(address)
            else:
                bound = self._server.add_secure_port(address, credentials)
        except RuntimeError as problem:
            raise OSError(f"cannot listen on {host} port {port}") from problem
        await self._server.start()
        return bound

    async def drain(self, seconds: float) -> None:
        """Takes no new streams, and ends the open ones within `seconds`, Envoy by Envoy, so that they do not all come
        to another server at once. Meanwhile those that are left are served as ever."""
        # To each connection it says GOAWAY, so that nobody comes back on one; and the port is free at once for the
        # server that comes after this one.
        going = asyncio.create_task(self._server.stop(seconds + GRACE))
        leaving = by_node(self._connections)
        for streams in leaving:
            await asyncio.sleep(min(APART, seconds / len(leaving)))
            for stream in streams:
                stream.end()
        await going

    async def stop(self, grace: float = GRACE) -> None:
        """Ends all streams; Envoys keep what they have and look for another server, or for this one."""
        for connection in tuple(self._connections):
            connection.end()
        await self._server.stop(grace)

    def publish(self, cause: Cause) -> None:
        """Streams are sent what has changed."""
        self._around.transitions.turn()
        if not self._progress.over:
            self._over(Outcome.SUPERSEDED)
        self._progress = Progress.among(self._connections, cause, self._clock())
        if self._progress.over:
            self._over(Outcome.CONVERGED)
        for connection in self._connections:
            connection.wake()

    def peers(self) -> tuple[Peer, ...]:
        """By node, and each node's in the order of their first requests."""
        found = (Peer(node, stream.state, stream.service, stream.beside) for node, stream in self._around.nodes)
        return tuple(sorted(found, key=lambda peer: peer.node.id))

    def _handlers(self, service: Service) -> grpc.GenericRpcHandler:
        methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            service.method(framing.variant): grpc.stream_stream_rpc_method_handler(
                partial(self._stream, service, framing)
            )
            for framing in FRAMINGS
        }
        return grpc.method_handlers_generic_handler(service.name, methods)

    async def _stream(
        self, service: Service, framing: Framing, _: object, context: grpc.aio.ServicerContext[bytes, bytes]
    ) -> None:
        connection = Connection(service, framing, context, self._around)
        identity = str(connection.identity or "")
        try:
            crowded_out = self._admission.open(connection, identity, time.monotonic())
        except FullError as full:
            self._metrics.stream_refused(grpc.StatusCode.RESOURCE_EXHAUSTED.name)
            self._turned_away(connection.client, str(full))
            # `abort` would keep the stream until the next collection
            context.set_code(grpc.StatusCode.RESOURCE_EXHAUSTED)
            context.set_details(str(full))
            return
        if crowded_out is not None:
            crowded_out.refuse(grpc.StatusCode.RESOURCE_EXHAUSTED, f"X105 no request, and {MOST_SILENT} like it")
        self._connections.add(connection)
        self._metrics.stream_opened(framing.variant)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)
            self._admission.close(connection, identity)
            self._metrics.stream_closed(framing.variant)
            self._settled(connection)
            self._left(connection)

    def departed(self) -> tuple[Departed, ...]:
        """Envoys that had something and have no stream any more."""
        return self._departures.listed({node.id for node, _ in self._around.nodes}, self._clock())

    def _left(self, connection: Connection) -> None:
        node, had = connection.node, any(sub.acknowledged for sub in connection.state.subscriptions.values())
        if node is not None and had and node not in self._around.nodes:
            self._departures.left(node, self._clock())

    def turned_away(self) -> tuple[TurnedAway, ...]:
        """Clients that are not served, and why."""
        return self._doorkeeper.listed(self._clock())

    def _turned_away(self, client: str, reason: str) -> None:
        self._doorkeeper.turned_away(client, reason, self._clock())

    def _served(self, connection: Connection) -> None:
        self._doorkeeper.served(connection.client)
        self._doorkeeper.served(str(connection.identity))  # which it was before it had named its node

    def _pushed(self, connection: Connection, type_: ResourceType, size: int, began: float, now: float) -> None:
        progress = self._progress
        unsent = not progress.pushes
        if progress.sent(connection, type_, size, began, now):
            self._metrics.first_push(max(0.0, now - progress.cause.saved_at))
            if unsent:
                self._saved.append(progress.cause.saved_at)

    def _answered(self, connection: Connection, type_: ResourceType, refused: bool, now: float) -> None:
        self._progress.answered(connection, type_, now, refused=refused)

    def _settled(self, connection: Connection) -> None:
        if self._progress.settled(connection):
            self._over(Outcome.CONVERGED)

    def _over(self, outcome: Outcome) -> None:
        """Who has what is newest has all that came before it, too."""
        now, last = self._clock(), self._progress.last
        if outcome is Outcome.CONVERGED:
            for saved_at in self._saved:
                self._metrics.converged(max(0.0, now - saved_at))
            self._saved.clear()
        node = None if last is None else last.node
        slowest = {} if node is None else {"turnout.last_node": node.id, "turnout.last_group": node.group.name}
        self._trace(served(self._progress, now, outcome, slowest))

    def _unknown_type(self, node: Node, type_url: str) -> None:
        self._metrics.unknown_type()
        if type_url not in self._unknown_types and len(self._unknown_types) < UNKNOWN_TYPES_LOGGED:
            self._unknown_types.add(type_url)
            log.warning("unknown type is never answered type=%r node=%s", type_url[:200], node.id)


def by_node(connections: Iterable[Connection]) -> list[list[Connection]]:
    """The streams of one node go together: they are served in one order."""
    found: dict[object, list[Connection]] = {}
    for connection in connections:
        found.setdefault(connection.node or connection, []).append(connection)
    return list(found.values())
