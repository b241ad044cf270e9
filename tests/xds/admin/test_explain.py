"""What a running server says of a request while weights are live."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from compiler.fleet import Carrier, Endpoint, Host, Tier
from compiler.request import Sent
from tests.xds.translate.fleets import fleet, model, version
from xds.admin.explain import explained
from xds.control import Policy
from xds.live.state import LiveState, Override

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LIVE = LiveState({"chat": Override({"1": 0, "2": 100}, NOW, NOW + timedelta(hours=1), "a bad canary")})
ASKED = Sent("GET", "/v1/models/chat/x", (("host", "a.example.com"),), b"")


async def shares(carrier: Carrier) -> dict[str, float]:
    """Of the versions of a model with 90 and 10 by policy, and 0 and 100 for now, all of whose instances are well."""

    async def well(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(well, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        there = (Endpoint("127.0.0.1", port, "", Tier.ACTIVE, 1),)
        chat = model("chat", tuple(replace(version(n, w), endpoints=there) for n, w in (("1", 90), ("2", 10))))
        of = fleet(chat, hosts=(Host("a.example.com", carrier),))
        found = await explained(of, LIVE, Policy(), ASKED, None)
    return {target["version"]: target["share"] for target in found["targets"]}


@pytest.mark.parametrize("carrier", [Carrier.ISTIO, Carrier.GATEWAY_API])
def test_live_weights_are_told_of_hosts_of_own_envoys_alone(carrier: Carrier) -> None:
    assert asyncio.run(shares(Carrier.ENVOY)) == {"2": 1.0}
    assert asyncio.run(shares(carrier)) == {"1": 0.9, "2": 0.1}
