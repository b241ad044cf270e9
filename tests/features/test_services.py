"""The separate discovery services beside ADS, over real gRPC, both variants alike."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
import pytest
from envoy.service.cluster.v3 import cds_pb2
from envoy.service.discovery.v3 import discovery_pb2
from envoy.service.endpoint.v3 import eds_pb2
from envoy.service.listener.v3 import lds_pb2
from envoy.service.route.v3 import rds_pb2
from envoy.service.runtime.v3 import rtds_pb2

import xds.stream.connection
from tests.features.ads import CLUSTER, ENDPOINT, LISTENER, ROUTE, RUNTIME, Answer, Stream, stream
from tests.features.served import Folder, Served, asynchronous, cluster, model, served
from xds.snapshot import ResourceType
from xds.stream.services import ADS, SEPARATE, SERVICES, Service
from xds.stream.state import Variant

both = pytest.mark.parametrize("variant", list(Variant))
each = pytest.mark.parametrize("service", SEPARATE, ids=lambda service: service.label)
CHAT, EMBED, NEW = cluster("chat"), cluster("embed"), cluster("new")
BY_TYPE = {service.type: service for service in SEPARATE}
CDS, EDS, LDS, RDS = (BY_TYPE[type_] for type_ in (CLUSTER, ENDPOINT, LISTENER, ROUTE))
NAMED = {RUNTIME: ("turnout",), CLUSTER: (), ENDPOINT: (CHAT, EMBED), LISTENER: (), ROUTE: ("default",)}
"""What an Envoy asks for of each type."""
SLOWER = "  traffic: {connectionPool: {connectTimeout: 7s}}\n"


def carried(service: Service) -> ResourceType:
    assert service.type is not None
    return service.type


async def first(envoy: Stream, type_: ResourceType) -> Answer:
    await envoy.ask(type_, *NAMED[type_])
    return await envoy.accepted()


def of(status: dict[str, Any], service: Service) -> dict[str, Any]:
    """The stream of that service."""
    (found,) = [envoy for envoy in status["envoys"] if envoy["service"] == service.label]
    assert isinstance(found, dict)
    return found


def test_the_methods_are_those_that_envoy_calls() -> None:
    modules = (cds_pb2, eds_pb2, lds_pb2, rds_pb2, rtds_pb2)
    described = {s.full_name: s for m in modules for s in m.DESCRIPTOR.services_by_name.values()}
    messages = {Variant.SOTW: "DiscoveryRequest", Variant.DELTA: "DeltaDiscoveryRequest"}
    for service in SEPARATE:
        methods = described[service.name].methods_by_name
        taken = {variant: methods[service.method(variant)].input_type.name for variant in Variant}
        assert taken == messages


@both
@each
@asynchronous
async def test_a_service_carries_its_type_as_ads_does_though_requests_leave_it_out(
    folder: Folder, variant: Variant, service: Service
) -> None:
    type_ = carried(service)
    async with (
        served(folder.path) as server,
        stream(server.xds, variant, "one", service=service) as envoy,
        stream(server.xds, variant, "two") as aggregated,
    ):
        assert (await first(envoy, type_)).raw == (await first(aggregated, type_)).raw
        status = await server.until(lambda s: len(s["envoys"]) == 2 and all(e["synced"] for e in s["envoys"]))
        seen = of(status, service)
        assert (seen["node"], seen["variant"], list(seen["types"])) == ("one", variant, [type_.label])


@both
@each
@asynchronous
async def test_the_type_may_be_named_and_another_is_refused_with_a_reason(
    folder: Folder, variant: Variant, service: Service
) -> None:
    message = {Variant.SOTW: discovery_pb2.DiscoveryRequest, Variant.DELTA: discovery_pb2.DeltaDiscoveryRequest}[
        variant
    ]
    other = CLUSTER if service.type is not CLUSTER else ENDPOINT
    node = {"id": "gw-1", "cluster": "default"}
    async with served(folder.path) as server, stream(server.xds, variant, service=service) as envoy:
        await envoy.send_raw(message(type_url=service.type, node=node).SerializeToString())
        await server.until(lambda s: bool(s["envoys"]) and list(s["envoys"][0]["types"]) == [carried(service).label])
        if service.type in (CLUSTER, LISTENER):
            await envoy.accepted()
        await envoy.send_raw(message(type_url=other).SerializeToString())
        code, reason = await envoy.ended()
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert reason == f"X105 node gw-1: {service.label} carries {service.type} and not {other}"


@both
@each
@asynchronous
async def test_a_node_that_cannot_be_served_is_told_why(folder: Folder, variant: Variant, service: Service) -> None:
    async with served(folder.path) as server:
        await server.until(lambda s: s["policy"]["state"] == "ok")
        async with stream(server.xds, variant, cluster="nope", service=service) as envoy:
            await envoy.ask(carried(service), *NAMED[carried(service)])
            assert await envoy.ended() == (
                grpc.StatusCode.PERMISSION_DENIED,
                "X105 node gw-1: group 'nope' is unknown",
            )


@both
@asynchronous
async def test_what_is_refused_is_told_with_its_line_and_not_sent_again(folder: Folder, variant: Variant) -> None:
    async with served(folder.path) as server, stream(server.xds, variant, service=EDS) as envoy:
        await first(envoy, ENDPOINT)
        folder.write("models", model("chat", 9005) + "---\n" + model("embed"))
        await envoy.refuse(await envoy.read(), "malformed IP address")
        status = await server.until(lambda s: bool(s["envoys"][0]["types"]["endpoint"]["refused"]))
        (refused,) = status["envoys"][0]["types"]["endpoint"]["refused"]
        assert refused["origin"].startswith("policies/models.yaml:")
        folder.write("models", model("chat", 9005) + "---\n" + model("embed", 9006))
        assert (await envoy.accepted()).names == {EMBED}


@both
@pytest.mark.parametrize("service", [CDS, LDS], ids=lambda service: service.label)
@asynchronous
async def test_nothing_is_sent_again_to_an_envoy_that_reconnects(
    folder: Folder, variant: Variant, service: Service
) -> None:
    type_ = carried(service)
    async with served(folder.path) as server:
        async with stream(server.xds, variant, service=service) as envoy:
            had = await first(envoy, type_)
            await server.until(lambda s: bool(s["envoys"]) and s["envoys"][0]["synced"])
        async with stream(server.xds, variant, "other", service=service) as envoy:
            await envoy.ask(type_, version=had.version, versions=had.versions)
            status = await server.until(lambda s: any(e["node"] == "other" and e["synced"] for e in s["envoys"]))
            (seen,) = [e for e in status["envoys"] if e["node"] == "other"]
            assert seen["types"][type_.label]["acknowledged"] == had.version
        sent = await server.metric(f'turnout_pushes_total{{type="{type_.label}",variant="{variant}"}}')
        assert sent == 1


@both
@asynchronous
async def test_an_envoy_that_was_cut_off_after_a_refusal_is_not_believed_on_that_service(
    folder: Folder, variant: Variant
) -> None:
    """Though another of its streams is back first."""
    async with served(folder.path) as server:
        async with stream(server.xds, variant, service=CDS) as envoy:
            had = await first(envoy, CLUSTER)
            folder.write("models", model("chat", tail=SLOWER) + "---\n" + model("embed"))
            await envoy.refuse(await envoy.read(), "no")
            await server.until(lambda s: bool(s["envoys"][0]["types"]["cluster"]["refused"]))
        async with (
            stream(server.xds, variant, service=LDS) as listeners,
            stream(server.xds, variant, service=CDS) as envoy,
        ):
            await first(listeners, LISTENER)
            await envoy.ask(CLUSTER, version=had.version, versions=had.versions)
            seen = await envoy.accepted()
            assert EMBED in (seen.names if variant is Variant.SOTW else (await envoy.accepted()).names)


@both
@asynchronous
async def test_clusters_alone_are_removed_though_no_routes_are_ever_asked_for(
    folder: Folder, variant: Variant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the node has had time to open its other streams."""
    monkeypatch.setattr(xds.stream.connection, "OPENING", 0.0)
    async with served(folder.path) as server, stream(server.xds, variant, service=CDS) as envoy:
        await first(envoy, CLUSTER)
        folder.models("embed")
        removal = await envoy.accepted()
        assert (removal.names, removal.removed) == (({EMBED}, ()) if variant is Variant.SOTW else (set(), (CHAT,)))
        await server.until(lambda s: bool(s["envoys"][0]["synced"]))


