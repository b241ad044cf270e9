"""Regular expressions that take exactly the decimal numbers of a range: Istio compares headers as text only."""

from __future__ import annotations

from itertools import pairwise

NO_NUMBER = "[^0-9]"
"""Takes no number at all."""


def at_least(lowest: int) -> str:
    """RE2, over the whole value: what `str` writes for the integers from `lowest` on."""
    if lowest <= 0:
        return "[0-9]+"
    digits = len(str(lowest))
    return _any_of([*_same_length(str(lowest), "9" * digits), f"[1-9][0-9]{{{digits},}}"])


def at_most(highest: int) -> str:
    """From 0 to `highest`; no number where that is less."""
    if highest < 0:
        return NO_NUMBER
    borders = [-1, *(10**digits - 1 for digits in range(1, len(str(highest)))), highest]
    spans = ((str(below + 1), str(top)) for below, top in pairwise(borders))
    return _any_of([pattern for low, high in spans for pattern in _same_length(low, high)])


def _same_length(low: str, high: str) -> list[str]:
    """The numbers between two of as many digits, both included: those that share a beginning in one pattern each."""
    if not low:
        return [""]
    first, last = int(low[0]), int(high[0])
    if first == last:
        return [low[0] + rest for rest in _same_length(low[1:], high[1:])]
    patterns = []
    if set(low[1:]) - {"0"}:
        patterns += [low[0] + rest for rest in _same_length(low[1:], "9" * len(low[1:]))]
        first += 1
    tail = []
    if set(high[1:]) - {"9"}:
        tail = [high[0] + rest for rest in _same_length("0" * len(high[1:]), high[1:])]
        last -= 1
    if first <= last:
        patterns.append(_digit(first, last) + _any_digits(len(low) - 1))
    return patterns + tail


def _digit(first: int, last: int) -> str:
    return str(first) if first == last else f"[{first}-{last}]"


def _any_digits(count: int) -> str:
    return "" if not count else "[0-9]" if count == 1 else f"[0-9]{{{count}}}"


def _any_of(patterns: list[str]) -> str:
    return patterns[0] if len(patterns) == 1 else f"({'|'.join(patterns)})"
