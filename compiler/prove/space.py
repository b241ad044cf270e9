"""The requests that an orchestrator chooses for, as boxes: all whose every facet has one of some values."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from operator import and_
from typing import Any

from compiler.evaluate import holds
from compiler.fleet import Condition, Field, FieldType, Operator
from compiler.prove.points import (
    METHOD,
    MODEL,
    MODEL_NAME,
    NAMING,
    PATH,
    Facet,
    Question,
    facet_of,
    points,
    question_of,
    request_with,
)
from compiler.request import OPENAI_PATHS, Request

Box = tuple[int, ...]
"""For each facet of a space the points it may have, as the bits of a number."""


class Space:
    """Boxes over the points that some sets of conditions tell apart."""

    def __init__(self, asks: Iterable[Sequence[Condition]], orchestrator: str) -> None:
        by_facet: dict[Facet, list[list[Condition]]] = {MODEL: [], METHOD: [], PATH: []}
        for ask in asks:
            of_this: dict[Facet, list[Condition]] = {}
            for condition in ask:
                of_this.setdefault(facet_of(condition), []).append(condition)
            for facet, conditions in of_this.items():
                by_facet.setdefault(facet, []).append(conditions)
        self._facets = tuple(by_facet)
        self._asked = {facet for facet, asked in by_facet.items() if asked}
        self._index = {facet: index for index, facet in enumerate(self._facets)}
        self._points = tuple(points(facet, of, orchestrator) for facet, of in by_facet.items())
        self._bits = tuple(
            {point.value: 1 << n for n, point in enumerate(of) if point.met is None} for of in self._points
        )
        self._masks: dict[tuple[int, Question], int] = {}
        self._with_points: dict[int, list[tuple[int, Request]]] = {}
        self.whole: Box = tuple((1 << len(of)) - 1 for of in self._points)
        self.known: Box = tuple(sum(bits.values()) for bits in self._bits)
        """All of which a request can be shown."""
        self.unnamed, self.named = self._unnamed(), self._named(orchestrator)
        """All that can come to the rules without a name, and by the orchestrator's."""
        # The others differ in nothing that a rule asks for, or have less of it.
        differ = self._asked & {MODEL, MODEL_NAME, METHOD, PATH}
        self.requests: tuple[Box, ...] = (self.unnamed, *self.named) if differ else (self.unnamed,)
        """All that can come to the rules and differ for them: the simplest first."""

    def box(self, conditions: Iterable[Condition]) -> Box:
        """The requests that meet `conditions`, which are among those the space was made for."""
        result = list(self.whole)
        for condition in conditions:
            index = self._index[facet_of(condition)]
            result[index] &= self._mask(index, condition)
        return tuple(result)

    def only(self, facet: Facet, wanted: Callable[[Any], bool]) -> Box:
        """The requests whose `facet` has a value that is wanted; the whole where nobody asks for that facet."""
        index = self._index.get(facet)
        if index is None:
            return self.whole
        mask = sum(1 << n for n, point in enumerate(self._points[index]) if wanted(point.value))
        return (*self.whole[:index], mask, *self.whole[index + 1 :])

    def meet(self, *boxes: Box) -> Box | None:
        """The requests that are in all `boxes` and can come to the rules; None when there are none."""
        return next((met for possible in self.requests if (met := intersection(possible, *boxes))), None)

    def request(self, box: Box) -> Request:
        """The simplest in `box`, of which every facet is known."""
        lowest = ((mask & -mask).bit_length() - 1 for mask in box)
        return request_with({f: of[n].value for f, of, n in zip(self._facets, self._points, lowest, strict=True)})

    def _mask(self, index: int, condition: Condition) -> int:
        key = (index, question_of(condition))
        if key not in self._masks:
            self._masks[key] = self._met(index, condition)
        return self._masks[key]

    def _met(self, index: int, condition: Condition) -> int:
        bits = self._bits[index]
        if condition.operator in NAMING and condition.type is not FieldType.SET:
            named = sum(bits.get(value, 0) for value in set(condition.values))
            return named if condition.operator is not Operator.NE else self.whole[index] & ~named & ~bits.get(None, 0)
        if condition.type is FieldType.INTEGER:
            return self._compared(index, condition)
        return sum(1 << n for n, request in self._requests(index) if holds(condition, request)) | sum(
            1 << n for n, point in enumerate(self._points[index]) if question_of(condition) in (point.met or ())
        )

    def _compared(self, index: int, condition: Condition) -> int:
        """Numbers are in order, after None."""
        numbers = [point.value for point in self._points[index][1:]]
        less, more = (1 << 1 + side(numbers, condition.values[0]) for side in (bisect_left, bisect_right))
        under = {Operator.LT: less, Operator.GE: less, Operator.LE: more, Operator.GT: more}[condition.operator] - 1
        return (under if condition.operator in (Operator.LT, Operator.LE) else self.whole[index] & ~under) & ~1

    def _requests(self, index: int) -> list[tuple[int, Request]]:
        """With the known points of a facet, each with the point's number."""
        if index not in self._with_points:
            facet, known = self._facets[index], [(n, p) for n, p in enumerate(self._points[index]) if p.met is None]
            self._with_points[index] = [(n, request_with({facet: point.value})) for n, point in known]
        return self._with_points[index]

    def _unnamed(self) -> Box:
        return _all_of(
            self.only(METHOD, lambda method: method == "POST"),
            self.only(MODEL, lambda model: model is None),
            self.only(MODEL_NAME, lambda model: model is None),
            self.only(PATH, lambda path: path in OPENAI_PATHS),
        )

    def _named(self, orchestrator: str) -> tuple[Box, Box]:
        posts = self.only(METHOD, lambda method: method == "POST")
        others = self.only(METHOD, lambda method: method != "POST")
        named = self.only(MODEL, lambda model: model == orchestrator)
        # Of another method no body is read.
        read = [
            f for f in self._facets if f[0] in (Field.PROMPT_LENGTH, Field.MAX_TOKENS, Field.METADATA, Field.STREAM)
        ]
        unread = (self.only(facet, lambda value: value is None or value is False) for facet in read)
        return _all_of(posts, named), _all_of(others, named, *unread)


def meets(one: Box, other: Box) -> bool:
    return all(map(and_, one, other))


def within(one: Box, other: Box) -> bool:
    """Whether all of `one` is in `other`."""
    return all(not mine & ~its for mine, its in zip(one, other, strict=True))


def intersection(*boxes: Box) -> Box | None:
    """None when nothing is in all of them."""
    result = _all_of(*boxes)
    return result if all(result) else None


def _all_of(*boxes: Box) -> Box:
    """As `intersection`, where that may be empty: such a box is met by none."""
    return tuple(reduce(and_, masks) for masks in zip(*boxes, strict=True))
