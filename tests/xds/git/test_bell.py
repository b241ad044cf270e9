"""How often somebody who knocks is heard."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from tests.features.served import DEADLINE, asynchronous, model
from tests.git_repository import Origin
from xds.git import bell
from xds.git.bell import APART, AT_ONCE, Bell
from xds.git.remote import Remote
from xds.git.settings import GitOptions, following


class FakeClock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def knocked(found: Bell) -> None:
    """And heard."""
    found.knock()
    found.heard()


def test_some_knocks_are_heard_at_once_and_then_one_after_the_other() -> None:
    clock = FakeClock()
    found = Bell(clock)
    for _ in range(AT_ONCE):
        assert found.early == 0
        knocked(found)
    assert found.early == APART
    clock.now = APART
    assert found.early == 0
    knocked(found)
    assert found.early == APART
    clock.now = 2 * AT_ONCE * APART
    for _ in range(AT_ONCE):
        assert found.early == 0
        knocked(found)
    assert found.early == APART


def test_an_interval_that_is_over_is_no_knock() -> None:
    clock = FakeClock()
    found = Bell(clock)
    for _ in range(2 * AT_ONCE):
        found.heard()
    assert found.early == 0


@asynchronous
async def test_a_command_does_not_wait_for_a_knock_that_is_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bell, "APART", 3600.0)
    found = Bell()
    for _ in range(AT_ONCE):
        knocked(found)
    found.knock()
    ringing = asyncio.create_task(found.rings(3600.0))
    await asyncio.sleep(0)
    assert not ringing.done()
    commanding = asyncio.create_task(found.command("0c5d91a"))
    async with asyncio.timeout(DEADLINE):
        await ringing
    commanding.cancel()
    await asyncio.wait({commanding})


@asynchronous
async def test_a_webhook_that_is_sent_again_and_again_costs_few_fetches_and_hides_no_push(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bell, "AT_ONCE", 3)
    monkeypatch.setattr(bell, "APART", 0.2)
    origin = Origin(tmp_path)
    origin.pushed({"policies/chat.yaml": model("chat")})
    branch = following(GitOptions(Remote(origin.url, "main"), poll=3600.0), tmp_path / "state", "", colour=False)
    await branch.prepare()
    reads = branch.policies()
    await anext(reads)
    fetches, fetch = [], branch._repository.fetch

    async def counted() -> str:
        fetches.append(time.monotonic())
        return await fetch()

    monkeypatch.setattr(branch._repository, "fetch", counted)
    began = time.monotonic()
    listening = asyncio.create_task(anext(reads))
    async with asyncio.timeout(DEADLINE):
        while len(fetches) < 8:
            branch.knock()
            await asyncio.sleep(0.001)
        last = origin.pushed({"policies/embed.yaml": model("embed")})
        branch.knock()
        assert (await listening).commit == last[:12]
    assert all(at - began > (number - 3) * 0.2 for number, at in enumerate(fetches))
    await reads.aclose()  # type: ignore[attr-defined]
