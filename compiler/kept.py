"""What an earlier run has worked out, found again by the very objects that it was made of.

Every stage of the compiler is a function of frozen values. Where an edit leaves those as they are, their objects are
those of the run before, and so may the result be: the cost of a run follows the edit, not the fleet.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from compiler.diagnostics import Diagnostic

V = TypeVar("V")


class Kept:
    """The results of one run; those that it did not come to itself are forgotten by the run after the next."""

    __slots__ = ("before", "made", "named", "named_before")

    def __init__(self, before: Kept | None = None) -> None:
        self.made: dict[tuple[object, ...], tuple[tuple[object, ...], Any]] = {}
        self.named: dict[object, Any] = {}
        self.before = before.made if before is not None else {}
        self.named_before = before.named if before is not None else {}

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
        """`make(*arguments)`, for which `name` and the objects `parts` decide what comes of it."""
        key = (name, *map(id, parts))
        entry = self.made.get(key)
        if entry is None:
            entry = self.before.get(key)
            if entry is None:
                entry = parts, make(*arguments)  # with its parts, so that no other object gets the identity of one
            self.made[key] = entry
        made: V = entry[1]
        return made

    def same(self, name: object, value: V) -> V:
        """The value that the run before had under `name`, if it is equal. Not for values that differ in what `==` does
        not compare."""
        before = self.named_before.get(name)
        kept = self.named[name] = before if before == value else value
        return kept

    def closed(self) -> Kept:
        """For the run after this: without what only the run before this had a use for."""
        self.before, self.named_before = {}, {}
        return self


def _reporting(make: Callable[..., V], parts: tuple[object, ...]) -> tuple[V, tuple[Diagnostic, ...]]:
    found: list[Diagnostic] = []
    return make(*parts, found), tuple(found)
