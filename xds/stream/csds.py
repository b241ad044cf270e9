"""The client status discovery service on grpc.aio: what each Envoy was sent, has accepted and refuses."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from functools import partial

import grpc
from envoy.service.status.v3 import csds_pb2
from google.protobuf.message import DecodeError

from xds.cache import Snapshots, UnknownGroupError
from xds.snapshot import Snapshot
from xds.stream.client_status import Redacted, Stream, client_config, clients
from xds.stream.identity import Identity, identity, may_ask
from xds.stream.node_matchers import any_of
from xds.stream.peer import Peer
from xds.stream.taking import REASON, Taking, until_cancelled
from xds.translate.group import Group, PlacementError

SERVICE = "envoy.service.status.v3.ClientStatusDiscoveryService"
MOST_BYTES = 32 << 20
"""Of an answer: one Envoy with some thousands of resources and their contents, or the names of hundreds of them."""

UNTAKEN_BYTES = 2 * MOST_BYTES
"""Of answers that clients have not taken yet, all together."""

log = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[bytes, bytes]
Refusal = tuple[grpc.StatusCode, str]


class ClientStatus:
    def __init__(
        self,
        peers: Callable[[], tuple[Peer, ...]],
        snapshots: Snapshots,
        turned_away: Callable[[str, str], None],
    ) -> None:
        """`peers` gives all open streams, by node and each node's in the order of their first requests.

        `turned_away` is called with a client and the reason when it is hung up on.
        """
        self._peers, self._snapshots, self._turned_away = peers, snapshots, turned_away
        self._one_at_a_time = asyncio.Lock()
        self._untaken = 0

    def handlers(self) -> grpc.GenericRpcHandler:
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "StreamClientStatus": grpc.stream_stream_rpc_method_handler(self._stream),
                # On the wire the same as a unary one, which would not know when its answer has been taken.
                "FetchClientStatus": grpc.unary_stream_rpc_method_handler(self._tell),
            },
        )

    async def _stream(self, _: object, context: Context) -> None:
        """One answer to each request."""
        while isinstance(request := await context.read(), bytes):  # else it is EOF
            if not await self._tell(request, context):
                return

    async def _tell(self, request: bytes, context: Context) -> bool:
        """Whether the client has been given an answer, and not a reason for none."""
        answer = await self._answer(request, context)
        if isinstance(answer, bytes) and self._untaken + len(answer) > UNTAKEN_BYTES:
            answer = grpc.StatusCode.RESOURCE_EXHAUSTED, "others have not taken their answers yet: ask again later"
        if not isinstance(answer, bytes):
            # `abort` would keep the request until the next collection
            context.set_code(answer[0])
            context.set_details(answer[1])
            return False
        taking = Taking(context.peer(), partial(self._stalled, context))
        self._untaken += len(answer)
        try:
            with taking:
                await context.write(answer)
        except grpc.aio.InternalError:  # the client is gone
            await until_cancelled()
            return False
        finally:
            taking.close()
            self._untaken -= len(answer)
        return True

    def _stalled(self, context: Context) -> None:
        who, peer = identity(context.auth_context()), context.peer()
        log.warning("client status call refused peer=%s reason=%s", peer, REASON)
        self._turned_away(str(who or peer.rpartition(":")[0]), REASON)

    async def _answer(self, raw: bytes, context: Context) -> bytes | Refusal:
        """Made in another thread, from values: streams are served meanwhile."""
        who = identity(context.auth_context())
        async with self._one_at_a_time:
            streams = [(peer, self._current(peer.node.group)) for peer in self._peers() if self._may_see(who, peer)]
            return await asyncio.to_thread(_answer, raw, streams)

    def _may_see(self, who: Identity | None, peer: Peer) -> bool:
        """What an identity may not ask for it is not shown here either."""
        fleet = self._snapshots.fleet
        return who is None or (fleet is not None and may_ask(who, peer.node.group.name, fleet))

    def _current(self, group: Group) -> Snapshot | None:
        try:
            return self._snapshots.get(group)
        except (UnknownGroupError, PlacementError):
            return None


def _answer(raw: bytes, streams: Iterable[Stream]) -> bytes | Refusal:
    try:
        request = csds_pb2.ClientStatusRequest.FromString(raw)
        matches = any_of(request.node_matchers)
    except DecodeError:
        return grpc.StatusCode.INVALID_ARGUMENT, "not a client status request"
    except ValueError as problem:
        return grpc.StatusCode.INVALID_ARGUMENT, str(problem)
    contents = None if request.exclude_resource_contents else Redacted()
    response, size = csds_pb2.ClientStatusResponse(), 0
    for client in clients(streams, matches):
        config = client_config(client, contents)
        size += config.ByteSize()
        if size > MOST_BYTES:
            return grpc.StatusCode.RESOURCE_EXHAUSTED, _too_much(shown=contents is not None)
        response.config.append(config)
    return bytes(response.SerializeToString())


def _too_much(*, shown: bool) -> str:
    hint = "set exclude_resource_contents, or ask for fewer Envoys" if shown else "ask for fewer Envoys"
    return f"the answer would have more than {MOST_BYTES >> 20} MiB: {hint} with node_matchers"
