"""Which of the known words a misspelt one may have been."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

LONGEST_WORD = 60
"""Longer ones are no misspellings of a field or value, and comparing them takes long."""
LIKELY, POSSIBLE = 0.85, 0.6
"""How alike two words are, from 0 to 1: a slip of the pen, and a guess."""


def nearest(word: object, candidates: Iterable[str], likeness: float = POSSIBLE) -> str:
    """`did you mean 'x'?` for the closest of `candidates`, whatever their case; or nothing."""
    if not isinstance(word, str) or len(word) > LONGEST_WORD:
        return ""
    folded = {candidate.lower(): candidate for candidate in candidates}
    close = difflib.get_close_matches(word.lower(), folded, n=1, cutoff=likeness)
    return f"did you mean '{folded[close[0]]}'?" if close else ""