@both
@asynchronous
async def test_routes_alone_wait_for_no_clusters(folder: Folder, variant: Variant) -> None:
    async with served(folder.path) as server, stream(server.xds, variant, service=RDS) as envoy:
        await first(envoy, ROUTE)
        folder.models("embed", "new")
        assert (await envoy.accepted()).names == {"default"}


@both
@asynchronous
async def test_load_assignments_alone_are_in_sync_after_a_reconnect(folder: Folder, variant: Variant) -> None:
    """On ADS they would be taken for those of clusters that an earlier stream sent, which come next."""
    async with served(folder.path) as server:
        async with stream(server.xds, variant, service=EDS) as envoy:
            had = await first(envoy, ENDPOINT)
        async with stream(server.xds, variant, "back", service=EDS) as envoy:
            await envoy.ask(ENDPOINT, CHAT, EMBED, version=had.version, versions=had.versions)
            await envoy.accepted()
            await server.until(lambda s: any(e["node"] == "back" and e["synced"] for e in s["envoys"]))


class Apart:
    """One Envoy with a stream for each of `services`; ADS carries what the others do not."""

    def __init__(self, server: Served, streams: dict[Service, Stream]) -> None:
        self._server, self._streams = server, streams

    def __getitem__(self, type_: ResourceType) -> Stream:
        return self._streams.get(BY_TYPE[type_]) or self._streams[ADS]

    def service(self, type_: ResourceType) -> Service:
        return BY_TYPE[type_] if BY_TYPE[type_] in self._streams else ADS

    async def synced(self) -> dict[ResourceType, Answer]:
        found = {type_: await first(self[type_], type_) for type_ in (CLUSTER, ENDPOINT, LISTENER, ROUTE)}
        await self._server.until(lambda s: bool(s["envoys"]) and all(e["synced"] for e in s["envoys"]))
        return found

    async def idle(self, type_: ResourceType) -> None:
        """Nothing of that type is on its way. Every stream has had its turn by the time that one of them sends."""
        status = await self._server.status()
        assert of(status, self.service(type_))["types"][type_.label]["outstanding"] == 0


