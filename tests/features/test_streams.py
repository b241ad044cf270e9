"""Streams over real gRPC, both variants alike: what the protocol's own text (test_protocol.py) does not speak of."""

from __future__ import annotations

import grpc
import pytest

from tests.features.ads import CLUSTER, ENDPOINT, LISTENER, ROUTE, RUNTIME, Answer, Stream, route_names, stream
from tests.features.served import Folder, asynchronous, cluster, model, served
from xds.snapshot import ResourceType
from xds.stream.state import Variant

both = pytest.mark.parametrize("variant", list(Variant))
CHAT, EMBED = cluster("chat"), cluster("embed")


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


async def refusing_an_edit(folder: Folder, envoy: Stream) -> dict[ResourceType, Answer]:
    """What it had in sync, before it refused a load assignment."""
    before = await envoy.synced()
    folder.write("models", model("chat", 9005) + "---\n" + model("embed"))
    await envoy.refuse(await envoy.read(), "malformed IP address")
    return before


@both
@asynchronous
async def test_an_envoy_that_was_cut_off_after_a_refusal_is_not_believed_while_its_old_stream_is_still_open(
    folder: Folder, variant: Variant
) -> None:
    async with served(folder.path) as server, stream(server.xds, variant) as cut_off:
        before = await refusing_an_edit(folder, cut_off)
        await server.until(lambda s: bool(s["envoys"][0]["types"]["endpoint"]["refused"]))
        async with stream(server.xds, variant) as envoy:
            await envoy.ask(CLUSTER, version=before[CLUSTER].version, versions=before[CLUSTER].versions)
            assert (await envoy.accepted()).type is CLUSTER


@both
@asynchronous
async def test_an_envoy_that_has_accepted_what_came_after_a_refusal_is_believed_again(
    folder: Folder, variant: Variant
) -> None:
    async with served(folder.path) as server, stream(server.xds, variant) as cut_off:
        before = await refusing_an_edit(folder, cut_off)
        folder.write("models", model("chat", 9006) + "---\n" + model("embed"))
        assert (await cut_off.accepted()).type is ENDPOINT
        await server.until(lambda s: not s["envoys"][0]["types"]["endpoint"]["refused"] and s["envoys"][0]["synced"])
        async with stream(server.xds, variant) as envoy:
            await envoy.ask(CLUSTER, version=before[CLUSTER].version, versions=before[CLUSTER].versions)
            await envoy.quiet()


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
async def test_a_server_that_stops_sends_its_clients_elsewhere(folder: Folder, variant: Variant) -> None:
    async with served(folder.path) as server, stream(server.xds, variant) as envoy:
        await envoy.synced()
        await server.server.stop()
        assert await envoy.ended() == (grpc.StatusCode.UNAVAILABLE, "the control server is stopping")


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
