"""State of the world: requests name all they want, responses carry whole resources and one version for the type."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.service.discovery.v3 import discovery_pb2
from envoy.service.runtime.v3 import rtds_pb2

from xds.snapshot import ResourceType
from xds.stream.state import Request, StreamState, named, reason, subscribed
from xds.stream.subscription import WILDCARD, Subscription, shared_names
from xds.stream.update import Update
from xds.stream.who import control_plane
from xds.wire import before_packed, tag

parsed = discovery_pb2.DiscoveryRequest.FromString


def as_request(message: discovery_pb2.DiscoveryRequest) -> Request:
    return Request(
        type_url=message.type_url,
        nonce=message.response_nonce,
        error=reason(message),
        names=shared_names(named(message.resource_names, message.resource_locators)),
        version=message.version_info,
    )


def encoded(update: Update, identifier: str = "") -> bytes:
    message = discovery_pb2.DiscoveryResponse(
        type_url=update.type,
        version_info=update.version,
        nonce=update.nonce,
        control_plane=control_plane(identifier),
    )
    parts = [message.SerializeToString(deterministic=True)]
    for body in (*(resource.parts for resource in update.resources), *_in_place_of(update)):
        # To put a route table into a message, and that into another, would copy megabytes several times.
        size = sum(map(len, body))
        head = before_packed(update.type, size)
        parts += (tag(2, len(head) + size), head, *body)
    return b"".join(parts)


def _in_place_of(update: Update) -> Iterator[tuple[bytes]]:
    """What is sent for names that are no longer there, where leaving them out would mean nothing."""
    for name in update.removed:
        if update.type is ResourceType.RUNTIME:
            yield (_empty_layer(name),)  # one that is left out keeps its old values
        elif update.type is ResourceType.ENDPOINT:
            # Its cluster would wait for ever.
            yield (endpoint_pb2.ClusterLoadAssignment(cluster_name=name).SerializeToString(deterministic=True),)


def _empty_layer(name: str) -> bytes:
    return bytes(rtds_pb2.Runtime(name=name, layer={}).SerializeToString(deterministic=True))


def received(state: StreamState, type_: ResourceType, request: Request) -> StreamState:
    sub = state.subscriptions.get(type_)
    if sub is None:
        return state.having(type_, _first(state, type_, request))
    current = request.nonce in ("", sub.nonce) or not sub.nonce  # of what was sent on an earlier stream
    # While an Envoy warms clusters it asks nothing about clusters; then it names the nonce that it has seen last.
    sub = sub.superseding(request.nonce, refused=request.error is not None).answered(request.nonce, request.error)
    if sub.legacy and not request.names:
        return state.having(type_, sub)
    # A request that answers an older response was written before the client saw the last one; what it wants by now
    # comes with its answer to that. A name that it leaves out is dropped even so: if it is there again in the next one,
    # the client has let go of it meanwhile and needs it sent.
    return state.having(type_, (_asking if current else _dropping)(sub, request.names))


def _first(state: StreamState, type_: ResourceType, request: Request) -> Subscription:
    sub = subscribed(type_, request)
    if not state.whole(type_):
        # A version says nothing of single names: one that the client asked for last may never have been answered,
        # and its cluster would wait for the load assignment for ever. So they are sent again; what is gone, as that
        # version had it, for the routes that still lead there.
        claimed = request.version if state.believed and type_ is ResourceType.ENDPOINT and not sub.wildcard else ""
        return replace(sub, owed=sub.names, unanswered=sub.wildcard, claimed=claimed)
    return replace(sub, unanswered=True, claimed=request.version if sub.wildcard and state.believed else "")


def _asking(sub: Subscription, asked: frozenset[str]) -> Subscription:
    if WILDCARD in asked and not sub.wildcard:
        sub = sub.asking_for_all()
    elif sub.wildcard and WILDCARD not in asked:
        sub = sub.without_wildcard()
    sub = sub if sub.names <= asked else sub.only(asked)
    return replace(sub, legacy=False).asking(asked - {WILDCARD} - sub.names)


def _dropping(sub: Subscription, asked: frozenset[str]) -> Subscription:
    """No longer subscribed to what is not in `asked`; what is, and was covered by a wildcard, it has and keeps."""
    if sub.wildcard and WILDCARD not in asked:
        sub = replace(sub, names=sub.names | asked).without_wildcard()
    return sub if sub.names <= asked else sub.only(asked)
