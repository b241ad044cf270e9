"""What an earlier run has worked out, found again by the very objects that it was made of.

Every stage of the compiler and of the translation is a function of frozen values. Where an edit leaves those as they
are, their objects are those of the run before, and so may the result be: the cost of a run follows the edit, not the
fleet.

What is as long as the fleet is a tuple that is known by its stretches: tuples of some of its items, one after the
other, each the same object from run to run for as long as its items are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain, repeat
from operator import eq, is_
from typing import Any, NamedTuple, TypeVar

from compiler.diagnostics import Diagnostic

T = TypeVar("T")
V = TypeVar("V")

STRETCH = 64
"""Items that are looked up at once."""
MOST_STALE, LEAST_STALE = 1.1, 300
"""Of results: how many there may be for each that is of use, and how many more, before the others are forgotten."""
MOST_CHANGED = 4
"""A result follows the items that have changed when at most one stretch in so many has any."""


class _Entry(NamedTuple):
    parts: tuple[object, ...]
    """Kept so that no other object gets the identity of one."""
    made: Any
    within: tuple[object, ...]
    """Keys and names of what was kept while it was made, which is of use for as long as it is."""


Results = dict[object, _Entry]


class _Stretch(NamedTuple):
    items: tuple[object, ...]
    common: tuple[object, ...]
    made: tuple[Any, ...]
    """Of each of the items."""


_NOTHING = _Stretch((), (), ())


class Kept:
    """The results of earlier runs, and those of this one, which count for later runs once it is `closed`."""

    __slots__ = ("_before", "_cuts", "_lively", "_made", "_named", "_seen", "_sweeping", "_touched", "_within")

    def __init__(self, before: Kept | None = None, *, apart: bool = False) -> None:
        """After `before`; or `apart` from it, which may go on in another thread: of the same run, and seen by none."""
        self._before, self._named, self._lively = ({}, {}, 0) if before is None else before.results()
        self._made: Results = {}
        self._seen: dict[object, int] = {}
        if apart and before is not None:
            self._before, self._named, self._seen = dict(self._before), dict(self._named), before.ordinals()
        self._cuts: dict[int, tuple[tuple[object, ...], Sequence[tuple[Any, ...]]]] = {}
        """Tuples and their stretches, by the identity of the tuple."""
        self._within: list[object] | None = None
        """Keys and names that what `by` is making has come to so far."""
        self._touched: set[object] = set()
        """Names that this run came to, if it is sweeping."""
        self._sweeping = not apart and len(self._before) + len(self._named) > self._lively * MOST_STALE + LEAST_STALE
        """Whether this run comes to every result that is still of use, so that the others can be forgotten."""

    # One result

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
                entry = self._made[key] = self._entry(parts, make, arguments)
            elif self._sweeping:
                self._made[key] = entry
                self._stay(entry.within)
        if self._within is not None:
            self._within.append(key)
            self._within.extend(entry.within)
        made: V = entry.made
        return made

    def _entry(self, parts: tuple[object, ...], make: Callable[..., Any], arguments: tuple[Any, ...]) -> _Entry:
        outer, self._within = self._within, []
        made, within = make(*arguments), tuple(self._within)
        self._within = outer
        return _Entry(parts, made, within)

    def _stay(self, within: tuple[object, ...]) -> None:
        """What was kept while something was made that need not be made again."""
        self._touched.update(within)
        self._made.update({key: self._before[key] for key in within if key in self._before})

    def last(self, name: object, parts: tuple[object, ...], make: Callable[..., V], arguments: tuple[Any, ...]) -> V:
        """As `by`, for what is put together from other results, of which only the last is kept under a name."""
        self._came_to(name)
        entry: tuple[tuple[object, ...], V] | None = self._named.get(name)
        if entry is None or self._sweeping or len(entry[0]) != len(parts) or not all(map(is_, entry[0], parts)):
            entry = self._named[name] = parts, make(*arguments)
        return entry[1]

    def same(self, name: object, value: V, alike: Callable[[V, V], bool] = eq) -> V:
        """The object that was last seen under `name` if it is `alike`, so that what is made of it is found again.

        Values that differ in what `alike` does not compare are taken for the same.
        """
        name = "same", name
        self._came_to(name)
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

    # Of tuples as long as the fleet

    def each(
        self, make: Callable[..., V], items: tuple[object, ...], *common: object, using: tuple[object, ...] = ()
    ) -> tuple[V, ...]:
        """`make(item, *common, *using)` for each of `items`; what it is `using` does not decide what comes of it."""
        return self.joined(self._over(make, items, common, using))

    def chained(
        self,
        make: Callable[..., Iterable[V]],
        items: tuple[object, ...],
        *common: object,
        using: tuple[object, ...] = (),
    ) -> tuple[V, ...]:
        """All of what `make` gives for each of `items`, as in `each`."""
        made = enumerate(self._over(make, items, common, using))
        return self.joined(
            [self.last(("chained", make, len(items), at), (of,), _chained, (self, of)) for at, of in made]
        )

    def stretches(
        self, make: Callable[..., V], items: tuple[object, ...], *common: object, using: tuple[object, ...] = ()
    ) -> list[V]:
        """`make(stretch, *common, *using)` for each stretch of `items`."""
        return [
            self.last(("stretch", make, len(items), at), (stretch, *common), make, (stretch, *common, *using))
            for at, stretch in enumerate(self.cut(items))
        ]

    def rows(
        self,
        make: Callable[..., V],
        rows: Iterable[tuple[object, ...]],
        *common: object,
        using: tuple[object, ...] = (),
    ) -> tuple[V, ...]:
        """`make(*row, *common, *using)` for each of `rows`, of which the parts decide, and not the row itself."""
        listed = list(rows)
        result: list[tuple[V, ...]] = []
        for start in range(0, len(listed), STRETCH):
            stretch = listed[start : start + STRETCH]
            parts = (*chain.from_iterable(stretch), *common)
            # Rows of different lengths may be the same parts, cut at other places.
            name = make, len(listed), start, tuple(map(len, stretch))
            result.append(self.last(name, parts, _rows, (self, make, stretch, common, using)))
        return self.joined(result)

    def folded(
        self,
        name: object,
        items: tuple[T, ...],
        whole: Callable[[tuple[T, ...]], V],
        follow: Callable[[V, Sequence[T], Sequence[T]], V | None],
    ) -> V:
        """`whole(items)`, by `follow` where few of them are others than the last time under `name`.

        `follow` is given what came of the items before, those that have gone since and those that have come, of which
        some may be the same; it is to make of it what `whole` would, or None where it cannot.
        """
        name = "folded", name
        self._came_to(name)
        cut = self.cut(items)
        before: tuple[Sequence[tuple[T, ...]], V] | None = self._named.get(name)
        followed: V | None = None
        if before is not None and (between := _between(before[0], cut)) is not None:
            followed = follow(before[1], *between) if between[0] or between[1] else before[1]
        made = whole(items) if followed is None else followed
        self._named[name] = cut, made
        return made

    def cut(self, items: tuple[T, ...]) -> Sequence[tuple[T, ...]]:
        """The stretches of `items`."""
        known = self._cuts.get(id(items))
        if known is None:
            starts = range(0, len(items), STRETCH)
            known = self._cuts[id(items)] = items, [self.tuple_of(items[at : at + STRETCH]) for at in starts]
        return known[1]

    def joined(self, stretches: Sequence[tuple[T, ...]]) -> tuple[T, ...]:
        """The items of all `stretches`, which are the same objects as before where their items are."""
        items = tuple(chain.from_iterable(stretches))
        if items:
            self._cuts[id(items)] = items, stretches
        return items

    def tuple_of(self, items: Iterable[T]) -> tuple[T, ...]:
        """The tuple of these very objects: itself the same object every time."""
        listed = tuple(items)
        return self.by(tuple, listed, tuple, (listed,))

    def _over(
        self, make: Callable[..., V], items: tuple[object, ...], common: tuple[object, ...], using: tuple[object, ...]
    ) -> list[tuple[V, ...]]:
        """Of each stretch of `items`. Those that are where they were before are not looked up."""
        result: list[tuple[V, ...]] = []
        for at, stretch in enumerate(self.cut(items)):
            name = "each", make, len(items), at
            self._came_to(name)
            before: _Stretch = self._named.get(name, _NOTHING)
            if self._sweeping or len(before.common) != len(common) or not all(map(is_, before.common, common)):
                before = _NOTHING
            if before.items is not stretch:
                known = chain(zip(before.items, before.made, strict=True), repeat((_NOTHING, None)))
                made = [
                    old if item is of else self.by(make, (item, *common), make, (item, *common, *using))
                    for item, (of, old) in zip(stretch, known, strict=False)
                ]
                before = self._named[name] = _Stretch(stretch, common, self.tuple_of(made))
            result.append(before.made)
        return result

    # From run to run

    def closed(self) -> Kept:
        """After a run whose results are to count. Of one that is never closed only what has a name is left."""
        first = not self._lively
        if self._sweeping:
            # Another thread may be adding names: translation goes on while policy is compiled.
            for name in [name for name in list(self._named) if name not in self._touched]:
                self._named.pop(name, None)
        if self._sweeping or first:
            self._before, self._lively = self._made, len(self._made) + len(self._named)
        else:
            self._before.update(self._made)
        self._made, self._cuts, self._within, self._sweeping, self._touched = {}, {}, None, False, set()
        return self

    def results(self) -> tuple[Results, dict[object, Any], int]:
        """By their keys, and by name; and how many of both were of use when that was last looked at."""
        return self._before, self._named, self._lively

    def ordinals(self) -> dict[object, int]:
        """Those that have been given."""
        return dict(self._seen)

    def _came_to(self, name: object) -> None:
        if self._within is not None:
            self._within.append(name)
        if self._sweeping:
            self._touched.add(name)


def _chained(kept: Kept, made: tuple[Iterable[V], ...]) -> tuple[V, ...]:
    return kept.tuple_of(chain.from_iterable(made))


def _rows(
    kept: Kept, make: Callable[..., V], stretch: Iterable[tuple[object, ...]], common: Any, using: Any
) -> tuple[V, ...]:
    return kept.tuple_of([kept.by(make, (*row, *common), make, (*row, *common, *using)) for row in stretch])


def _between(before: Sequence[tuple[T, ...]], after: Sequence[tuple[T, ...]]) -> tuple[Sequence[T], Sequence[T]] | None:
    """What has gone and what has come; some of it may be the same. None where it is much."""
    changed = [(old, new) for old, new in zip(before, after, strict=False) if old is not new]
    if len(before) != len(after) or len(changed) * MOST_CHANGED > len(after) + MOST_CHANGED:
        return None
    gone: list[T] = []
    come: list[T] = []
    for old, new in changed:
        if len(old) == len(new):
            others = [pair for pair in zip(old, new, strict=True) if pair[0] is not pair[1]]
            gone.extend([item for item, _ in others])
            come.extend([item for _, item in others])
        else:
            gone.extend(old)
            come.extend(new)
    return gone, come


def _reporting(make: Callable[..., V], parts: tuple[object, ...]) -> tuple[V, tuple[Diagnostic, ...]]:
    found: list[Diagnostic] = []
    return make(*parts, found), tuple(found)
