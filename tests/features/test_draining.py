"""What a server that is told to stop does with its clients."""

from __future__ import annotations

import asyncio
import re
import signal
import time
from contextlib import AsyncExitStack

import grpc
import pytest

from demo.stack import answers
from tests.features.ads import RUNTIME, stream
from tests.features.served import DEADLINE, Folder, asynchronous, served, until
from tests.features.test_serve import turnout_serve, until_it_says
from xds.admin.metrics import Metrics
from xds.cache import Snapshots
from xds.client import ask
from xds.serve import TRANSLATION
from xds.stream import server as xds_server
from xds.stream.state import Variant

LEFT = (grpc.StatusCode.UNAVAILABLE, "the control server is stopping")


@asynchronous
async def test_envoys_are_sent_away_one_after_the_other_and_the_others_served_meanwhile(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    gates: asyncio.Queue[float] = asyncio.Queue()
    asked: list[float] = []

    async def sleep(seconds: float) -> None:
        asked.append(seconds)
        await gates.get()

    async with served(folder.path) as server, AsyncExitStack() as streams:
        envoys = [
            await streams.enter_async_context(stream(server.xds, variant, f"gw-{variant}-{n}"))
            for n in range(2)
            for variant in Variant
        ]
        for envoy in envoys:
            await envoy.synced()
        monkeypatch.setattr(xds_server.asyncio, "sleep", sleep)
        draining = asyncio.create_task(server.server.drain(0.4))
        for left in (3, 2, 1, 0):
            gates.put_nowait(0.0)
            await _until_there_are(server.server, left)
        monkeypatch.undo()
        ends = await asyncio.gather(*(envoy.ended() for envoy in envoys))
        await draining
    assert asked == [0.1] * 4
    assert ends == [LEFT] * 4


async def _until_there_are(server: xds_server.Server, streams: int) -> None:
    async with asyncio.timeout(DEADLINE):
        while len(server.peers()) != streams:
            await asyncio.get_running_loop().run_in_executor(None, time.sleep, 0.005)
    assert len(server.peers()) == streams


@asynchronous
async def test_an_edit_while_a_server_drains_still_arrives(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xds_server, "APART", DEADLINE)
    async with served(folder.path) as server, stream(server.xds, Variant.DELTA) as envoy:
        await envoy.synced()
        draining = asyncio.create_task(server.server.drain(DEADLINE))
        folder.models("chat", "embed", "new")
        assert "new_1" in (await envoy.accepted()).names
        await server.server.stop()
        draining.cancel()


@asynchronous
async def test_nobody_new_is_taken_while_a_server_drains_and_its_port_is_free(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xds_server, "APART", DEADLINE)
    async with served(folder.path) as server, stream(server.xds, Variant.DELTA, "old") as old:
        await old.synced()
        draining = asyncio.create_task(server.server.drain(DEADLINE))

        async def refused() -> bool | None:
            async with stream(server.xds, Variant.DELTA, "new") as new:
                try:
                    await new.ask(RUNTIME, "turnout")
                    await new.read()
                except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                    return True
                return None

        assert await until(refused)
        await old.quiet()
        host, _, port = server.xds.rpartition(":")
        successor = xds_server.Server(Snapshots(TRANSLATION), Metrics())
        assert await successor.start(host, int(port)) == int(port)
        await successor.stop()
        await server.server.stop()
        draining.cancel()


def test_the_first_signal_drains_and_the_second_ends_at_once(folder: Folder) -> None:
    with turnout_serve(folder, "--drain", "5m") as process:
        found = until_it_says(process, r"listening xds=(\S+) admin=(\S+)")
        until_it_says(process, "policy loaded")
        asyncio.run(_with_many_envoys(found, process))
        until_it_says(process, "INFO stopped")
        assert process.wait(DEADLINE) == 0


async def _with_many_envoys(found: re.Match[str], process: object) -> None:
    xds, admin = found.groups()
    async with AsyncExitStack() as streams:
        for n in range(100):  # 20 s, one by one
            envoy = await streams.enter_async_context(stream(xds, Variant.DELTA, f"gw-{n}"))
            await envoy.ask(RUNTIME, "turnout")
            await envoy.accepted()
        assert answers(f"{admin}/readyz")
        process.send_signal(signal.SIGTERM)  # type: ignore[attr-defined]

        async def unready() -> bool | None:
            return not await asyncio.to_thread(answers, f"{admin}/readyz") or None

        await until(unready)
        assert (await asyncio.to_thread(ask, admin, "/status")).document["envoys"]  # it still says how it stands
        process.send_signal(signal.SIGTERM)  # type: ignore[attr-defined]
        assert (await envoy.ended())[0] is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("text", ["soon", "10", "-1s", "6m", "9" * 30 + "h"])
def test_a_drain_that_is_no_duration_or_too_long_is_wrong_usage(folder: Folder, text: str) -> None:
    with turnout_serve(folder, f"--drain={text}") as process:
        _, said = process.communicate(timeout=DEADLINE)
        assert process.returncode == 2
        assert f"--drain {text}: a duration up to 5m, as 10s" in said
        assert "Traceback" not in said
