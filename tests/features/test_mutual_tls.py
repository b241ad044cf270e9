"""Who may have what over mutual TLS, by real gRPC: identities, groups, and until when."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from envoy.service.status.v3 import csds_pb2

from tests.certificates import Authority, Pair
from tests.features.ads import CLUSTER, Answer, Stream, connected, stream
from tests.features.served import DEADLINE, Folder, asynchronous, cluster, served
from tests.features.test_tenants import owned, tenants
from xds.stream.csds import SERVICE
from xds.stream.services import ADS, SEPARATE
from xds.stream.state import Variant
from xds.tls.files import Certificates, Files

both = pytest.mark.parametrize("variant", list(Variant))
CHAT = cluster("chat")
GATEWAYS = "".join(
    f"---\napiVersion: turnout.dev/v1\nkind: Gateway\nmetadata: {{name: {name}, namespace: edge}}\n"
    f"spec: {{hosts: [{name}.example.com]}}\n"
    for name in ("public", "staff")
)


@dataclass(frozen=True)
class Keys:
    authority: Authority
    server: Pair

    @property
    def certificates(self) -> Certificates:
        return Certificates("xds", Files(self.server.certificate, self.server.key, self.authority.certificate))

    def shown(self, pair: Pair) -> grpc.ChannelCredentials:
        """What a client that has this pair shows."""
        return grpc.ssl_channel_credentials(
            self.authority.certificate.read_bytes(), pair.key.read_bytes(), pair.certificate.read_bytes()
        )


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    authority = Authority(tmp_path / "ca")
    return Keys(authority, authority.server())


@pytest.fixture
def gateways(folder: Folder) -> Folder:
    """`public` and `staff`, beside two tenants."""
    folder.write("gateways", GATEWAYS)
    tenants(folder, owned("fraud", "bank"))
    return folder


ENTITLED = (
    ("URI:spiffe://example.com/turnout/public", "public", True),
    ("URI:spiffe://example.com/turnout/public", "staff", False),
    ("URI:spiffe://example.com/turnout/public/staff", "staff", False),
    ("URI:spiffe://example.com/turnout/sidecar.bank", "sidecar.bank", True),
    ("URI:spiffe://example.com/turnout/sidecar.bank", "sidecar.shop", False),
    ("URI:spiffe://example.com/ns/edge/sa/turnout-gateway-public", "public", True),
    ("URI:spiffe://example.com/ns/edge/sa/turnout-gateway-public", "staff", False),
    ("URI:spiffe://example.com/ns/edge/sa/public", "public", False),
    ("URI:spiffe://example.com/ns/elsewhere/sa/turnout-gateway-public", "public", False),
    ("URI:spiffe://example.com/ns/ai-inference-bank/sa/web", "sidecar.bank", True),
    ("URI:spiffe://example.com/ns/ai-inference-bank/sa/web", "sidecar.shop", False),
    ("URI:spiffe://example.com/ns/ai-inference-bank/sa/turnout-gateway-public", "public", False),
    ("URI:spiffe://example.com/ns/elsewhere/sa/web", "sidecar", True),
    ("DNS:public.turnout", "public", True),
    ("DNS:public.turnout.example.com", "public", True),
    ("DNS:public.turnout,DNS:staff.turnout", "staff", True),
    ("DNS:public.turnouts.example.com", "public", False),
    ("DNS:*.turnout.example.com", "public", False),
    ("DNS:not-public.turnout", "public", False),
    ("email:public.turnout@example.com", "public", False),
    ("", "public", False),
    ("", "sidecar", True),
)
NOBODY = "a certificate with neither SPIFFE ID nor DNS name"
WHO = {"": NOBODY, "email:public.turnout@example.com": NOBODY}


@asynchronous
async def test_a_certificate_says_which_groups_its_envoy_may_ask_for(gateways: Folder, keys: Keys) -> None:
    async with served(gateways.path, tls=keys.certificates) as server:
        await server.until(lambda s: s["policy"]["state"] == "ok")
        for number, (names, group, allowed) in enumerate(ENTITLED):
            shown = keys.shown(keys.authority.pair(str(number), *filter(None, [names])))
            async with stream(server.xds, Variant.DELTA, cluster=group, credentials=shown) as envoy:
                await envoy.ask(CLUSTER)
                if allowed:
                    assert CHAT in (await envoy.read()).names, names
                    continue
                code, reason = await envoy.ended()
            who = WHO.get(names, names.partition(":")[2])
            assert (code, reason) == (
                grpc.StatusCode.PERMISSION_DENIED,
                f"X105 node gw-1: group '{group}' is not for {who}",
            )
            listed = {found["client"]: found["reason"] for found in (await server.status())["turned_away"]}
            assert listed[f"gw-1 ({who})"] == reason
        refused = len([allowed for *_, allowed in ENTITLED if not allowed])
        assert await server.metric('turnout_streams_refused_total{code="PERMISSION_DENIED"}') == refused


@both
@asynchronous
async def test_every_service_is_bound_to_the_identity(gateways: Folder, keys: Keys, variant: Variant) -> None:
    shown = keys.shown(keys.authority.envoy("public"))
    async with served(gateways.path, tls=keys.certificates) as server:
        await server.until(lambda s: s["policy"]["state"] == "ok")
        for service in SEPARATE:
            async with stream(server.xds, variant, cluster="staff", service=service, credentials=shown) as envoy:
                await envoy.ask(str(service.type), "public")
                assert (await envoy.ended())[0] is grpc.StatusCode.PERMISSION_DENIED


@asynchronous
async def test_an_identity_is_shown_no_other_group_by_csds(gateways: Folder, keys: Keys) -> None:
    authority = keys.authority
    public, staff = (keys.shown(authority.envoy(group)) for group in ("public", "staff"))
    async with (
        served(gateways.path, tls=keys.certificates) as server,
        stream(server.xds, Variant.DELTA, "gw-p", cluster="public", credentials=public) as one,
        stream(server.xds, Variant.DELTA, "gw-s", cluster="staff", credentials=staff) as other,
    ):
        for envoy in (one, other):
            await envoy.ask(CLUSTER)
            await envoy.accepted()
        for shown, seen in ((public, ["gw-p"]), (staff, ["gw-s"])):
            async with connected(server.xds, shown) as channel:
                fetch = channel.unary_unary(f"/{SERVICE}/FetchClientStatus")
                answer = csds_pb2.ClientStatusResponse.FromString(await fetch(b""))
            assert [found.node.id for found in answer.config] == seen
        identities = {envoy["node"]: envoy["identity"] for envoy in (await server.status())["envoys"]}
        assert identities == {
            "gw-p": "spiffe://example.com/turnout/public",
            "gw-s": "spiffe://example.com/turnout/staff",
        }


@asynchronous
async def test_when_policy_moves_a_gateway_the_old_namespace_loses_it(gateways: Folder, keys: Keys) -> None:
    shown = keys.shown(keys.authority.pair("sa", "URI:spiffe://example.com/ns/edge/sa/turnout-gateway-public"))
    async with (
        served(gateways.path, tls=keys.certificates) as server,
        stream(server.xds, Variant.DELTA, cluster="public", credentials=shown) as envoy,
    ):
        await envoy.ask(CLUSTER)
        await envoy.accepted()
        gateways.write("gateways", GATEWAYS.replace("edge", "moved"))
        assert (await envoy.ended())[0] is grpc.StatusCode.PERMISSION_DENIED


async def first_answer(envoy: Stream) -> Answer:
    await envoy.ask(CLUSTER)
    return await envoy.read()


async def refused_in_the_handshake(envoy: Stream) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as problem:
        await first_answer(envoy)
    assert problem.value.code() is grpc.StatusCode.UNAVAILABLE


@asynchronous
async def test_without_a_certificate_of_the_client_ca_nobody_comes_in(
    gateways: Folder, keys: Keys, tmp_path: Path
) -> None:
    strangers = Authority(tmp_path / "strangers")
    trusted = keys.authority.certificate.read_bytes()
    late = keys.authority.envoy("public", "late", lasting=timedelta(seconds=-1))
    async with served(gateways.path, tls=keys.certificates) as server:
        for shown in (
            keys.shown(strangers.envoy("public")),
            keys.shown(late),
            grpc.ssl_channel_credentials(trusted),
            None,
        ):
            async with stream(server.xds, Variant.DELTA, cluster="public", credentials=shown) as envoy:
                await refused_in_the_handshake(envoy)
        assert (await server.status())["envoys"] == []


@both
@asynchronous
async def test_a_stream_ends_with_its_certificate_and_so_does_its_connection(
    gateways: Folder, keys: Keys, variant: Variant
) -> None:
    shown = keys.shown(keys.authority.envoy("public", lasting=timedelta(seconds=3)))
    node = {"id": "gw-1", "cluster": "public"}
    async with (
        served(gateways.path, tls=keys.certificates) as server,
        connected(server.xds, shown) as channel,
    ):
        envoy = Stream(variant, channel.stream_stream(f"/{ADS.name}/{ADS.method(variant)}")(), node)
        await envoy.ask(CLUSTER)
        await envoy.accepted()
        assert await envoy.ended() == (
            grpc.StatusCode.UNAUTHENTICATED,
            "X105 the certificate of spiffe://example.com/turnout/public has expired",
        )
        await asyncio.wait_for(channel.wait_for_state_change(grpc.ChannelConnectivity.READY), DEADLINE)
        assert await server.metric('turnout_streams_refused_total{code="UNAUTHENTICATED"}') == 1


@asynchronous
async def test_new_connections_get_the_new_certificate_and_old_streams_go_on(gateways: Folder, keys: Keys) -> None:
    certificates, shown = keys.certificates, keys.shown(keys.authority.envoy("public"))
    async with (
        served(gateways.path, tls=certificates) as server,
        stream(server.xds, Variant.DELTA, "gw-1", cluster="public", credentials=shown) as envoy,
    ):
        await envoy.synced()
        other = Authority(keys.authority.folder / "other")
        keys.server.become(other.server())
        assert certificates.look()
        anew = grpc.ssl_channel_credentials(
            other.certificate.read_bytes(),
            (keys.authority.folder / "public" / "tls.key").read_bytes(),
            (keys.authority.folder / "public" / "tls.crt").read_bytes(),
        )
        async with stream(server.xds, Variant.DELTA, "gw-2", cluster="public", credentials=anew) as second:
            await second.synced()
        async with stream(server.xds, Variant.DELTA, "gw-3", cluster="public", credentials=shown) as third:
            await refused_in_the_handshake(third)
        await envoy.quiet()
