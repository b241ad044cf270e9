"""The sets of capabilities that two orchestrators tell apart."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

from compiler.diagnostics import BUILT_IN
from compiler.diff.stations import Station
from compiler.fleet import Condition, Field, Operator

MOST_NAMES = 10
"""Of which every set is looked at; of more, the small ones and those that policy has."""
NOBODYS = "something-else"
"""A capability that no member has."""


def asked_sets(stations: Iterable[Station]) -> tuple[tuple[Sequence[Condition], ...], bool]:
    """What a space has to be made for, to hold the sets that `stations` tell apart; and whether these are all.

    Capabilities that the same members have, and no rule names, make no difference to each other: one stands for all.
    """
    of_all = tuple(stations)
    classes = sorted({tuple(sorted(s.within)) for s in of_all if s.within is not None})
    if not classes:
        return (), True
    conditions = [c for s in of_all for c in s.conditions if c.field is Field.CAPABILITY]
    named = {str(value) for c in conditions for value in c.values}
    alike: dict[tuple[bool, ...], str] = {}
    for name in sorted({name for names in classes for name in names} - named):
        alike.setdefault(tuple(name in names for names in classes), name)
    names = sorted({*named, *alike.values()})
    complete = len(names) <= MOST_NAMES
    sets = list(_subsets(names, len(names) if complete else 2))
    if not complete:
        sets += classes
    return tuple(map(_ask, (*sets, *((*some, NOBODYS) for some in sets)))), complete


def _subsets(names: Sequence[str], most: int) -> Iterator[tuple[str, ...]]:
    """The small ones first, none empty."""
    return itertools.chain.from_iterable(itertools.combinations(names, size) for size in range(1, most + 1))


def _ask(names: Iterable[str]) -> Sequence[Condition]:
    """What is met by a request for all of `names`, and by none that asks for less."""
    return tuple(Condition(Field.CAPABILITY, "", Operator.CONTAINS, (name,), BUILT_IN) for name in names)
