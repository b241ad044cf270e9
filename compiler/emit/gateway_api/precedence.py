"""The order of Turnout's rules, written for proxies that let the most specific match decide.

Where a request meets two rules and the lower one is more specific, a match that asks for all that both ask for is added
and leads where the higher one does. It is more specific than either, so it decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from compiler.emit.gateway_api.match import Match, intersection

MOST_MATCHES = 256
"""Of the rules of one orchestrator together: to find them takes time that grows with the square of this."""


class Ranked(NamedTuple):
    match: Match
    rank: int
    """Of the rule that decides: its place in the order."""


def settled(rules: Sequence[Sequence[Match]], *, ordered: bool) -> tuple[Ranked, ...] | None:
    """Matches by which each request comes to the first of `rules` that it meets; None where they are too many.

    By rank. `ordered` says that of equally specific matches the first decides, as it does within one HTTPRoute; between
    several, their age does.
    """
    wanted = [Ranked(match, rank) for rank, matches in enumerate(rules) for match in matches]
    first = {match: _rank(match, wanted) for match, _ in wanted}
    found, waiting = dict(first), list(first)
    while waiting and len(found) <= MOST_MATCHES:
        match = waiting.pop()
        for other in list(found):
            both = _missing(match, other, found, first, ordered=ordered)
            if both is not None:
                found[both] = _rank(both, wanted)
                waiting.append(both)
    if len(found) > MOST_MATCHES:
        return None
    return tuple(sorted((Ranked(*item) for item in found.items()), key=_order))


def _missing(
    one: Match, other: Match, found: Mapping[Match, int], first: Iterable[Match], *, ordered: bool
) -> Match | None:
    """What must be added, so that no request which meets both comes to the lower of them.

    Nothing where one of the `first` that such a request meets too decides before it.
    """
    higher, lower = (one, other) if found[one] < found[other] else (other, one)
    if found[higher] == found[lower] or _decides(higher, lower, found, ordered=ordered):
        return None
    both = intersection(higher, lower)
    if both is None or both in found:
        return None
    if any(_decides(match, lower, found, ordered=ordered) and intersection(match, both) == both for match in first):
        return None
    return both


def _decides(one: Match, other: Match, found: Mapping[Match, int], *, ordered: bool) -> bool:
    """Whether a request that meets both certainly comes to `one`."""
    if one.specificity == other.specificity:
        return ordered and found[one] < found[other]
    return one.specificity > other.specificity


def _rank(match: Match, wanted: Sequence[Ranked]) -> int:
    """Of the first rule that every request which meets `match` meets."""
    return min(rank for other, rank in wanted if intersection(match, other) == match)


def _order(ranked: Ranked) -> tuple[object, ...]:
    """So that what is rendered does not follow from how it was found."""
    match, rank = ranked
    return rank, match.path, match.is_exact, match.method, match.headers
