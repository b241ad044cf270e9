"""What an earlier run has worked out, found again by the very objects that it was made of.

Every stage of the compiler and of the translation is a function of frozen values. Where an edit leaves those as they
are, their objects are those of the run before, and so may the result be: the cost of a run follows the edit, not the
fleet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain
from operator import eq
from typing import Any, TypeVar

from compiler.diagnostics import Diagnostic

V = TypeVar("V")

STRETCH = 32
"""Items that are looked up at once."""
MOST_NAMES = 100_000
"""Values kept by name; when there are more, many of them are of what is long gone, and all are forgotten."""


class Kept:
    """The results of one run. Those that it did not come to itself are not there for the run after it."""

    __slots__ = ("before", "made", "named")

    def __init__(self, before: Kept | None = None) -> None:
        self.made: dict[tuple[object, ...], tuple[tuple[object, ...], Any]] = {}
        self.before = before.made if before is not None else {}
        self.named: dict[object, Any] = before.named if before is not None else {}
        if len(self.named) > MOST_NAMES:
            self.named.clear()

    def of(self, make: Callable[..., V], *parts: object) -> V:
        """`make(*parts)`, which must depend on nothing else and on no part's identity."""
        return self.by(make, parts, make, parts)

    def reported(self, found: list[Diagnostic], make: Callable[..., V], *parts: object) -> V:
        """`make(*parts, found)`, which also reports to `found`."""
        made, said = self.by(make, parts, _reporting, (make, parts))
        found.extend(said)
        result: V = made
        return result

    def by(self, name: object, parts: tuple[object, ...], make: Callable[..., V], arguments: tuple[Any, ...]) -> V:
        """`make(*arguments)`, for which the value `name` and the objects `parts` decide what comes of it."""
        key = (name, *map(id, parts))
        entry = self.made.get(key)
        if entry is None:
            entry = self.before.get(key)
            if entry is None:
                entry = parts, make(*arguments)  # with its parts, so that no other object gets the identity of one
            self.made[key] = entry
        made: V = entry[1]
        return made

    def each(
        self,
        make: Callable[..., V],
        items: Iterable[tuple[object, ...]],
        *common: object,
        using: tuple[object, ...] = (),
    ) -> list[V]:
        """`make(*item, *common, *using)` for each of `items`; what it is `using` does not decide what comes of it.

        Of a long list, stretches in which nothing has changed are passed over as a whole.
        """
        listed = list(items)
        result: list[V] = []
        for start in range(0, len(listed), STRETCH):
            stretch = listed[start : start + STRETCH]
            parts = (*chain.from_iterable(stretch), *common)
            result.extend(self.by((make, "each"), parts, self._stretch, (make, stretch, common, using)))
        return result

    def _stretch(
        self,
        make: Callable[..., V],
        stretch: list[tuple[object, ...]],
        common: tuple[object, ...],
        using: tuple[object, ...],
    ) -> tuple[V, ...]:
        return tuple(self.by(make, (*item, *common), make, (*item, *common, *using)) for item in stretch)

    def same(self, name: object, value: V, alike: Callable[[V, V], bool] = eq) -> V:
        """The object that was last seen under `name` if it is `alike`, so that what is made of it is found again.

        Values that differ in what `alike` does not compare are taken for the same.
        """
        before = self.named.get(name)
        if before is not None and alike(before, value):
            kept: V = before
            return kept
        self.named[name] = value
        return value

    def closed(self) -> Kept:
        """For the run after this one: without what this one had no use for."""
        self.before = {}
        return self


def _reporting(make: Callable[..., V], parts: tuple[object, ...]) -> tuple[V, tuple[Diagnostic, ...]]:
    found: list[Diagnostic] = []
    return make(*parts, found), tuple(found)