@asynccontextmanager
async def apart(server: Served, variant: Variant, services: tuple[Service, ...]) -> AsyncIterator[Apart]:
    async with AsyncExitStack() as stack:
        streams = {
            service: await stack.enter_async_context(stream(server.xds, variant, service=service))
            for service in services
        }
        yield Apart(server, streams)


split = pytest.mark.parametrize(
    "services", [SERVICES[2:], (CDS, ADS), (CDS, LDS, ADS)], ids=lambda services: "+".join(s.label for s in services)
)


@both
@split
@asynchronous
async def test_a_model_is_added_before_and_removed_after_the_routes_move_though_on_other_streams(
    folder: Folder, variant: Variant, services: tuple[Service, ...]
) -> None:
    async with served(folder.path) as server, apart(server, variant, services) as envoy:
        await envoy.synced()
        folder.models("embed", "new")
        added = await envoy[CLUSTER].read()
        assert NEW in added.names
        assert CHAT not in added.removed
        assert variant is Variant.DELTA or CHAT in added.names
        await envoy.idle(ROUTE)
        await envoy[ENDPOINT].ask(ENDPOINT, NEW)
        assignment = await envoy[ENDPOINT].read()
        assert (assignment.type, assignment.names) == (ENDPOINT, {NEW})
        await envoy[CLUSTER].accept(added)
        await server.until(lambda s: of(s, CDS)["types"]["cluster"]["outstanding"] == 0)
        await envoy.idle(ROUTE)  # the cluster has no hosts yet
        await envoy[ENDPOINT].accept(assignment)
        routes = await envoy[ROUTE].read()
        assert routes.type is ROUTE
        await envoy.idle(CLUSTER)
        await envoy[ROUTE].accept(routes)
        removal = await envoy[CLUSTER].read()
        assert CHAT in removal.removed or removal.names == {EMBED, NEW}


