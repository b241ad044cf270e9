"""Maps of all that a fleet has by name, made from those of the run before where an edit changes what the names mean,
and not the names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import TypeVar

from compiler.kept import Kept

V = TypeVar("V")
Named = tuple[str, V]


def by_name(kept: Kept, what: str, pairs: tuple[Named[V], ...]) -> Mapping[str, V]:
    """In the order of the names; of several with one name the first counts."""
    return kept.folded(("by name", what), pairs, _in_order, following)


def _in_order(pairs: tuple[Named[V], ...]) -> dict[str, V]:
    last_first = list(pairs)
    last_first.reverse()
    return dict(sorted(last_first, key=itemgetter(0)))


def following(before: Mapping[str, V], gone: Sequence[Named[V]], come: Sequence[Named[V]]) -> dict[str, V] | None:
    """`before` with those that have come in the place of those that have gone.

    None where it is not as plain as that: there are other names, or several with one name, of which not all count.
    """
    others = dict(come)
    plain = len(gone) == len(come) == len(others) and all(
        name in others and before[name] is value for name, value in gone
    )
    return {**before, **others} if plain else None
