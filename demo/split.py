"""Whether counted answers are what a split asked for, as far as chance lets one tell."""

from __future__ import annotations

import math
from collections.abc import Mapping

DEVIATIONS = 4
"""A right split fails once in about 16,000 counts. Two would fail one run in twenty."""


def bound(total: int, percent: float) -> float:
    """How far from `percent` of `total` a count may lie: four standard deviations, and 0 for 0 and 100 %."""
    share = percent / 100
    return DEVIATIONS * math.sqrt(total * share * (1 - share))


def deviations(asked: Mapping[str, float], seen: Mapping[str, int]) -> dict[str, float]:
    """The names whose count lies out of bounds, with what it is off by. `asked` is in percent."""
    total = sum(seen.values())
    off = {name: seen.get(name, 0) - total * asked.get(name, 0) / 100 for name in {*asked, *seen}}
    return {name: by for name, by in off.items() if abs(by) > bound(total, asked.get(name, 0)) + 1e-9}
