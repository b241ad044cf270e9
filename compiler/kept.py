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
Results = dict[tuple[object, ...], tuple[tuple[object, ...], Any]]

STRETCH = 32
"""Items that are looked up at once."""
MOST_STALE, LEAST_STALE = 1.1, 300
"""Of results: how many there may be for each that is of use, and how many more, before the others are forgotten."""


class Kept:
    """The results of earlier runs, and those of this one, which count for later runs once it is `closed`."""

    __slots__ = ("_before", "_lively", "_made", "_named", "_seen", "_sweeping", "_touched")

    def __init__(self, before: Kept | None = None, *, apart: bool = False) -> None:
        """After `before`; or `apart` from it, which may go on in another thread: of the same run, and seen by none."""
        self._before, self._named, self._lively = ({}, {}, 0) if before is None else before.results()
        self._made: Results = {}
        self._seen: dict[object, int] = {}
        if apart and before is not None:
            self._before, self._named, self._seen = dict(self._before), dict(self._named), before.ordinals()
        self._touched: set[object] = set()
        """Names that this run came to, if it is sweeping."""
        self._sweeping = not apart and len(self._before) + len(self._named) > self._lively * MOST_STALE + LEAST_STALE
        """Whether this run comes to every result that is still of use, so that the others can be forgotten."""

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
        entry = self._made.get(key)
        if entry is None:
            entry = self._before.get(key)
            if entry is None:
                entry = parts, make(*arguments)  # with its parts, so that no other object gets the identity of one
                self._made[key] = entry
            elif self._sweeping:
                self._made[key] = entry
        made: V = entry[1]
        return made

    def last(self, name: object, parts: tuple[object, ...], make: Callable[..., V], arguments: tuple[Any, ...]) -> V:
        """As `by`, for what is put together from other results, of which only the last is kept under a name."""
        if self._sweeping:
            self._touched.add(name)
        ids = tuple(map(id, parts))
        entry: tuple[tuple[int, ...], tuple[object, ...], V] | None = self._named.get(name)
        if entry is None or entry[0] != ids or self._sweeping:
            entry = self._named[name] = ids, parts, make(*arguments)
        return entry[2]

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
            # Items of different lengths may be the same parts, cut at other places.
            name = make, len(listed), start, tuple(map(len, stretch))
            result.extend(self.last(name, parts, self._stretch, (make, stretch, common, using)))
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
        name = "same", name
        if self._sweeping:
            self._touched.add(name)
        before = self._named.get(name)
        if before is not None and alike(before, value):
            kept: V = before
            return kept
        self._named[name] = value
        return value

    def ordinal(self, value: object) -> int:
        """The same number for equal values, in the order in which the run meets them: a name for `last` that does not
        change with the value."""
        return self._seen.setdefault(value, len(self._seen))

    def ordinals(self) -> dict[object, int]:
        """Those that have been given."""
        return dict(self._seen)

    def closed(self) -> Kept:
        """After a run whose results are to count. Of one that is never closed only `same` and `last` are left."""
        first = not self._lively
        if self._sweeping:
            # Another thread may be adding names: translation goes on while policy is compiled.
            for name in [name for name in list(self._named) if name not in self._touched]:
                self._named.pop(name, None)
        if self._sweeping or first:
            self._before, self._lively = self._made, len(self._made) + len(self._named)
        else:
            self._before.update(self._made)
        self._made, self._sweeping, self._touched = {}, False, set()
        return self

    def results(self) -> tuple[Results, dict[object, Any], int]:
        """By their keys, and by name; and how many of both were of use when that was last looked at."""
        return self._before, self._named, self._lively


def _reporting(make: Callable[..., V], parts: tuple[object, ...]) -> tuple[V, tuple[Diagnostic, ...]]:
    found: list[Diagnostic] = []
    return make(*parts, found), tuple(found)