@both
@split
@asynchronous
async def test_the_load_assignment_of_a_changed_cluster_is_sent_again_when_the_cluster_is_accepted(
    folder: Folder, variant: Variant, services: tuple[Service, ...]
) -> None:
    """Envoy asks for none, and could do nothing with one that overtakes the cluster."""
    async with served(folder.path) as server, apart(server, variant, services) as envoy:
        await envoy.synced()
        folder.write("models", model("chat", tail=SLOWER) + "---\n" + model("embed"))
        changed = await envoy[CLUSTER].read()
        await envoy.idle(ENDPOINT)
        await envoy[CLUSTER].accept(changed)
        again = await envoy[ENDPOINT].accepted()
        assert (again.type, CHAT in again.names) == (ENDPOINT, True)
        await server.until(lambda s: all(e["synced"] for e in s["envoys"]))


@both
@split
@asynchronous
async def test_while_a_new_cluster_is_refused_routes_on_another_stream_lead_past_it(
    folder: Folder, variant: Variant, services: tuple[Service, ...]
) -> None:
    async with served(folder.path) as server, apart(server, variant, services) as envoy:
        await envoy.synced()
        folder.models("chat", "embed", "new")
        await envoy[CLUSTER].refuse(await envoy[CLUSTER].read(), "no")
        (routes,) = (await envoy[ROUTE].accepted()).resources.values()
        assert "embed_1" in str(routes)
        assert "is held back" in str(routes)
        assert NEW not in str(routes)
        status = await server.until(lambda s: bool(of(s, CDS)["types"]["cluster"]["refused"]))
        assert of(status, envoy.service(ROUTE))["synced"] is False
        folder.models("chat", "embed")
        assert NEW not in (await envoy[CLUSTER].accepted()).names  # of which some may have been applied
        assert "is held back" not in str((await envoy[ROUTE].accepted()).resources)
        await server.until(lambda s: all(e["synced"] for e in s["envoys"]))


@both
@asynchronous
async def test_routes_of_an_envoy_that_is_back_do_not_wait_for_clusters_that_come_on_another_stream(
    folder: Folder, variant: Variant
) -> None:
    """On ADS alone, load assignments without clusters mean that those of an earlier stream are to become warm."""
    async with served(folder.path) as server, apart(server, variant, (CDS, ADS)) as envoy:
        had = await envoy.synced()
    folder.models("embed", "new")
    async with served(folder.path) as server, apart(server, variant, (CDS, ADS)) as envoy:
        for type_, answer in had.items():
            names = () if type_ in (CLUSTER, LISTENER) else answer.names
            await envoy[type_].ask(type_, *names, version=answer.version, versions=answer.versions)
        assert NEW in (await envoy[CLUSTER].accepted()).names
        while (await envoy[ROUTE].accepted()).type is not ROUTE:
            pass


@both
@asynchronous
async def test_a_stream_that_ends_holds_its_siblings_up_no_longer(
    folder: Folder, variant: Variant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xds.stream.connection, "OPENING", 1000.0)  # which would wake them too
    async with served(folder.path) as server, stream(server.xds, variant, service=RDS) as routes:
        async with stream(server.xds, variant, service=CDS) as clusters:
            await first(clusters, CLUSTER)
            await first(routes, ROUTE)
            folder.models("embed", "new")
            await clusters.read()
        assert (await routes.accepted()).type is ROUTE


