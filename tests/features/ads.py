"""A gRPC client of either variant of the discovery services: ADS, or one that implies its type."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm
from envoy.service.discovery.v3 import discovery_pb2
from envoy.service.runtime.v3 import rtds_pb2

from tests.features.served import DEADLINE
from xds.snapshot import ResourceType
from xds.stream.services import ADS, Service
from xds.stream.state import Variant

NARROW = (
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 1024),
    ("grpc.use_local_subchannel_pool", 1),
)
"""Options of a channel that takes some kilobytes, and no more before somebody reads."""
RUNTIME, CLUSTER, ENDPOINT, LISTENER, ROUTE = (
    ResourceType.RUNTIME,
    ResourceType.CLUSTER,
    ResourceType.ENDPOINT,
    ResourceType.LISTENER,
    ResourceType.ROUTE,
)
MESSAGES = {
    RUNTIME: rtds_pb2.Runtime,
    CLUSTER: cluster_pb2.Cluster,
    ENDPOINT: endpoint_pb2.ClusterLoadAssignment,
    LISTENER: listener_pb2.Listener,
    ROUTE: route_pb2.RouteConfiguration,
}


@dataclass(frozen=True)
class Answer:
    type: ResourceType
    resources: Mapping[str, Any]
    """Messages by name."""
    removed: tuple[str, ...]
    version: str
    nonce: str
    raw: bytes
    versions: Mapping[str, str]
    """Of each resource; delta only."""

    @property
    def names(self) -> set[str]:
        return set(self.resources)


class Stream:
    def __init__(self, variant: Variant, call: Any, node: Mapping[str, Any] | None, implied: bool = False) -> None:
        """With `implied` requests leave their type out: the service says it."""
        self.variant, self._call, self._node, self._implied = variant, call, node, implied
        self.names: dict[str, set[str]] = {}
        self._last: dict[str, Answer] = {}

    async def ask(
        self,
        type_: str,
        *names: str,
        version: str = "",
        versions: Mapping[str, str] | None = None,
        nonce: str | None = None,
    ) -> None:
        """Wants `names` too."""
        wanted = self.names.setdefault(type_, set())
        wanted.update(names)
        last = self._last.get(type_)
        if self.variant is Variant.SOTW:
            used = nonce if nonce is not None else (last.nonce if last else "")
            reported = version or (last.version if last else "")
            request: Any = discovery_pb2.DiscoveryRequest(
                type_url=type_, resource_names=sorted(wanted), response_nonce=used, version_info=reported
            )
        else:
            request = discovery_pb2.DeltaDiscoveryRequest(
                type_url=type_, resource_names_subscribe=names, response_nonce=nonce or ""
            )
            request.initial_resource_versions.update(versions or {})
        await self._send(request)

    async def drop(self, type_: str, *names: str) -> None:
        self.names[type_] -= set(names)
        if self.variant is Variant.SOTW:
            await self.ask(type_)
        else:
            await self._send(discovery_pb2.DeltaDiscoveryRequest(type_url=type_, resource_names_unsubscribe=names))

    async def read(self) -> Answer:
        raw = await asyncio.wait_for(self._call.read(), DEADLINE)
        assert isinstance(raw, bytes), "the server has ended the stream"
        answer = _sotw(raw) if self.variant is Variant.SOTW else _delta(raw)
        self._last[answer.type] = answer
        return answer

    async def accept(self, *answers: Answer) -> None:
        for answer in answers:
            await self._answer(answer, None)

    async def refuse(self, answer: Answer, reason: str) -> None:
        await self._answer(answer, reason)

    async def accepted(self) -> Answer:
        """The next answer, and it is accepted."""
        answer = await self.read()
        await self.accept(answer)
        return answer

    async def synced(self, clusters: Iterable[str] | None = None) -> dict[ResourceType, Answer]:
        """Asks for all types in an Envoy's order; the answers by type."""
        found = {}
        await self.ask(RUNTIME, "turnout")
        found[RUNTIME] = await self.accepted()
        await self.ask(CLUSTER)
        found[CLUSTER] = await self.accepted()
        await self.ask(ENDPOINT, *(found[CLUSTER].names if clusters is None else clusters))
        found[ENDPOINT] = await self.accepted()
        await self.ask(LISTENER)
        found[LISTENER] = await self.accepted()
        await self.ask(ROUTE, *route_names(found[LISTENER]))
        found[ROUTE] = await self.accepted()
        return found

    async def ended(self) -> tuple[grpc.StatusCode, str]:
        """How the server ends the stream; anything it says before that is an error."""
        try:
            said = await asyncio.wait_for(self._call.read(), DEADLINE)
        except grpc.aio.AioRpcError as problem:
            return problem.code(), problem.details() or ""
        assert not isinstance(said, bytes), said
        return await self._call.code(), await self._call.details()

    async def quiet(self) -> None:
        """Nothing is left to be said: runtime layers go first, and what comes between two of them is all there is."""
        for _ in range(2):
            if RUNTIME in self.names:
                await self.drop(RUNTIME, "turnout")
            await self.ask(RUNTIME, "turnout")
            answer = await self.accepted()
            assert answer.type is RUNTIME, answer

    async def request(self, type_: str, **fields: Any) -> None:
        """A request with exactly these fields, and the node where it has not been said."""
        kind = discovery_pb2.DiscoveryRequest if self.variant is Variant.SOTW else discovery_pb2.DeltaDiscoveryRequest
        await self._send(kind(type_url=type_, **fields))

    async def send_raw(self, raw: bytes) -> None:
        await self._call.write(raw)

    async def _answer(self, answer: Answer, error: str | None) -> None:
        if self.variant is Variant.SOTW:
            request: Any = discovery_pb2.DiscoveryRequest(
                type_url=answer.type,
                resource_names=sorted(self.names.get(answer.type, ())),
                response_nonce=answer.nonce,
                version_info=answer.version,
            )
        else:
            request = discovery_pb2.DeltaDiscoveryRequest(type_url=answer.type, response_nonce=answer.nonce)
        if error is not None:
            request.error_detail.message = error
        await self._send(request)

    async def _send(self, request: Any) -> None:
        """Only the first request says who asks."""
        if self._implied:
            request.ClearField("type_url")
        if self._node is not None:
            node, self._node = dict(self._node), None
            request.node.id, request.node.cluster = node.get("id", ""), node.get("cluster", "")
            request.node.metadata.update(node.get("metadata", {}))
        await self._call.write(request.SerializeToString())


