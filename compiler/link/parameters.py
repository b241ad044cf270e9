"""How large a model is: what policy says, else what its name does."""

from __future__ import annotations

import re
from decimal import Decimal

_SIZE = re.compile(r"(?<![a-z0-9.])(?:([0-9]+)x)?([0-9]+(?:\.[0-9]+)?)([mbt])(?![a-z0-9])", re.IGNORECASE)
"""`70b`, `1.5B`, `350m`, `8x7B` in a name; not the `4k` of a context, nor the `A3B` of active parameters."""
_UNIT = {"m": 10**6, "b": 10**9, "t": 10**12}


def parameters(said: str | None, *names: str) -> int | None:
    """Of `said`, else of the first of `names` with a size in it. Experts are counted whole: 8x7B is 56B, a bit much."""
    for text in (said, *names):
        found = _SIZE.search(text.rpartition("/")[2]) if text else None
        if found is not None:
            return int(int(found[1] or 1) * Decimal(found[2]) * _UNIT[found[3].lower()])
    return None
