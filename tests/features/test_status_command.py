"""`turnout status`: how a running server and its Envoys stand, as a shell sees it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.envoy.upstream import upstreams
from tests.features.ads import CLUSTER, ENDPOINT, stream
from tests.features.served import DEADLINE, Folder, Served, asynchronous, cluster, model, served
from xds.stream.state import Variant

ROOT = Path(__file__).parents[2]
both = pytest.mark.parametrize("variant", list(Variant))
CHAT = cluster("chat")


def turnout(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "xds.cli", "status", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE * 6, check=False)


async def status(server: Served, *options: str) -> subprocess.CompletedProcess[str]:
    """The server runs in this very process."""
    return await asyncio.to_thread(turnout, "--admin", server.url, *options)


@both
@asynchronous
async def test_all_is_well_when_every_envoy_is_in_sync(folder: Folder, variant: Variant) -> None:
    async with served(folder.path) as server, stream(server.xds, variant) as envoy:
        await envoy.synced()
        seen = await server.until(lambda s: bool(s["envoys"]) and s["envoys"][0]["synced"])
        said = await status(server)
        assert (said.returncode, said.stderr) == (0, "")
        assert said.stdout.startswith(f"policy ok, serving {seen['policy']['digest']} since 20")
        assert f"gw-1   default  -     ADS {variant}" in said.stdout
        found = json.loads((await status(server, "--format", "json")).stdout)
        assert found["ok"] is True
        assert [e["node"] for e in found["envoys"]] == ["gw-1"]


@both
@asynchronous
async def test_an_envoy_that_refuses_is_told_with_the_line_of_policy(folder: Folder, variant: Variant) -> None:
    async with served(folder.path) as server, stream(server.xds, variant, "gateway-7") as envoy:
        await envoy.synced()
        folder.write("models", model("chat", 9005) + "---\n" + model("embed"))
        refused = await envoy.read()
        waiting = await status(server)
        assert (waiting.returncode, "has not answered yet: endpoint" in waiting.stdout) == (1, True)
        await envoy.refuse(refused, "malformed IP address")
        seen = await server.until(lambda s: bool(s["envoys"][0]["types"]["endpoint"]["refused"]))
        (found,) = seen["envoys"][0]["types"][ENDPOINT.label]["refused"]
        said = await status(server)
        assert said.returncode == 1
        assert "refuses 1 endpoint" in said.stdout
        line = f"{found['origin']}: X101 envoy gateway-7 refused endpoint '{CHAT}': malformed IP address\n"
        assert line in said.stdout


@asynchronous
async def test_a_broken_edit_is_told_with_its_line_and_what_is_served_instead(folder: Folder) -> None:
    async with served(folder.path) as server:
        good = await server.until(lambda s: s["policy"]["state"] == "ok")
        folder.write("models", model("chat") + "  weigth: 3\n")
        await server.until(lambda s: s["policy"]["state"] == "broken")
        said = await status(server)
        assert said.returncode == 1
        assert f"policy broken, 1 error, serving {good['policy']['digest']} since" in said.stdout
        assert "policies/models.yaml:8:3: P101" in said.stdout
        assert said.stdout.endswith("no Envoy is connected\n")
        assert json.loads((await status(server, "--format", "json")).stdout)["ok"] is False


def test_a_server_that_cannot_be_reached_is_told_in_a_line() -> None:
    said = turnout("--admin", "127.0.0.1:1")
    assert (said.returncode, said.stdout) == (1, "")
    assert said.stderr == (
        "turnout: 127.0.0.1:1: [Errno 111] Connection refused; is turnout serve running? --admin says where\n"
    )
    document: dict[str, Any] = json.loads(turnout("--admin", "127.0.0.1:1", "--format", "json").stdout)
    assert (document["ok"], "Connection refused" in document["error"]) == (False, True)


def test_an_address_without_a_control_server_is_an_error_with_a_reason() -> None:
    with upstreams("one") as servers:
        said = turnout("--admin", f"http://127.0.0.1:{servers['one'].port}")
    assert (said.returncode, "no control server's admin port" in said.stderr) == (1, True)


@pytest.mark.parametrize("words", [("--format", "xml"), ("policies",), ("--admin",)], ids=" ".join)
def test_wrong_usage_exits_2(words: tuple[str, ...]) -> None:
    assert turnout(*words).returncode == 2


@both
@asynchronous
async def test_an_envoy_that_was_served_and_has_left_is_known_until_it_is_back(
    folder: Folder, variant: Variant
) -> None:
    def departed(status: dict[str, Any]) -> list[tuple[str, str]]:
        return [(found["node"], found["group"]) for found in status["departed"]]

    async with served(folder.path) as server:
        for _ in range(2):
            async with stream(server.xds, variant, "gw-7") as envoy:
                await envoy.synced()
                assert departed(await server.status()) == []
            await server.until(lambda s: departed(s) == [("gw-7", "default")])
        async with stream(server.xds, variant, "gw-9", cluster="edge") as stranger:
            await stranger.ask(CLUSTER)
            await stranger.ended()
        await server.until(lambda s: bool(s["turned_away"]))
        assert departed(await server.status()) == [("gw-7", "default")]


@both
@asynchronous
async def test_an_envoy_that_is_turned_away_is_told_until_it_is_served(folder: Folder, variant: Variant) -> None:
    async with served(folder.path) as server:
        await server.until(lambda s: s["policy"]["state"] == "ok")
        for _ in range(2):
            async with stream(server.xds, variant, "gw-9", cluster="edge") as envoy:
                await envoy.ask(CLUSTER)
                await envoy.ended()
        said = await status(server)
        assert said.returncode == 1
        assert "turned away, 2 times, last at 20" in said.stdout
        assert "X105 node gw-9: group 'edge' is unknown" in said.stdout
        (found,) = json.loads((await status(server, "--format", "json")).stdout)["turned_away"]
        assert (found["client"], found["times"]) == ("gw-9", 2)
        async with stream(server.xds, variant, "gw-9") as envoy:
            await envoy.synced()
            assert "turned away" not in (await status(server)).stdout
