"""A control server that follows a branch: what Envoys are sent at a commit, and what its port says of it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.envoy.envoy_process import free_port
from tests.features.ads import CLUSTER, ENDPOINT, stream
from tests.features.served import DEADLINE, TOKEN, Served, asynchronous, model, served
from tests.git_repository import Origin, daemon, silent
from xds.git.follow import Following
from xds.git.remote import Remote
from xds.git.settings import GitOptions, following
from xds.stream.state import Variant

ROOT = Path(__file__).parents[2]
both = pytest.mark.parametrize("variant", list(Variant))
CHAT = {"policies/chat.yaml": model("chat")}
EMBED = {"policies/embed.yaml": model("embed")}


@pytest.fixture
def origin(tmp_path: Path) -> Origin:
    return Origin(tmp_path)


def of(origin: Origin, state: Path) -> Following:
    """Looks only when somebody knocks."""
    return following(GitOptions(Remote(origin.url, origin.branch), poll=3600.0), state, "", colour=False)


@both
@asynchronous
async def test_replicas_at_one_commit_say_the_same_whatever_they_have_said_before(
    origin: Origin, tmp_path: Path, variant: Variant
) -> None:
    """The one has sent most of it at the commit before; both tell the commit that they are at."""
    origin.pushed({**CHAT, **EMBED})
    said: list[list[bytes]] = []
    async with AsyncExitStack() as stack:
        old = of(origin, tmp_path / "old")
        server = await stack.enter_async_context(served(old))
        async with stream(server.xds, variant) as envoy:
            await envoy.synced()
        commit = origin.pushed({"README.md": "nothing about policies"})
        old.knock()
        await server.until(lambda s: s["policy"]["commit"] == commit[:12])
        for each in (server, await stack.enter_async_context(served(of(origin, tmp_path / "new")))):
            await each.until(lambda s: s["policy"]["commit"] == commit[:12])
            async with stream(each.xds, variant) as envoy:
                said.append([answer.raw for answer in (await envoy.synced()).values()])
    assert said[0] == said[1]
    assert all(commit[:12].encode() in raw for raw in said[0])


@both
@asynchronous
async def test_a_commit_sends_what_it_changes_and_nothing_else(
    origin: Origin, tmp_path: Path, variant: Variant
) -> None:
    origin.pushed({**CHAT, **EMBED})
    branch = of(origin, tmp_path / "state")
    async with served(branch) as server, stream(server.xds, variant) as envoy:
        await envoy.synced()
        for text in ("one", "two"):
            commit = origin.pushed({"README.md": text})
            branch.knock()
            await server.until(lambda s, commit=commit: s["policy"]["commit"] == commit[:12])
        await envoy.quiet()
        commit = origin.pushed({"policies/chat.yaml": model("chat", 9002)})
        branch.knock()
        answer = await envoy.read()
        assert answer.type == ENDPOINT
        assert commit[:12].encode() in answer.raw
        await envoy.accept(answer)
        await envoy.quiet()


async def rolled_back(server: Served, *words: str) -> subprocess.CompletedProcess[str]:
    """The server runs in this very process."""
    command = (sys.executable, "-m", "xds.cli", "rollback", *words, "--admin", server.url)
    more: dict[str, Any] = {"cwd": ROOT, "env": os.environ | {"TURNOUT_ADMIN_TOKEN": TOKEN}, "timeout": DEADLINE}
    return await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False, **more)


@both
@asynchronous
async def test_a_rollback_names_envoys_that_are_turned_away(origin: Origin, tmp_path: Path, variant: Variant) -> None:
    """And does not say that there is none."""
    first = origin.pushed(CHAT)
    branch = of(origin, tmp_path / "state")
    async with served(branch) as server:
        await server.until(lambda s: s["policy"]["commit"] == first[:12])
        alone = await rolled_back(server, first)
        assert (alone.returncode, alone.stdout.splitlines()[-1], alone.stderr) == (0, "no Envoy is connected", "")
        async with stream(server.xds, variant, "gw-9", cluster="edge") as stranger:
            await stranger.ask(CLUSTER)
            await stranger.ended()
        await server.until(lambda s: bool(s["turned_away"]))
        away = await rolled_back(server, "--release", "--timeout", "1s")
        assert (away.returncode, away.stdout.splitlines()[-1]) == (1, "confirmed by 0 of 1 Envoy")
        assert away.stderr.startswith(
            "turnout: not confirmed within 1 s by 1 Envoy:\n  gw-9: turned away: X105 node gw-9: "
        )
        bad = origin.pushed({"policies/late.yaml": "kind: ["})
        branch.knock()
        await server.until(lambda s: s["policy"]["state"] == "broken")
        nothing = await rolled_back(server, "--release")
        assert nothing.returncode == 1
        assert nothing.stderr.startswith(
            f"turnout: nothing is pinned: commit {bad[:12]} is refused: policies/late.yaml:"
        )
        await rolled_back(server, first, "--timeout", "1s")
        released = await rolled_back(server, "--release", "--timeout", "1s")
        assert released.stdout.startswith(f"released: serving {first[:12]}\nwarning: policies/late.yaml:")


@both
@asynchronous
async def test_a_release_ends_with_the_newest_commit_where_the_branch_goes_on_meanwhile(
    origin: Origin, tmp_path: Path, variant: Variant
) -> None:
    first, second = (origin.pushed({"policies/chat.yaml": model("chat", port)}) for port in (9001, 9002))
    branch = of(origin, tmp_path / "state")
    async with served(branch) as server:
        await server.until(lambda s: s["policy"]["commit"] == second[:12])
        await server.post("/rollback", json.dumps({"commit": first}).encode())
        await server.until(lambda s: s["policy"]["commit"] == first[:12])
        async with stream(server.xds, variant) as envoy:
            await envoy.synced()
            releasing = asyncio.create_task(rolled_back(server, "--release", "--timeout", "15s"))
            await server.until(lambda s: s["policy"]["commit"] == second[:12])
            third = origin.pushed({"policies/chat.yaml": model("chat", 9003)})
            branch.knock()
            await server.until(lambda s: s["policy"]["commit"] == third[:12])

            async def accept() -> None:
                while True:
                    await envoy.accepted()

            accepting = asyncio.create_task(accept())
            done = await releasing
            accepting.cancel()
            await asyncio.wait({accepting})
        assert (done.returncode, done.stderr) == (0, "")
        said = done.stdout.splitlines()
        assert (said[0], said[-1]) == (f"the branch again: {second[:12]}", "confirmed by 1 Envoy")
        assert f"the branch is at {third[:12]} by now" in said


@asynchronous
async def test_status_and_metrics_tell_the_branch_and_what_is_refused(origin: Origin, tmp_path: Path) -> None:
    good = origin.pushed(CHAT)
    branch = of(origin, tmp_path / "state")
    async with served(branch) as server:
        found = await server.until(lambda s: s["policy"]["commit"] == good[:12])
        git = found["git"]
        assert git.pop("read_at") is not None
        assert git == {
            "remote": f"{origin.url}#main",
            "head": good,
            "served": good,
            "signed_by": "",
            "pinned": "",
            "refused": "",
            "reason": "",
            "problem": "",
        }
        bad = origin.pushed({"policies/late.yaml": "kind: ["})
        branch.knock()
        await server.until(lambda s: s["policy"]["state"] == "broken")
        status, text = await server.get("/rollback")
        assert (status, json.loads(text)["refused"]) == (200, bad)
        assert await server.metric("turnout_git_refused") == 1
        assert await server.metric("turnout_git_lost") == 0
        assert await server.metric(f'turnout_git_info{{head="{bad[:12]}",remote="{origin.url}#main"}}') == 1
        answer = await server.post("/rollback", json.dumps({"commit": bad}).encode())
        assert answer[0] == 422
        assert "P001" in answer[1]["error"]
        assert await server.post("/rollback", json.dumps({"commit": good[:7]}).encode()) == (
            200,
            {"commit": good, "pinned": True, "problem": ""},
        )
        await server.until(lambda s: s["policy"]["state"] == "ok")
        assert await server.metric("turnout_git_pinned") == 1


@pytest.mark.parametrize("cloned", [True, False])
@asynchronous
async def test_a_start_while_the_repository_says_nothing_is_ready_with_what_was_served(
    origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cloned: bool
) -> None:
    """Out of the clone, or where that is gone, too, the last good."""
    monkeypatch.setattr("xds.git.follow.SILENT", 0.3)
    monkeypatch.setattr("xds.control.PATIENCE", 3600.0)
    good, state, port = origin.pushed(CHAT), tmp_path / "state", free_port()
    options = GitOptions(Remote(f"git://127.0.0.1:{port}/{origin.bare.name}", "main"), poll=3600.0)
    with daemon(origin.bare.parent, port):
        async with served(following(options, state, "", colour=False), state) as server:
            await server.until(lambda s: s["policy"]["commit"] == good[:12] and s["kept"]["digest"])
    if not cloned:
        shutil.rmtree(state / "git" / "clone.git")
    with silent(port):
        async with served(following(options, state, "", colour=False), state) as server:
            health = "ok" if cloned else "broken"
            found = await server.until(lambda s: s["policy"]["state"] == health and s["git"]["problem"])
            assert found["policy"]["commit"] == good[:12]
            assert (await server.get("/readyz"))[0] == 200
            assert found["git"]["problem"].startswith("not read yet, asked since ")
            assert await server.metric("turnout_git_lost") == 1
            if not cloned:
                assert "X110" in found["policy"]["last_good"]["reason"]
