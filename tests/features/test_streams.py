"""The protocol over real gRPC, both variants alike."""

from __future__ import annotations

import grpc
import pytest
from envoy.service.discovery.v3 import discovery_pb2

from tests.features.ads import CLUSTER, ENDPOINT, LISTENER, ROUTE, RUNTIME, route_names, stream
from tests.features.served import Folder, asynchronous, cluster, model, served
from xds.stream.state import Variant

both = pytest.mark.parametrize("variant", list(Variant))
CHAT, EMBED, NEW = cluster("chat"), cluster("embed"), cluster("new")


@both
@asynchronous
async def test_a_first_sync_brings_all_types(folder: Folder, variant: Variant) -> None:
    async with served(folder.path) as server, stream(server.xds, variant) as envoy:
        found = await envoy.synced()
        assert found[RUNTIME].names == {"turnout"}
        assert found[CLUSTER].names == found[ENDPOINT].names == {CHAT, EMBED}
        assert found[ROUTE].names == route_names(found[LISTENER])
        status = await server.until(lambda s: bool(s["envoys"]) and s["envoys"][0]["synced"])
        (seen,) = status["envoys"]
        assert (seen["node"], seen["group"], seen["variant"]) == ("gw-1", "default", variant)
        assert all(t["sent"] == t["acknowledged"] for t in seen["types"].values())


@both
@asynchronous
async def test_listeners_that_are_asked_for_at_once_come_after_the_clusters_are_accepted(
    folder: Folder, variant: Variant
) -> None:
    async with served(folder.path) as server, stream(server.xds, variant) as envoy:
        await envoy.ask(LISTENER)
        first = await envoy.accepted()  # it has not named any clusters yet, so nothing is in the way
        await envoy.ask(CLUSTER)
        clusters = await envoy.read()
        await envoy.ask(ROUTE, *route_names(first))
        await envoy.ask(ENDPOINT, CHAT)
        assert (await envoy.accepted()).type is ENDPOINT
        await envoy.accept(clusters)
        assert (await envoy.accepted()).type is ROUTE


@both
@pytest.mark.parametrize("wanted", [(), ("*",)])
@asynchronous
async def test_both_wildcards_bring_models_that_come_later(
    folder: Folder, variant: Variant, wanted: tuple[str, ...]
) -> None:
    async with served(folder.path) as server, stream(server.xds, variant) as envoy:
        await envoy.ask(CLUSTER, *wanted)
        assert (await envoy.accepted()).names == {CHAT, EMBED}
        folder.models("chat", "embed", "new")
        assert NEW in (await envoy.accepted()).names


@both
@asynchronous
async def test_a_changed_instance_is_sent_alone(folder: Folder, variant: Variant) -> None:
    async with served(folder.path) as server, stream(server.xds, variant) as envoy:
        await envoy.synced()
        folder.write("models", model("chat", 9005) + "---\n" + model("embed"))
        change = await envoy.accepted()
        assert (change.type, change.names) == (ENDPOINT, {CHAT})
        assert len(change.raw) < 500


@both
@asynchronous
async def test_a_model_is_added_before_and_removed_after_the_routes_move(folder: Folder, variant: Variant) -> None:
    async with served(folder.path) as server, stream(server.xds, variant) as envoy:
        await envoy.synced()
        folder.models("embed", "new")
        added = await envoy.read()
        assert added.type is CLUSTER
        assert NEW in added.names
        assert CHAT not in added.removed
        assert variant is Variant.DELTA or CHAT in added.names
        await envoy.ask(ENDPOINT, NEW)
        assert (await envoy.accepted()).names == {NEW}
        await envoy.accept(added)
        routes = await envoy.read()
        assert routes.type is ROUTE
        await envoy.ask(ENDPOINT, EMBED if variant is Variant.DELTA else "*")
        assert (await envoy.accepted()).type is ENDPOINT  # and nothing of clusters before it
        await envoy.accept(routes)
        removal = await envoy.read()
        assert removal.type is CLUSTER
        assert CHAT in removal.removed or removal.names == {EMBED, NEW}


