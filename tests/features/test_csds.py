"""The client status discovery service over real gRPC: what each Envoy was sent, has accepted and refuses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from envoy.admin.v3.config_dump_shared_pb2 import ClientResourceStatus
from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2
from envoy.service.status.v3 import csds_pb2
from google.protobuf import json_format

import xds.stream.csds
from tests.features.ads import CLUSTER, ENDPOINT, LISTENER, NARROW, ROUTE, stream
from tests.features.served import DEADLINE, Folder, Served, asynchronous, cluster, model, served, until
from xds.admin.redaction import REDACTED
from xds.hangup import hang_up
from xds.stream import csds, taking
from xds.stream.state import Variant

both = pytest.mark.parametrize("variant", list(Variant))
methods = pytest.mark.parametrize("method", ["FetchClientStatus", "StreamClientStatus"])
CHAT, EMBED = cluster("chat"), cluster("embed")


@asynccontextmanager
async def status_call(server: Served, method: str = "FetchClientStatus") -> AsyncIterator[Any]:
    """Asks with the fields of a ClientStatusRequest as JSON has them; several times, by one stream."""
    options = (("grpc.max_receive_message_length", -1),)
    async with grpc.aio.insecure_channel(server.xds, options=options) as channel:
        path = f"/{csds.SERVICE}/{method}"
        opened: Any = channel.stream_stream(path)() if method == "StreamClientStatus" else None

        async def ask(**fields: Any) -> Any:
            raw = json_format.ParseDict(fields, csds_pb2.ClientStatusRequest()).SerializeToString()
            if opened is None:
                said = await asyncio.wait_for(channel.unary_unary(path)(raw), DEADLINE)  # type: ignore[arg-type]
            else:
                await opened.write(raw)
                said = await asyncio.wait_for(opened.read(), DEADLINE)
            return csds_pb2.ClientStatusResponse.FromString(said)

        yield ask


def entry(config: Any, type_: str, name: str) -> Any:
    (found,) = [e for e in config.generic_xds_configs if (e.type_url, e.name) == (type_, name)]
    return found


def views(found: Any) -> tuple[str, str]:
    """The server's and the client's."""
    return csds_pb2.ConfigStatus.Name(found.config_status), ClientResourceStatus.Name(found.client_status)


async def all_synced(server: Served, count: int) -> None:
    await server.until(lambda s: len(s["envoys"]) == count and all(e["synced"] for e in s["envoys"]))


def test_the_methods_are_those_that_tools_call() -> None:
    (described,) = csds_pb2.DESCRIPTOR.services_by_name.values()
    assert described.full_name == csds.SERVICE
    assert {m.name for m in described.methods} == {"FetchClientStatus", "StreamClientStatus"}


@both
@methods
@asynchronous
async def test_an_envoy_in_sync_is_shown_with_all_that_it_has(folder: Folder, variant: Variant, method: str) -> None:
    async with (
        served(folder.path) as server,
        stream(server.xds, variant, region="north") as envoy,
        status_call(server, method) as ask,
    ):
        assert list((await ask()).config) == []
        had = await envoy.synced()
        await all_synced(server, 1)
        (config,) = (await ask()).config
        assert (config.node.id, config.node.cluster, config.node.metadata["region"]) == ("gw-1", "default", "north")
        assert {views(e) for e in config.generic_xds_configs} == {("SYNCED", "ACKED")}
        shown = {(e.type_url, e.name) for e in config.generic_xds_configs}
        assert shown == {(type_, name) for type_, answer in had.items() for name in answer.names}
        found = entry(config, ENDPOINT, CHAT)
        assert found.xds_config.value == had[ENDPOINT].resources[CHAT].SerializeToString(deterministic=True)
        assert found.xds_config.type_url == ENDPOINT
        (bare,) = (await ask(exclude_resource_contents=True)).config
        assert not any(e.HasField("xds_config") for e in bare.generic_xds_configs)
        assert [e.version_info for e in bare.generic_xds_configs] == [
            e.version_info for e in config.generic_xds_configs
        ]


@both
@asynchronous
async def test_what_is_refused_is_shown_with_its_reason_and_both_contents(folder: Folder, variant: Variant) -> None:
    async with (
        served(folder.path) as server,
        stream(server.xds, variant) as envoy,
        status_call(server) as ask,
    ):
        good = (await envoy.synced())[ENDPOINT].resources[CHAT]
        folder.write("models", model("chat", 9005) + "---\n" + model("embed"))
        bad = await envoy.read()
        await envoy.refuse(bad, "malformed IP address")
        await server.until(lambda s: bool(s["envoys"][0]["types"]["endpoint"]["refused"]))
        (config,) = (await ask()).config
        found = entry(config, ENDPOINT, CHAT)
        assert views(found) == ("ERROR", "NACKED")
        assert found.xds_config.value == good.SerializeToString(deterministic=True)
        assert found.error_state.details == "malformed IP address"
        refused = bad.resources[CHAT].SerializeToString(deterministic=True)
        assert found.error_state.failed_configuration.value == refused
        assert views(entry(config, ENDPOINT, EMBED)) == ("SYNCED", "ACKED")


@both
@asynchronous
async def test_what_is_on_its_way_and_what_waits_for_it_are_told_apart(folder: Folder, variant: Variant) -> None:
    async with (
        served(folder.path) as server,
        stream(server.xds, variant) as envoy,
        status_call(server) as ask,
    ):
        await envoy.synced()
        folder.models("chat", "embed", "new")
        await envoy.read()
        (config,) = (await ask()).config
        assert views(entry(config, CLUSTER, cluster("new"))) == ("STALE", "REQUESTED")
        assert views(entry(config, ROUTE, "default")) == ("NOT_SENT", "ACKED")


@both
@asynchronous
async def test_streams_of_one_node_are_one_client(folder: Folder, variant: Variant) -> None:
    async with (
        served(folder.path) as server,
        stream(server.xds, variant) as old,
        stream(server.xds, variant) as new,
        status_call(server) as ask,
    ):
        await old.synced()
        await new.ask(CLUSTER)
        await new.read()
        (config,) = (await ask()).config
        assert views(entry(config, CLUSTER, CHAT)) == ("STALE", "REQUESTED")
        assert views(entry(config, ROUTE, "default")) == ("SYNCED", "ACKED")


@methods
@asynchronous
async def test_matchers_choose_clients(folder: Folder, method: str) -> None:
    async with (
        served(folder.path) as server,
        stream(server.xds, Variant.DELTA, "gw-1", zone="az-1") as one,
        stream(server.xds, Variant.DELTA, "gw-2", zone="az-2") as two,
        status_call(server, method) as ask,
    ):
        for envoy in (one, two):
            await envoy.ask(CLUSTER)
            await envoy.accepted()

        async def ids(*matchers: Any) -> list[str]:
            return [config.node.id for config in (await ask(node_matchers=list(matchers))).config]

        assert await ids() == ["gw-1", "gw-2"]
        assert await ids({"node_id": {"exact": "gw-2"}}) == ["gw-2"]
        in_az_1 = {"path": [{"key": "zone"}], "value": {"string_match": {"exact": "az-1"}}}
        assert await ids({"node_metadatas": [in_az_1]}) == ["gw-1"]
        assert await ids({"node_id": {"prefix": "nobody"}}) == []


@methods
@asynchronous
async def test_a_matcher_that_cannot_be_evaluated_is_refused_with_a_reason(folder: Folder, method: str) -> None:
    async with served(folder.path) as server, status_call(server, method) as ask:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await ask(node_matchers=[{"node_id": {"safe_regex": {"regex": "("}}}])
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert (refused.value.details() or "").startswith("safe_regex '(': missing )")


@asynchronous
async def test_an_answer_that_would_be_too_large_is_refused_with_a_hint(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        served(folder.path) as server,
        stream(server.xds, Variant.DELTA) as envoy,
        status_call(server) as ask,
    ):
        await envoy.synced()
        size, bare = [(await ask(exclude_resource_contents=out)).ByteSize() for out in (False, True)]
        assert bare < size
        monkeypatch.setattr(xds.stream.csds, "MOST_BYTES", size - 100)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await ask()
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "set exclude_resource_contents" in (refused.value.details() or "")
        assert len((await ask(exclude_resource_contents=True)).config) == 1
        monkeypatch.setattr(xds.stream.csds, "MOST_BYTES", 10)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await ask(exclude_resource_contents=True)
        assert "ask for fewer Envoys with node_matchers" in (refused.value.details() or "")
        assert "exclude_resource_contents" not in (refused.value.details() or "")


@asynchronous
async def test_what_an_envoy_lists_of_its_extensions_is_left_out(folder: Folder) -> None:
    node = base_pb2.Node(id="gw-1", cluster="default", locality={"zone": "az-1"}, user_agent_name="envoy")
    node.extensions.add(name="envoy.filters.http.router")
    async with (
        served(folder.path) as server,
        stream(server.xds, Variant.DELTA) as envoy,
        status_call(server) as ask,
    ):
        request = discovery_pb2.DeltaDiscoveryRequest(type_url=CLUSTER, node=node)
        await envoy.send_raw(request.SerializeToString())
        await envoy.read()
        (config,) = (await ask()).config
        node.ClearField("extensions")
        assert config.node == node


@asynchronous
async def test_what_is_marked_as_sensitive_is_not_shown(folder: Folder) -> None:
    folder.write(
        "gateway",
        "apiVersion: turnout.dev/v1\nkind: Gateway\nmetadata: {name: public}\nspec:\n  hosts: ['*']\n"
        "  listeners: [{port: 8443, protocol: HTTPS, tls: {secretRef: {name: public-tls}}}]\n",
    )
    async with (
        served(folder.path) as server,
        stream(server.xds, Variant.DELTA, cluster="public") as envoy,
        status_call(server) as ask,
    ):
        await envoy.ask(LISTENER)
        assert b"public-tls/tls.key" in (await envoy.accepted()).raw
        shown = (await ask()).SerializeToString()
        assert b"public-tls/tls.crt" in shown
        assert b"public-tls/tls.key" not in shown
        assert REDACTED.encode() in shown


@asynchronous
async def test_what_is_no_request_is_refused_and_streams_go_on(folder: Folder) -> None:
    async with (
        served(folder.path) as server,
        stream(server.xds, Variant.DELTA) as envoy,
        grpc.aio.insecure_channel(server.xds) as channel,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await channel.unary_unary(f"/{csds.SERVICE}/FetchClientStatus")(b"\xff\xff")  # type: ignore[arg-type]
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert refused.value.details() == "not a client status request"
        await envoy.synced()


MANY = "---\n".join(model(f"m{n}", 10_000 + n) for n in range(300))


@asynchronous
async def test_answers_that_are_not_taken_are_bounded_and_do_not_stay(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.write("many", MANY)
    async with (
        served(folder.path) as server,
        stream(server.xds, Variant.DELTA) as envoy,
        grpc.aio.insecure_channel(server.xds, options=NARROW) as channel,
        status_call(server) as ask,
    ):
        await envoy.synced()
        size, bare = [(await ask(exclude_resource_contents=out)).ByteSize() for out in (False, True)]
        monkeypatch.setattr(csds, "UNTAKEN_BYTES", size + bare // 2)
        held: Any = channel.unary_stream(f"/{csds.SERVICE}/FetchClientStatus")(b"")  # type: ignore[arg-type]

        async def refused() -> str | None:
            try:
                await ask(exclude_resource_contents=True)
            except grpc.aio.AioRpcError as problem:
                return f"{problem.code().name} {problem.details()}"
            return None

        said = await until(refused)
        assert said == "RESOURCE_EXHAUSTED others have not taken their answers yet: ask again later"
        held.cancel()

        async def answered() -> bool | None:
            return None if await refused() else True

        await until(answered)


@methods
@asynchronous
async def test_whoever_does_not_take_an_answer_is_hung_up_on(
    folder: Folder, method: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """At the first attempt it may not be possible."""
    folder.write("many", MANY)
    monkeypatch.setattr(taking, "STALLED", 0.3)
    attempts: list[str] = []

    def after_failing(peer: str) -> bool:
        attempts.append(peer)
        return len(attempts) > 1 and hang_up(peer)

    monkeypatch.setattr(taking, "hang_up", after_failing)
    async with (
        served(folder.path) as server,
        stream(server.xds, Variant.DELTA) as envoy,
        grpc.aio.insecure_channel(server.xds, options=NARROW) as channel,
    ):
        await envoy.synced()
        call: Any = channel.stream_stream(f"/{csds.SERVICE}/{method}")()
        await call.write(b"")
        await call.done_writing()
        assert await asyncio.wait_for(call.code(), DEADLINE) is grpc.StatusCode.UNAVAILABLE
        await server.until(lambda s: [c["client"] for c in s["turned_away"]] == ["ipv4:127.0.0.1"])
        assert len(attempts) == 2
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
