"""Delta: requests say what changes in what they want, responses what changes in what there is."""

from __future__ import annotations

from dataclasses import replace

from envoy.service.discovery.v3 import discovery_pb2

from xds.snapshot import ResourceType
from xds.stream.node import node
from xds.stream.state import WHOLE_LISTS, Known, Request, StreamState
from xds.stream.subscription import NO_NAMES, WILDCARD, Subscription, claimed, shared_names
from xds.stream.update import Update


def decoded(raw: bytes) -> Request:
    """Raises google.protobuf.message.DecodeError, or ValueError for a node that makes no sense."""
    message = discovery_pb2.DeltaDiscoveryRequest.FromString(raw)
    return Request(
        type_url=message.type_url,
        nonce=message.response_nonce,
        error=message.error_detail.message if message.HasField("error_detail") else None,
        names=shared_names(frozenset(message.resource_names_subscribe)),
        dropped=frozenset(message.resource_names_unsubscribe),
        versions=dict(message.initial_resource_versions),
        node=node(message.node),
    )


def encoded(update: Update) -> bytes:
    message = discovery_pb2.DeltaDiscoveryResponse(
        type_url=update.type,
        system_version_info=update.version,
        nonce=update.nonce,
        removed_resources=update.removed,
    )
    for resource in update.resources:
        box = message.resources.add(name=resource.name, version=resource.version).resource
        box.type_url, box.value = update.type, resource.body
    return bytes(message.SerializeToString(deterministic=True))


def received(state: StreamState, type_: ResourceType, request: Request, known: Known) -> StreamState:
    sub = state.subscriptions.get(type_)
    if sub is None:
        return state.having(type_, _first(state, type_, request, known))
    sub = sub.answered(request.nonce, request.error)
    # Names change with every request, whatever its nonce: nothing is repeated that could be out of date.
    return state.having(type_, _asking(_dropping(sub, request.dropped), request.names))


def _first(state: StreamState, type_: ResourceType, request: Request, known: Known) -> Subscription:
    legacy = not request.names and type_ in WHOLE_LISTS
    wildcard = legacy or WILDCARD in request.names
    names = request.names - {WILDCARD} if WILDCARD in request.names else request.names
    sub = Subscription(wildcard=wildcard, legacy=legacy, names=names)
    if not request.versions:
        return replace(sub, unanswered=wildcard, owed=names)
    versions = request.versions if state.believed else dict.fromkeys(request.versions, "")
    claim = claimed(frozenset(versions.items()))
    held = known(claim.version) or claim
    owed = names.difference(request.versions) | _warming(state, type_, names)
    return replace(sub, offered=held, owed=owed, sent=held.version, acknowledged=held.version)


def _warming(state: StreamState, type_: ResourceType, names: frozenset[str]) -> frozenset[str]:
    """Load assignments of clusters that were sent since the stream was opened: a cluster needs its own again."""
    clusters = state.subscriptions.get(ResourceType.CLUSTER)
    if type_ is not ResourceType.ENDPOINT or clusters is None:
        return NO_NAMES
    return names & NO_NAMES.union(*(batch.names for batch in clusters.outstanding))


def _asking(sub: Subscription, asked: frozenset[str]) -> Subscription:
    if not asked:
        return sub
    if WILDCARD not in asked:
        return sub.asking(asked)
    if not sub.wildcard:
        sub = sub.asking_for_all()
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
