"""How large a model is: what policy says, else what its name does."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import NamedTuple

from compiler.architectures import Architecture

_SIZE = re.compile(r"(?<![a-z0-9.])(?:([0-9]+)x)?([0-9]+(?:\.[0-9]+)?)([mbt])(?![a-z0-9])", re.IGNORECASE)
"""`70b`, `1.5B`, `350m`, `8x7B` in a name; not the `4k` of a context, nor the `A3B` of active parameters."""
_UNIT = {"m": 10**6, "b": 10**9, "t": 10**12}


class Size(NamedTuple):
    parameters: int
    """By the number in policy or name. Experts are counted whole: 8x7B is 56B, a bit much."""
    least: int
    """What is sure of them. A name rounds: `7b` may be 6.5 billion; and experts share a part: `8x7B` is 47 billion."""


def size(said: str | None, known: Architecture | None, *names: str) -> Size | None:
    """Of `said`, else of the first of `names` with a size in it."""
    for text in (said, *names):
        found = _SIZE.search(text.rpartition("/")[2]) if text else None
        if found is not None:
            count = int(int(found[1] or 1) * Decimal(found[2]) * _UNIT[found[3].lower()])
            if said is not None:
                return Size(count, count)
            if known is not None:
                return Size(count, known.parameters)
            return Size(count, count * 3 // 4 if found[1] else count * 9 // 10)
    return None
