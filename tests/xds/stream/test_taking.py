"""Who is hung up on, by a clock of the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from xds.stream import taking
from xds.stream.limits import STALLED
from xds.stream.taking import Taking


class Timer:
    def __init__(self, at: float, callback: Callable[[], None]) -> None:
        self.at, self.callback, self.cancelled = at, callback, False

    def cancel(self) -> None:
        self.cancelled = True


class Loop:
    def __init__(self) -> None:
        self.now = 1000.0
        self.timers: list[Timer] = []

    def time(self) -> float:
        return self.now

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        self.timers.append(Timer(self.now + seconds, callback))
        return self.timers[-1]

    def passes(self, seconds: float) -> None:
        until = self.now + seconds
        while due := [timer for timer in self.timers if timer.at <= until and not timer.cancelled]:
            first = min(due, key=lambda timer: timer.at)
            self.timers.remove(first)
            self.now = first.at
            first.callback()
        self.now = until


class World:
    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.attempts: list[float] = []
        """Seconds since the start at which somebody was hung up on."""
        self.told = 0
        self.taking = Taking("ipv4:127.0.0.1:1", self._tell)

    def _tell(self) -> None:
        self.told += 1

    def hang_up(self, peer: str) -> bool:
        self.attempts.append(self.loop.now - 1000)
        return False

    def takes(self, *after: float) -> None:
        """One response after the other, each after so many seconds."""
        for seconds in after:
            with self.taking:
                self.loop.passes(seconds)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(Loop())
    monkeypatch.setattr(taking, "hang_up", made.hang_up)
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: made.loop)
    return made


def test_who_is_slow_is_left_alone_however_long_it_goes_on(world: World) -> None:
    world.takes(*[0.9 * STALLED] * 10)
    assert (world.attempts, world.told) == ([], 0)


def test_who_has_nothing_to_take_is_left_alone(world: World) -> None:
    world.takes(1)
    world.loop.passes(10 * STALLED)
    assert world.attempts == []
    assert world.loop.timers == []


@pytest.mark.parametrize("before", [(), (1.0,), (0.9 * STALLED,), (0.9 * STALLED, 5.0)])
def test_who_takes_none_is_told_of_once_and_hung_up_on_until_it_is_gone(
    before: tuple[float, ...], world: World
) -> None:
    world.takes(*before, 3.5 * STALLED)
    assert world.attempts == pytest.approx([sum(before) + n * STALLED for n in (1, 2, 3)])
    assert world.told == 1


def test_nobody_is_hung_up_on_after_the_end(world: World) -> None:
    with world.taking:
        world.taking.close()
        world.loop.passes(10 * STALLED)
    assert world.attempts == []
