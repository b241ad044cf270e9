"""What a change goes through before it is served, and when."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Stage:
    """Moments are in seconds since 1970."""

    name: str
    began: float
    ended: float

    @property
    def seconds(self) -> float:
        """Not negative where the clock was set back meanwhile."""
        return max(0.0, self.ended - self.began)


class Stages:
    """Called with the name of each stage when it ends; the next one begins there."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._last = clock, clock()
        self.passed: tuple[Stage, ...] = ()

    def __call__(self, name: str) -> None:
        now = self._clock()
        self.passed = (*self.passed, Stage(name, self._last, now))
        self._last = now


@dataclass(frozen=True, slots=True)
class Cause:
    """Why something else is served from now on."""

    what: str
    saved_at: float
    """When somebody wanted it, in seconds since 1970."""
    stages: tuple[Stage, ...] = ()
    """In their order."""
    attributes: Mapping[str, str | int] = field(default_factory=dict)
    """For traces, by OpenTelemetry's rules for names."""
