"""Many edits in a short time: few of them are pushed, and the last one arrives everywhere."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from tests.features.ads import ENDPOINT, RUNTIME, Stream, stream
from tests.features.served import Folder, Served, asynchronous, cluster, model, served
from xds.control import LIVE_APART
from xds.observe import policies as observed
from xds.stream.state import Variant

EDITS = 100
FEW = 20
"""At most, of a hundred edits in five seconds: one at once, one a second, and some for the pauses of a busy machine."""
LAST = 9000 + EDITS

SPLIT = """\
apiVersion: turnout.dev/v1
kind: InferenceModel
metadata: {name: split}
spec:
  modelName: example/split
  versions:
    - {name: "1", weight: 50, endpoints: [{address: 127.0.0.2, port: 9001}]}
    - {name: "2", weight: 50, endpoints: [{address: 127.0.0.2, port: 9002}]}
"""


@asynccontextmanager
async def clients(server: Served) -> AsyncIterator[Sequence[Stream]]:
    """In sync."""
    async with AsyncExitStack() as streams:
        found = [
            await streams.enter_async_context(stream(server.xds, variant, f"gw-{variant}-{n}"))
            for n in range(2)
            for variant in Variant
        ]
        for client in found:
            await client.synced()
        yield found


async def ports(client: Stream, last: int) -> list[int]:
    """Of `chat`, one push after the other, up to the last."""
    seen: list[int] = []
    while not seen or seen[-1] != last:
        answer = await client.accepted()
        assert answer.type is ENDPOINT
        (group,) = answer.resources[cluster("chat")].endpoints
        seen.append(group.lb_endpoints[0].endpoint.address.socket_address.port_value)
    return seen


@asynchronous
async def test_a_hundred_edits_in_five_seconds_are_few_pushes_and_the_last_arrives_everywhere(folder: Folder) -> None:
    async with served(folder.path) as server, clients(server) as envoys:
        pushes = [asyncio.create_task(ports(envoy, LAST)) for envoy in envoys]
        began = time.monotonic()
        for number in range(1, EDITS + 1):
            folder.write("models", f"{model('chat', 9000 + number)}---\n{model('embed')}")
            await asyncio.sleep(began + number * 5.0 / EDITS - time.monotonic())
        for seen in await asyncio.gather(*pushes):
            assert seen == sorted(seen)
            assert len(seen) <= FEW
        for envoy in envoys:
            await envoy.quiet()
        assert await server.metric('turnout_policy_reloads_total{result="ok"}') <= FEW + 1


@asynchronous
async def test_an_edit_that_others_follow_without_end_is_not_held_back_for_ever(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observed, "PAUSE", 3600.0)
    async with served(folder.path) as server, clients(server) as envoys:
        folder.write("models", f"{model('chat', 9002)}---\n{model('embed')}")
        assert await ports(envoys[0], 9002) == [9002]


@asynchronous
async def test_a_burst_of_live_weights_is_few_pushes_and_the_last_arrives_everywhere(folder: Folder) -> None:
    folder.write("models", SPLIT)
    async with served(folder.path) as server, clients(server) as envoys:
        began = time.monotonic()
        for number in range(EDITS):
            share = 1 + number % 49
            status, _ = await server.set_weights("split", {"1": 100 - share, "2": share})
            assert status == 200
        pushes_at_most = 2 + (time.monotonic() - began) / LIVE_APART
        layers: list[list[str]] = []
        for envoy in envoys:
            layers.append([])
            while f"value: {share * 100}" not in "".join(layers[-1][-1:]):
                answer = await envoy.accepted()
                assert answer.type is RUNTIME
                layers[-1].append(str(answer.resources["turnout"]))
        assert max(map(len, layers)) <= pushes_at_most
        for envoy in envoys:
            await envoy.quiet()
