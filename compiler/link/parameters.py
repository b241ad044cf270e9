"""How large a model is: what policy says, else what its name does."""

from __future__ import annotations

import re
from decimal import Decimal

from compiler.architectures import Architecture

_SIZE = re.compile(r"(?<![a-z0-9.])(?:([0-9]+)x)?([0-9]+(?:\.[0-9]+)?)([mbt])(?![a-z0-9])", re.IGNORECASE)
"""`70b`, `1.5B`, `350m`, `8x7B` in a name; not the `4k` of a context, nor the `A3B` of active parameters."""
_UNIT = {"m": 10**6, "b": 10**9, "t": 10**12}


def parameters(said: str | None, *names: str) -> int | None:
    """Of `said`, else of the first of `names` with a size in it. Experts are counted whole: 8x7B is 56B, a bit much."""
    found = _first(said, *names)
    return None if found is None else _count(found)


def least_parameters(said: str | None, known: Architecture | None, *names: str) -> int | None:
    """What is sure of them. A name rounds: `7b` may be 6.5 billion; and experts share a part: `8x7B` is 47 billion."""
    if said is None and known is not None:
        return known.parameters
    found = _first(said, *names)
    if found is None or said is not None:
        return None if found is None else _count(found)
    return _count(found) * 3 // 4 if found[1] else _count(found) * 9 // 10


def _first(*texts: str | None) -> re.Match[str] | None:
    return next((found for text in texts if text and (found := _SIZE.search(text.rpartition("/")[2]))), None)


def _count(found: re.Match[str]) -> int:
    return int(int(found[1] or 1) * Decimal(found[2]) * _UNIT[found[3].lower()])