@asynccontextmanager
async def stream(
    address: str,
    variant: Variant,
    node_id: str = "gw-1",
    cluster: str = "default",
    service: Service = ADS,
    credentials: grpc.ChannelCredentials | None = None,
    **metadata: Any,
) -> AsyncIterator[Stream]:
    node = {"id": node_id, "cluster": cluster, "metadata": metadata}
    async with connected(address, credentials) as channel:
        call: Any = channel.stream_stream(f"/{service.name}/{service.method(variant)}")()
        try:
            yield Stream(variant, call, node, implied=service.type is not None)
        finally:
            call.cancel()


def connected(address: str, credentials: grpc.ChannelCredentials | None = None) -> grpc.aio.Channel:
    """A connection of its own."""
    options = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1))
    if credentials is None:
        return grpc.aio.insecure_channel(address, options=options)
    return grpc.aio.secure_channel(address, credentials, options=options)


def route_names(listeners: Answer) -> set[str]:
    found = set()
    for listener in listeners.resources.values():
        for chain in listener.filter_chains:
            for part in chain.filters:
                manager = hcm.HttpConnectionManager()
                if part.typed_config.Unpack(manager):
                    found.add(manager.rds.route_config_name)
    return found


def _name(type_: ResourceType, message: Any) -> str:
    name: str = message.cluster_name if type_ is ENDPOINT else message.name
    return name


def _sotw(raw: bytes) -> Answer:
    response = discovery_pb2.DiscoveryResponse.FromString(raw)
    type_ = ResourceType(response.type_url)
    messages = [MESSAGES[type_].FromString(box.value) for box in response.resources]
    resources = {_name(type_, message): message for message in messages}
    assert len(resources) == len(messages), "a name twice"
    return Answer(type_, resources, (), response.version_info, response.nonce, raw, {})


def _delta(raw: bytes) -> Answer:
    response = discovery_pb2.DeltaDiscoveryResponse.FromString(raw)
    type_ = ResourceType(response.type_url)
    resources = {r.name: MESSAGES[type_].FromString(r.resource.value) for r in response.resources}
    versions = {r.name: r.version for r in response.resources}
    assert len(versions) == len(response.resources), "a name twice"
    removed = tuple(response.removed_resources)
    return Answer(type_, resources, removed, response.system_version_info, response.nonce, raw, versions)
