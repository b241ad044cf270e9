"""How each resource stands with an Envoy, in the words of the client status discovery service (CSDS).

https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/status/v3/csds.proto
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from envoy.admin.v3.config_dump_shared_pb2 import ClientResourceStatus
from envoy.config.core.v3 import base_pb2
from envoy.service.status.v3 import csds_pb2
from google.protobuf import any_pb2

from xds.admin.redaction import message, redact
from xds.snapshot import NOTHING, Resource, ResourceSet, ResourceType, Snapshot
from xds.stream.peer import Peer
from xds.stream.state import WHOLE_LISTS
from xds.stream.subscription import Batch, Refusal, Subscription
from xds.translate.messages import packed

ConfigStatus = csds_pb2.ConfigStatus

Stream = tuple[Peer, Snapshot | None]
"""And what it is to have; `None` where its group has nothing."""
Contents = Callable[[ResourceType, Resource], any_pb2.Any]
"""How a resource is shown."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One resource at one Envoy."""

    config: int
    """A ConfigStatus, the server's view: of what the snapshot has under this name."""
    client: int
    """A ClientResourceStatus, the Envoy's view."""
    resource: Resource | None = None
    """The newest that was sent and not refused."""
    refusal: Refusal | None = None


class Redacted:
    """Resources without their secrets, each made once however many Envoys have it."""

    def __init__(self) -> None:
        self._made: dict[tuple[ResourceType, str], any_pb2.Any] = {}

    def __call__(self, type_: ResourceType, resource: Resource) -> any_pb2.Any:
        key = (type_, resource.version)
        if key not in self._made:
            content = message(type_, resource.body)
            redact(content)
            self._made[key] = packed(content)
        return self._made[key]


def clients(streams: Iterable[Stream], matches: Callable[[Any], bool]) -> Iterator[list[Stream]]:
    """The streams of each Envoy whose node matches, in the order in which they came."""
    by_id: dict[str, list[Stream]] = {}
    for stream in streams:
        by_id.setdefault(stream[0].node.id, []).append(stream)
    return (found for found in by_id.values() if matches(_node(found)))


def client_config(streams: Sequence[Stream], contents: Contents | None) -> Any:
    """The ClientConfig of the Envoy that has these streams. Without `contents` resources are named and not shown."""
    config = csds_pb2.ClientConfig(node=_node(streams))
    for type_ in ResourceType:
        for name, standing in sorted(_merged(streams, type_).items(), key=itemgetter(0)):
            config.generic_xds_configs.append(_entry(type_, name, standing, contents))
    return config


def _node(streams: Sequence[Stream]) -> Any:
    """As the last stream introduced it."""
    return base_pb2.Node.FromString(streams[-1][0].node.said)


def _merged(streams: Iterable[Stream], type_: ResourceType) -> dict[str, Standing]:
    """Of several streams with a name the last one counts: the one before it may be dead."""
    found: dict[str, Standing] = {}
    for peer, snapshot in streams:
        sub = peer.state.subscriptions.get(type_)
        if sub is None:
            continue
        own = standings(sub, NOTHING if snapshot is None else snapshot[type_])
        found = dict(own) if type_ in WHOLE_LISTS else {**found, **dict(own)}
    return found


def standings(sub: Subscription, wanted: ResourceSet) -> Iterator[tuple[str, Standing]]:
    """By name, everything that the subscription asks for or has been sent."""
    suspected, under_way = sub.suspected(), _under_way(sub)
    names = sub.select(frozenset([*wanted, *sub.offered, *under_way, *sub.refused])) | sub.names
    for name in names:
        yield name, _standing(sub, wanted.get(name), name, under_way.get(name, ()), name in suspected)


def _standing(
    sub: Subscription, goal: Resource | None, name: str, under_way: Sequence[Batch], suspected: bool
) -> Standing:
    refusal = sub.refused.get(name)
    if refusal is not None and goal is not None and goal.version == refusal.resource.version:
        return Standing(ConfigStatus.ERROR, ClientResourceStatus.NACKED, _with_body(refusal.good, goal), refusal)
    if under_way:
        before, after = under_way[0].before.get(name), under_way[-1].after.get(name)
        client = ClientResourceStatus.ACKED if before is not None else ClientResourceStatus.REQUESTED
        return Standing(ConfigStatus.STALE, client, _with_body(before if after is None else after, goal))
    has = sub.offered.get(name)
    if suspected:
        # Refused along with others, and soon to be offered again apart from them.
        return Standing(ConfigStatus.ERROR, ClientResourceStatus.NACKED, _with_body(has, goal))
    if has is not None:
        current = goal is not None and goal.version == has.version
        config = ConfigStatus.SYNCED if current else ConfigStatus.NOT_SENT
        return Standing(config, ClientResourceStatus.ACKED, _with_body(has, goal))
    if goal is not None:
        return Standing(ConfigStatus.NOT_SENT, ClientResourceStatus.REQUESTED)
    return Standing(ConfigStatus.UNKNOWN, ClientResourceStatus.DOES_NOT_EXIST)


def _with_body(resource: Resource | None, goal: Resource | None) -> Resource | None:
    """What an Envoy has brought along is known by its version; the body may be found in the snapshot."""
    same = resource is not None and goal is not None and goal.version == resource.version
    return goal if same else resource


def _under_way(sub: Subscription) -> dict[str, list[Batch]]:
    """The responses that say something of a name and are neither accepted nor refused yet, in order."""
    found: dict[str, list[Batch]] = {}
    for batch in sub.outstanding:
        for name in batch.names | batch.removed:
            found.setdefault(name, []).append(batch)
    return found


def _entry(type_: ResourceType, name: str, standing: Standing, contents: Contents | None) -> Any:
    entry = csds_pb2.ClientConfig.GenericXdsConfig(
        type_url=type_, name=name, config_status=standing.config, client_status=standing.client
    )
    if standing.resource is not None:
        entry.version_info = standing.resource.version
        if contents is not None and standing.resource.parts:
            entry.xds_config.CopyFrom(contents(type_, standing.resource))
    if standing.refusal is not None:
        refused = standing.refusal.resource
        entry.error_state.details = standing.refusal.detail
        entry.error_state.version_info = refused.version
        if contents is not None and refused.parts:
            entry.error_state.failed_configuration.CopyFrom(contents(type_, refused))
    return entry
