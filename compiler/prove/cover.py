"""Whether some boxes cover another: what is left of it is split along the edges of one of them, until none is met."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from compiler.prove.space import Box, meets

MOST_STEPS = 1_000_000
"""Boxes looked at for one orchestrator: some seconds at most, whatever it asks."""
MOST_STEPS_OF_ONE = 200_000
"""For one question, so that one that is too hard leaves something for the others."""


class TooLargeError(Exception):
    """A question that took more steps than there are."""


@dataclass(slots=True)
class Steps:
    """What is left to be spent on one orchestrator."""

    left: int = MOST_STEPS

    def spend(self, steps: int) -> None:
        """Raises TooLargeError when there are not as many left."""
        if steps > self.left:
            raise TooLargeError
        self.left -= steps


def uncovered(box: Box, others: Sequence[Box], steps: Steps) -> Box | None:
    """A part of `box` that is in none of `others`; None when they cover it. Raises TooLargeError.

    Deciding this is as hard as satisfiability, so there is a limit. What policies ask is easy: few boxes meet.
    """
    own = Steps(min(steps.left, MOST_STEPS_OF_ONE))
    before = own.left
    try:
        return _uncovered(box, others, own)
    finally:
        steps.spend(before - own.left)


def _uncovered(box: Box, others: Sequence[Box], steps: Steps) -> Box | None:
    todo = [(box, others)]
    while todo:
        part, among = todo.pop()
        steps.spend(1 + len(among))
        met = [other for other in among if meets(part, other)]
        if not met:
            return part
        cutter = min(met, key=lambda other: sum(1 for mine, its in zip(part, other, strict=True) if mine & ~its))
        rest = [other for other in met if other is not cutter]
        todo.extend((piece, rest) for piece in reversed(_outside(part, cutter)))
    return None


def _outside(box: Box, cutter: Box) -> list[Box]:
    """`box` without `cutter`, in boxes that do not meet."""
    pieces = []
    for index, its in enumerate(cutter):
        if box[index] & ~its:
            pieces.append((*box[:index], box[index] & ~its, *box[index + 1 :]))
            box = (*box[:index], box[index] & its, *box[index + 1 :])
    return pieces
