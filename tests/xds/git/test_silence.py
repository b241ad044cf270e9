"""A repository that takes a connection and never answers, with real git: nobody waits for it."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.envoy.envoy_process import free_port
from tests.features.served import asynchronous
from tests.git_repository import Origin, daemon, silent
from tests.xds.git.test_follow import CHAT, EMBED, Heard, models, true
from xds.git.bell import Turned, TurnRefused
from xds.git.remote import Remote
from xds.git.settings import GitOptions, following

UNREAD = "the branch cannot be read: no answer within 0 s"


@dataclass
class World:
    origin: Origin
    state: Path
    port: int
    first: str
    second: str
    """Commits; the second is served."""

    @asynccontextmanager
    async def followed(self) -> AsyncIterator[Heard]:
        remote = Remote(f"git://127.0.0.1:{self.port}/{self.origin.bare.name}", self.origin.branch)
        found = following(GitOptions(remote, poll=3600.0), self.state, "", colour=False)
        await found.prepare()
        heard = Heard(found)
        yield heard
        await heard.close()

    async def run(self, pinned: str = "") -> None:
        """A server, while the repository answers."""
        with daemon(self.origin.bare.parent, self.port):
            async with self.followed() as heard:
                assert models(await heard.next()) == ["chat", "embed"]
                if pinned:
                    await heard.with_command(pinned)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr("xds.git.branch.HURRIED", 0.3)
    monkeypatch.setattr("xds.git.follow.SILENT", 0.3)
    origin = Origin(tmp_path)
    return World(origin, tmp_path / "state", free_port(), origin.pushed(CHAT), origin.pushed(EMBED))


@pytest.mark.parametrize("pinned", [True, False])
@asynchronous
async def test_a_start_serves_what_was_served_and_tells_that_nobody_answers(world: World, pinned: bool) -> None:
    await world.run(world.first if pinned else "")
    with silent(world.port):
        async with world.followed() as heard:
            assert models(await heard.next()) == (["chat"] if pinned else ["chat", "embed"])
            listening = asyncio.create_task(heard.next())
            await true(lambda: heard.of.standing.problem.startswith("not read yet, asked since 20"))
            assert (heard.of.standing.head, heard.of.standing.refused) == ("", "")
            assert not listening.done()
            listening.cancel()
            await asyncio.wait({listening})


@asynchronous
async def test_a_start_without_a_clone_tells_that_nobody_answers_and_goes_on_when_somebody_does(world: World) -> None:
    await world.run()
    shutil.rmtree(world.state / "git" / "clone.git")
    async with world.followed() as heard:
        with silent(world.port):
            read = await heard.next()
            assert [found.code for found in read.diagnostics] == ["X110"]
            assert " cannot be read: not read yet, asked since 20" in read.diagnostics[0].message
        with daemon(world.origin.bare.parent, world.port):
            while (read := await heard.next()).fleet is None:
                pass
            assert models(read) == ["chat", "embed"]
            assert heard.of.standing.problem == ""


@asynchronous
async def test_a_release_takes_the_branch_as_it_was_read_last(world: World) -> None:
    async with world.followed() as heard:
        with daemon(world.origin.bare.parent, world.port):
            await heard.next()
            await heard.with_command(world.first)
        with silent(world.port):
            turned, read = await heard.with_command("")
            assert turned == Turned(world.second, pinned=False, problem=UNREAD)
            assert models(read) == ["chat", "embed"]


@asynchronous
async def test_a_release_of_what_was_pinned_before_a_restart_says_that_the_branch_is_unread(world: World) -> None:
    await world.run(world.first)
    async with world.followed() as heard:
        with silent(world.port):
            await heard.next()
            listening = asyncio.create_task(heard.next())
            assert await heard.of.release() == Turned(world.first, pinned=False, problem=UNREAD)
        with daemon(world.origin.bare.parent, world.port):
            assert models(await listening) == ["chat", "embed"]


@asynchronous
async def test_a_rollback_to_what_nobody_knows_says_that_the_branch_is_unread(world: World) -> None:
    await world.run()
    async with world.followed() as heard:
        with silent(world.port):
            await heard.next()
            listening = asyncio.create_task(heard.next())
            refused = await heard.of.pin("0" * 12)
            assert isinstance(refused, TurnRefused)
            assert refused.why.endswith(f" is known here; {UNREAD}")
            assert (await heard.of.pin(world.first)) == Turned(world.first, pinned=True)
            assert models(await listening) == ["chat"]
