"""Requests for which a change decides otherwise in one way: who takes them before it, and who after it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from compiler.diff.naming import Naming
from compiler.diff.places import Place
from compiler.diff.stations import Station
from compiler.fleet import Condition
from compiler.request import Request


@dataclass(frozen=True, slots=True)
class RequestClass:
    place: Place
    naming: Naming
    before: Station
    after: Station
    above: tuple[Station, ...]
    """Of both fleets: what these take is not of the class."""
    stream: bool | None
    """Of this kind alone; None: of both."""
    witness: Request | None
    """One of the class; None where a regular expression decides whether there is any."""
    taken: tuple[Station, ...] = ()
    """Of `above`, the rules that take requests from it on one side alone: by them people know it from its rule."""
    differs: Callable[[Request], bool] | None = None
    """Set where the stations are those of the witness, and others of the class may come to others."""

    def matches(self, request: Request) -> bool:
        if self.differs is not None:
            return self.place.has(request.host) and self.naming.has(request) and self.differs(request)
        return (
            self.stream in (None, request.stream)
            and self.place.has(request.host)
            and self.naming.has(request)
            and self.before.takes(request)
            and self.after.takes(request)
            and not any(station.takes(request) for station in self.above)
        )

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Of both stations, each once."""
        return tuple(
            {(c.asked, c.operator, c.values): c for s in (self.before, self.after) for c in s.conditions}.values()
        )


@dataclass(frozen=True, slots=True)
class Classes:
    found: tuple[RequestClass, ...]
    left_out: int
    """Pairs of rules of which it is not known whether a request meets both."""
    host_count: int
    """Places where requests come in, changed or not."""
