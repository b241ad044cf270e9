"""Delta: requests say what changes in what they want, responses what changes in what there is."""

from __future__ import annotations

from dataclasses import replace

from envoy.service.discovery.v3 import discovery_pb2

from xds.snapshot import NOTHING, ResourceType
from xds.stream.difference import moved
from xds.stream.state import Request, StreamState, named, reason, subscribed
from xds.stream.subscription import NO_NAMES, WILDCARD, Subscription, claimed, shared_names
from xds.stream.update import Update
from xds.stream.who import control_plane
from xds.wire import before_packed, delimited, tag

parsed = discovery_pb2.DeltaDiscoveryRequest.FromString


def as_request(message: discovery_pb2.DeltaDiscoveryRequest) -> Request:
    return Request(
        type_url=message.type_url,
        nonce=message.response_nonce,
        error=reason(message),
        names=shared_names(named(message.resource_names_subscribe, message.resource_locators_subscribe)),
        dropped=named(message.resource_names_unsubscribe, message.resource_locators_unsubscribe),
        versions=dict(message.initial_resource_versions),
    )


def encoded(update: Update, identifier: str = "") -> bytes:
    message = discovery_pb2.DeltaDiscoveryResponse(
        type_url=update.type,
        system_version_info=update.version,
        nonce=update.nonce,
        removed_resources=update.removed,
        control_plane=control_plane(identifier),
    )
    parts = [message.SerializeToString(deterministic=True)]
    for resource in update.resources:
        # To put a route table into a message, and that into another, would copy megabytes several times.
        size = sum(map(len, resource.parts))
        head = before_packed(update.type, size)
        named = delimited(1, resource.version.encode()) + delimited(3, resource.name.encode())
        own = named + tag(2, len(head) + size) + head
        parts += (tag(2, len(own) + size), own, *resource.parts)
    return b"".join(parts)


def received(state: StreamState, type_: ResourceType, request: Request) -> StreamState:
    sub = state.subscriptions.get(type_)
    if sub is None:
        return state.having(type_, _first(state, type_, request))
    sub = sub.answered(request.nonce, request.error)
    # Names change with every request, whatever its nonce: nothing is repeated that could be out of date.
    return state.having(type_, _asking(_dropping(sub, request.dropped), request.names))


def _first(state: StreamState, type_: ResourceType, request: Request) -> Subscription:
    sub = subscribed(type_, request)
    if not request.versions:
        return replace(sub, unanswered=sub.wildcard, owed=sub.names)
    versions = request.versions if state.believed else dict.fromkeys(request.versions, "")
    claim = claimed(frozenset(versions.items()))
    warming = _warming(state, type_, sub.names)
    owed = sub.names.difference(request.versions) | warming
    # A cluster that waits for a load assignment which is gone is told so, like one that never had any.
    held = moved(claim, NOTHING, warming)
    return replace(sub, offered=held, owed=owed, claimed=claim.version, sent=claim.version, acknowledged=claim.version)


def _warming(state: StreamState, type_: ResourceType, names: frozenset[str]) -> frozenset[str]:
    """Load assignments to be sent again, each for a cluster that was sent since the client had it.

    As long as an Envoy warms clusters that an earlier stream sent it asks for no clusters, which comes to all names.
    """
    if type_ is not ResourceType.ENDPOINT:
        return NO_NAMES
    clusters = state.subscriptions.get(ResourceType.CLUSTER)
    if clusters is None:
        return names
    return names & NO_NAMES.union(*(batch.names for batch in clusters.outstanding))


def _asking(sub: Subscription, asked: frozenset[str]) -> Subscription:
    if not asked:
        return sub
    if WILDCARD not in asked:
        return sub.asking(asked)
    sub = replace(sub.asking_for_all_again() if sub.wildcard else sub.asking_for_all(), legacy=False)
    return sub.asking(asked - {WILDCARD})


def _dropping(sub: Subscription, dropped: frozenset[str]) -> Subscription:
    """Under a wildcard a client cannot know whether it is to keep what it no longer names, and is told.

    https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#unsubscribing-from-resources
    """
    if not dropped:
        return sub
    if sub.wildcard and WILDCARD in dropped:
        sub = sub.without_wildcard()
    ended = dropped & sub.names
    kept = sub.only(sub.names - ended)
    return replace(kept, owed=kept.owed | ended) if kept.wildcard else kept