@both
@asynchronous
async def test_what_is_refused_is_told_with_its_line_and_not_sent_again(folder: Folder, variant: Variant) -> None:
    async with served(folder.path) as server, stream(server.xds, variant) as envoy:
        await envoy.synced()
        folder.write("models", model("chat", 9005) + "---\n" + model("embed"))
        await envoy.refuse(await envoy.read(), "malformed IP address")
        status = await server.until(lambda s: bool(s["envoys"][0]["types"]["endpoint"]["refused"]))
        (refused,) = status["envoys"][0]["types"]["endpoint"]["refused"]
        assert (refused["name"], refused["detail"]) == (CHAT, "malformed IP address")
        assert refused["origin"].startswith("policies/models.yaml:")
        assert status["envoys"][0]["synced"] is False
        assert await server.metric(f'turnout_nacks_total{{type="endpoint",variant="{variant}"}}') == 1
        folder.write("models", model("chat", 9005) + "---\n" + model("embed", 9006))
        assert (await envoy.accepted()).names == {EMBED}
        folder.write("models", model("chat", 9007) + "---\n" + model("embed", 9006))
        assert (await envoy.accepted()).names == {CHAT}
        await server.until(lambda s: s["envoys"][0]["synced"])


@both
@asynchronous
async def test_nothing_is_sent_again_to_an_envoy_that_reconnects(folder: Folder, variant: Variant) -> None:
    """On another server: versions are of the content."""
    async with served(folder.path) as server, stream(server.xds, variant) as envoy:
        before = await envoy.synced()
    async with served(folder.path) as other, stream(other.xds, variant) as envoy:
        for type_ in (CLUSTER, LISTENER):
            await envoy.ask(type_, version=before[type_].version, versions=before[type_].versions)
        await envoy.ask(RUNTIME, "turnout")
        assert (await envoy.accepted()).type is RUNTIME


@both
@asynchronous
async def test_nothing_is_sent_again_by_a_server_that_reads_the_policies_after_the_envoy_has_come(
    folder: Folder, variant: Variant
) -> None:
    """Its listeners are where it wants them, which no server remembers."""
    placed = {"turnout": {"port": 10001}}
    async with served(folder.path) as server, stream(server.xds, variant, **placed) as envoy:
        before = await envoy.synced()
    hidden = folder.path.rename(folder.path.with_name("hidden"))
    async with served(folder.path) as other, stream(other.xds, variant, **placed) as envoy:
        for type_ in (CLUSTER, LISTENER):
            await envoy.ask(type_, version=before[type_].version, versions=before[type_].versions)
        await other.until(lambda s: bool(s["envoys"]) and len(s["envoys"][0]["types"]) == 2)
        hidden.rename(folder.path)
        await other.until(lambda s: s["policy"]["state"] == "ok")
        await envoy.ask(RUNTIME, "turnout")
        assert (await envoy.accepted()).type is RUNTIME


@both
@asynchronous
async def test_an_envoy_that_was_cut_off_after_a_refusal_is_not_believed_while_its_old_stream_is_still_open(
    folder: Folder, variant: Variant
) -> None:
    async with served(folder.path) as server, stream(server.xds, variant) as cut_off:
        before = await cut_off.synced()
        folder.write("models", model("chat", 9005) + "---\n" + model("embed"))
        await cut_off.refuse(await cut_off.read(), "malformed IP address")
        await server.until(lambda s: bool(s["envoys"][0]["types"]["endpoint"]["refused"]))
        async with stream(server.xds, variant) as envoy:
            await envoy.ask(CLUSTER, version=before[CLUSTER].version, versions=before[CLUSTER].versions)
            assert (await envoy.accepted()).type is CLUSTER


