"""Names that refer to other policies."""

from __future__ import annotations

from collections.abc import Iterable

from compiler.diagnostics import Diagnostic, Position, error
from compiler.spelling import nearest


def dangling(field: str, kind: str, name: str, place: Position, known: Iterable[str]) -> Diagnostic:
    return error("P203", place, f"{field}: no {kind} '{name}'", nearest(name, known))


def weights_sum(what: str, weights: list[int], places: list[Position]) -> Diagnostic | None:
    """P202 at the last of `weights` unless they add up to 100."""
    total = sum(weights)
    if total == 100:
        return None
    others = total - weights[-1]
    hint = f"set this weight to {100 - others}" if 0 <= 100 - others <= 100 else "weights are percent of 100"
    added = " + ".join(map(str, weights))
    shown = f"{added} = {total}" if len(weights) > 1 else str(total)
    return error("P202", places[-1], f"weights of {what} add up to {shown}, not 100", hint)
