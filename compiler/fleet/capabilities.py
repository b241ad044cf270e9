"""Who can answer a request that asks for capabilities: the sets that tell members apart."""

from __future__ import annotations

from collections.abc import Iterable

from compiler.fleet.gateway import Member

MOST_CLASSES = 64
"""Routes that the capabilities of one orchestrator may make."""


def capability_classes(members: Iterable[Member]) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
    """Sets of capabilities, sorted, each with the models that have all of them, in the order of `members`.

    A request belongs to the first set that holds all it asks for: exactly those models can answer it. The sets are
    those of the members and what these have in common, the smallest first, so that of two that hold a request the one
    with more models comes first. Beyond `MOST_CLASSES` sets the rest is left out; linking refuses that (P425).
    """
    having = [(member.model, frozenset(member.capabilities)) for member in members]
    sets: set[frozenset[str]] = set()
    for _, capabilities in having:
        sets |= {capabilities, *(capabilities & other for other in sets)}
        if len(sets) > MOST_CLASSES + 1:  # one of them may be the empty one
            break
    ordered = sorted((tuple(sorted(s)) for s in sets if s), key=lambda names: (len(names), names))
    return tuple((names, tuple(model for model, has in having if has.issuperset(names))) for names in ordered)