@both
@asynchronous
async def test_a_node_whose_listeners_have_no_port_is_told_why(folder: Folder, variant: Variant) -> None:
    folder.write(
        "gateway",
        "apiVersion: turnout.dev/v1\nkind: Gateway\nmetadata: {name: two}\nspec:\n  hosts: ['*']\n"
        "  listeners: [{port: 80, protocol: HTTP}, {port: 81, protocol: HTTP}]\n",
    )
    async with served(folder.path) as server, stream(server.xds, variant, cluster="two", turnout={"port": 65535}) as e:
        await e.ask(LISTENER)
        code, reason = await e.ended()
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert reason.startswith("X105 node gw-1: node metadata turnout.port: 65535: with 2 listeners")


@asynchronous
async def test_delta_names_what_has_gone_while_an_envoy_was_away(folder: Folder) -> None:
    async with served(folder.path) as server, stream(server.xds, Variant.DELTA) as envoy:
        before = await envoy.synced()
    folder.models("embed")
    async with served(folder.path) as other, stream(other.xds, Variant.DELTA) as envoy:
        for type_, answer in before.items():
            names = () if type_ in (CLUSTER, LISTENER) else answer.names
            await envoy.ask(type_, *names, versions=answer.versions)
        assert (await envoy.accepted()).type is ROUTE
        removal = await envoy.accepted()
        assert (removal.type, removal.names, removal.removed) == (CLUSTER, set(), (CHAT,))


@both
@asynchronous
async def test_a_name_that_was_dropped_comes_back_when_it_is_asked_for_again(folder: Folder, variant: Variant) -> None:
    async with served(folder.path) as server, stream(server.xds, variant) as envoy:
        await envoy.ask(ENDPOINT, CHAT, EMBED)
        await envoy.accepted()
        await envoy.drop(ENDPOINT, CHAT)
        folder.write("models", model("chat", 9005) + "---\n" + model("embed", 9006))
        assert (await envoy.accepted()).names == {EMBED}
        await envoy.ask(ENDPOINT, CHAT)
        assert (await envoy.accepted()).names == {CHAT}


@asynchronous
async def test_delta_says_that_a_name_does_not_exist(folder: Folder) -> None:
    async with served(folder.path) as server, stream(server.xds, Variant.DELTA) as envoy:
        await envoy.ask(ENDPOINT, "nope")
        assert (await envoy.accepted()).removed == ("nope",)


@asynchronous
async def test_sotw_ignores_what_a_request_with_a_stale_nonce_asks_for(folder: Folder) -> None:
    async with served(folder.path) as server, stream(server.xds, Variant.SOTW) as envoy:
        await envoy.ask(ENDPOINT, CHAT)
        old = await envoy.accepted()
        folder.write("models", model("chat", 9005) + "---\n" + model("embed"))
        new = await envoy.read()
        await envoy.ask(ENDPOINT, EMBED, nonce=old.nonce)
        await envoy.ask(RUNTIME, "turnout")
        assert (await envoy.accepted()).type is RUNTIME
        await envoy.accept(new)
        assert (await envoy.accepted()).names == {EMBED}


@both
@asynchronous
async def test_an_unknown_type_is_never_answered_but_counted(folder: Folder, variant: Variant) -> None:
    async with served(folder.path) as server, stream(server.xds, variant) as envoy:
        await envoy.ask("type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret")
        await envoy.ask(RUNTIME, "turnout")
        assert (await envoy.accepted()).type is RUNTIME
        assert await server.metric("turnout_unknown_type_requests_total") == 1


@both
@asynchronous
async def test_an_envoy_has_its_listeners_where_it_asks_for_them(folder: Folder, variant: Variant) -> None:
    async with (
        served(folder.path) as server,
        stream(server.xds, variant, "gw-1", turnout={"port": 10001, "address": "127.0.0.1"}) as one,
        stream(server.xds, variant, "gw-2") as two,
    ):
        ports = []
        for envoy in (one, two):
            await envoy.ask(LISTENER)
            (listener,) = (await envoy.accepted()).resources.values()
            ports.append(listener.address.socket_address.port_value)
        assert ports[0] == 10001
        assert ports[1] != 10001