@both
@asynchronous
async def test_streams_of_other_nodes_hold_nothing_up(folder: Folder, variant: Variant) -> None:
    async with (
        served(folder.path) as server,
        stream(server.xds, variant, "one", service=CDS) as clusters,
        stream(server.xds, variant, "two", service=RDS) as routes,
    ):
        await first(clusters, CLUSTER)
        await first(routes, ROUTE)
        folder.models("embed", "new")
        await clusters.read()
        assert (await routes.accepted()).type is ROUTE


@both
@asynchronous
async def test_the_last_stream_of_a_service_counts(folder: Folder, variant: Variant) -> None:
    """The one before it may be dead, and nobody has noticed yet."""
    async with (
        served(folder.path) as server,
        stream(server.xds, variant, service=RDS) as routes,
        stream(server.xds, variant, service=CDS) as dead,
        stream(server.xds, variant, service=CDS) as alive,
    ):
        await first(routes, ROUTE)
        await dead.ask(CLUSTER)
        await dead.read()
        await first(alive, CLUSTER)
        folder.models("chat", "embed", "new")
        await alive.accepted()
        assert (await routes.accepted()).type is ROUTE


@both
@asynchronous
async def test_clusters_wait_for_the_routes_of_streams_that_have_ended_and_come_again(
    folder: Folder, variant: Variant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client has the routes still: only its streams are gone."""
    monkeypatch.setattr(xds.stream.connection, "OPENING", 0.0)
    async with served(folder.path) as server, stream(server.xds, variant, service=CDS) as clusters:
        had = await first(clusters, CLUSTER)
        async with (
            stream(server.xds, variant, service=LDS) as listeners,
            stream(server.xds, variant, service=RDS) as routes,
        ):
            await first(listeners, LISTENER)
            await first(routes, ROUTE)
            await server.until(lambda s: len(s["envoys"]) == 3 and all(e["synced"] for e in s["envoys"]))
            monkeypatch.setattr(xds.stream.connection, "OPENING", 600.0)
        await server.until(lambda s: len(s["envoys"]) == 1)
        folder.models("embed")
        await server.until(lambda s: of(s, CDS)["types"]["cluster"]["wanted"] != had.version)
        async with (
            stream(server.xds, variant, service=LDS) as listeners,
            stream(server.xds, variant, service=RDS) as routes,
        ):
            await first(listeners, LISTENER)
            await routes.ask(ROUTE, "default")
            moved = await routes.read()
            assert await server.metric(f'turnout_pushes_total{{type="cluster",variant="{variant}"}}') == 1
            await routes.accept(moved)
            removal = await clusters.accepted()
            assert (removal.names, removal.removed) == (({EMBED}, ()) if variant is Variant.SOTW else (set(), (CHAT,)))


@pytest.mark.parametrize("of_assignments", list(Variant))
@both
@asynchronous
async def test_streams_of_one_node_may_be_of_both_variants(
    folder: Folder, variant: Variant, of_assignments: Variant
) -> None:
    """In state of the world nobody is told that a load assignment does not exist, and nobody waits for that."""
    async with (
        served(folder.path) as server,
        stream(server.xds, variant, service=CDS) as clusters,
        stream(server.xds, of_assignments, service=EDS) as assignments,
        stream(server.xds, variant, service=LDS) as listeners,
        stream(server.xds, variant, service=RDS) as routes,
    ):
        await first(clusters, CLUSTER)
        await assignments.ask(ENDPOINT, CHAT, EMBED, "nobody")
        await assignments.accepted()
        await first(listeners, LISTENER)
        assert (await first(routes, ROUTE)).names == {"default"}
        await server.until(lambda s: len(s["envoys"]) == 4 and all(e["synced"] for e in s["envoys"]))
