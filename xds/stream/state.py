"""One stream: its variant and its subscriptions, as a value; and a request, as a value."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import chain
from typing import Any

from xds.snapshot import ResourceSet, ResourceType, Snapshot
from xds.stream.subscription import NO_NAMES, WILDCARD, Batch, Subscription

TYPES = {str(type_): type_ for type_ in ResourceType}

Known = Callable[[str], ResourceSet | None]
"""The set that once was served under a version, if it is remembered."""

WHOLE_LISTS = frozenset({ResourceType.CLUSTER, ResourceType.LISTENER})
"""Types of which a state-of-the-world response says everything, and which can be asked for without naming any.
https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#resource-types"""


class Variant(StrEnum):
    SOTW = "sotw"
    """State of the world."""
    DELTA = "delta"


_OTHER = {Variant.SOTW: Variant.DELTA, Variant.DELTA: Variant.SOTW}


DETAIL = 500
"""Characters of a refusal's reason that are kept: an Envoy may quote the whole resource."""


@dataclass(frozen=True, slots=True)
class Request:
    """A discovery request of either variant."""

    type_url: str
    nonce: str = ""
    error: str | None = None
    """Why the response of that nonce was refused; `None` when it was not."""
    names: frozenset[str] = NO_NAMES
    """State of the world: all that is asked for. Delta: what is asked for from now on."""
    dropped: frozenset[str] = NO_NAMES
    """Delta: what is no longer asked for."""
    version: str = ""
    """State of the world: of the last response of this type that was accepted, on whatever stream."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Delta, in a stream's first request of a type: what the client has from an earlier stream."""


@dataclass(frozen=True, slots=True)
class StreamState:
    variant: Variant
    subscriptions: Mapping[ResourceType, Subscription] = field(default_factory=dict)
    opening: bool = True
    """The client may not have come round to naming all its types yet; the first seconds of a stream."""
    may_warm: bool = True
    """A client that is back may have clusters that are not warm yet; the first minutes of a stream."""
    believed: bool = True
    """Versions that the client brings along are what it has. They are not after a partly applied refusal."""
    only: ResourceType | None = None
    """Set on a stream of a separate discovery service: its one type."""
    elsewhere: frozenset[ResourceType] = frozenset()
    """Types that a sibling carries in the other variant; where streams are looked at together."""

    def __hash__(self) -> int:
        """Of a dataclass with a map in it there would be none."""
        own = (self.variant, self.opening, self.may_warm, self.believed, self.only, self.elsewhere)
        return hash((own, frozenset(self.subscriptions.items())))

    def carries(self, type_url: str) -> ResourceType | None:
        """The type that a request is about; `None` for one that is never answered here.

        A separate service implies its type. https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol
        """
        if self.only is not None:
            return self.only if type_url in ("", self.only) else None
        return TYPES.get(type_url)

    @property
    def named(self) -> int:
        """Names of all types that are asked for, that the client says it has, or that were said to be gone."""
        return sum(
            len(sub.names) + len(sub.owed) + len(sub.claim) + sum(len(batch.removed) for batch in sub.outstanding)
            for sub in self.subscriptions.values()
        )

    def variant_of(self, type_: ResourceType) -> Variant:
        return _OTHER[self.variant] if type_ in self.elsewhere else self.variant

    def whole(self, type_: ResourceType) -> bool:
        """A response of this type says everything, and what it leaves out is removed."""
        return type_ in WHOLE_LISTS and self.variant_of(type_) is Variant.SOTW

    def having(self, type_: ResourceType, subscription: Subscription) -> StreamState:
        return replace(self, subscriptions={**self.subscriptions, type_: subscription})

    def batch(self, type_: ResourceType, nonce: str) -> Batch | None:
        """The response that a request with this nonce answers."""
        subscription = self.subscriptions.get(type_)
        return None if subscription is None else subscription.batch(nonce)

    def opened(self) -> StreamState:
        return replace(self, opening=False)

    def reopened(self) -> StreamState:
        return replace(self, opening=True)

    def warmed(self) -> StreamState:
        return replace(self, may_warm=False)

    def resolved(self, snapshot: Snapshot, known: Known) -> StreamState:
        """With the sets that clients have only named by their version. They may do so before there is a snapshot."""
        state = self
        for type_, sub in self.subscriptions.items():
            if sub.claimed:
                held = snapshot[type_] if snapshot[type_].version == sub.claimed else known(sub.claimed)
                state = state.having(type_, sub.resolved(held))
        return state

    @property
    def keeps_clusters(self) -> bool:
        """The client is back with clusters that an earlier stream sent, and has not asked for any on this one."""
        asked = self.subscriptions
        returning = any(subscription.returning for subscription in asked.values())
        return self.only is None and returning and ResourceType.ENDPOINT in asked and ResourceType.CLUSTER not in asked

    @property
    def warming(self) -> bool:
        """Some of these wait for their load assignments, or for the first health check.

        Until then an Envoy asks for no clusters, and they are not to be taken for those of the snapshot.
        """
        return self.may_warm and self.keeps_clusters

    @property
    def doubtful(self) -> bool:
        """What the client has may differ from the versions it will bring along to its next stream."""
        return any(subscription.suspects or subscription.refused for subscription in self.subscriptions.values())

    @property
    def outstanding(self) -> bool:
        return any(subscription.outstanding for subscription in self.subscriptions.values())


def reason(message: Any) -> str | None:
    """Why a DiscoveryRequest of either variant refuses the response that it answers; `None` when it does not."""
    return (
        (message.error_detail.message.strip()[:DETAIL] or "no reason given")
        if message.HasField("error_detail")
        else None
    )


def named(names: Iterable[str], locators: Iterable[Any]) -> frozenset[str]:
    """What a request names, by a name or by a ResourceLocator. Its dynamic parameters choose between variants of a
    resource, and of ours there is one of each.

    https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/discovery/v3/discovery.proto
    """
    return frozenset(chain(names, (locator.name for locator in locators)))


def subscribed(type_: ResourceType, request: Request) -> Subscription:
    """What a stream's first request of a type asks for; nothing has been sent yet."""
    legacy = not request.names and not request.dropped and type_ in WHOLE_LISTS
    wildcard = legacy or WILDCARD in request.names
    names = request.names - {WILDCARD} if WILDCARD in request.names else request.names
    returning = bool(request.version or request.versions)
    return Subscription(wildcard=wildcard, legacy=legacy, names=names, returning=returning)