@both
@asynchronous
async def test_two_servers_send_the_same_bytes(folder: Folder, variant: Variant) -> None:
    said = []
    for _ in range(2):
        async with served(folder.path) as server, stream(server.xds, variant) as envoy:
            said.append({type_: answer.raw for type_, answer in (await envoy.synced()).items()})
    assert said[0] == said[1]


@both
@pytest.mark.parametrize(
    ("node", "code", "reason"),
    [
        ({"node_id": ""}, grpc.StatusCode.INVALID_ARGUMENT, "X105 the first request must name its node"),
        ({"cluster": ""}, grpc.StatusCode.INVALID_ARGUMENT, "X105 the first request must name its node"),
        ({"cluster": "nope"}, grpc.StatusCode.PERMISSION_DENIED, "X105 node gw-1: group 'nope' is unknown"),
        ({"turnout": {"port": 0}}, grpc.StatusCode.INVALID_ARGUMENT, "X105 node metadata turnout.port: 0 is outside"),
    ],
    ids=["no id", "no group", "unknown group", "bad metadata"],
)
@asynchronous
async def test_a_node_that_cannot_be_served_is_told_why(
    folder: Folder, variant: Variant, node: dict[str, object], code: grpc.StatusCode, reason: str
) -> None:
    async with served(folder.path) as server:
        await server.until(lambda s: s["policy"]["state"] == "ok")
        async with stream(server.xds, variant, **node) as envoy:  # type: ignore[arg-type]
            await envoy.ask(CLUSTER)
            ended, details = await envoy.ended()
            assert ended is code
            assert details.startswith(reason)


@both
@asynchronous
async def test_garbage_ends_its_own_stream_only(folder: Folder, variant: Variant) -> None:
    async with (
        served(folder.path) as server,
        stream(server.xds, variant, "good") as good,
        stream(server.xds, variant, "bad") as bad,
    ):
        await bad.send_raw(b"\xff\xff\xff")
        assert (await bad.ended())[0] is grpc.StatusCode.INVALID_ARGUMENT
        await good.synced()


@both
@asynchronous
async def test_a_server_that_stops_ends_its_streams_in_order(folder: Folder, variant: Variant) -> None:
    async with served(folder.path) as server, stream(server.xds, variant) as envoy:
        await envoy.synced()
        await server.server.stop()
        assert await envoy.ended() == (grpc.StatusCode.OK, "")


@both
@asynchronous
async def test_a_reader_that_stops_gets_the_newest_when_it_goes_on(folder: Folder, variant: Variant) -> None:
    async with (
        served(folder.path) as server,
        stream(server.xds, variant, "slow") as slow,
        stream(server.xds, variant, "quick") as quick,
    ):
        for envoy in (slow, quick):
            await envoy.ask(ENDPOINT, CHAT)
            await envoy.accepted()
        for port in (9005, 9006, 9007):
            folder.write("models", model("chat", port) + "---\n" + model("embed"))
            await quick.accepted()
        ports: list[int] = []
        while not ports or ports[-1] != 9007:
            assignment = (await slow.accepted()).resources[CHAT]
            ports.append(assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.port_value)
        assert ports == sorted(ports)


@asynchronous
async def test_a_request_repeats_nothing_of_the_node(folder: Folder) -> None:
    """Only the first request of a stream says who asks; the others are served all the same."""
    async with served(folder.path) as server, stream(server.xds, Variant.SOTW) as envoy:
        await envoy.synced()
        request = discovery_pb2.DiscoveryRequest(type_url=ENDPOINT, resource_names=[CHAT])
        await envoy.send_raw(request.SerializeToString())
        folder.write("models", model("chat", 9005) + "---\n" + model("embed", 9006))
        assert (await envoy.accepted()).names == {CHAT}
