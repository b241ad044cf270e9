"""The values of one facet of a request that conditions tell apart: few, and enough to show all that can happen.

All operators but `ne` ask for more of a value: a prefix, a part, a capability. Of the values that meet some conditions
and that no condition names, the one that meets nothing else is therefore the last that another rule would take. One
such value for each set of conditions, the named values, the borders of numbers and absence stand for all others.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from compiler.evaluate import holds
from compiler.fleet import Condition, Field, FieldType, Operator
from compiler.fleet.rules import TYPES, Value
from compiler.request import METHODS, OPENAI_PATHS, TIER_HEADER, Request

Facet = tuple[Field, str]
"""A field, and the name of the header or metadata entry."""
Question = tuple[Operator, tuple[Value, ...]]
"""What a condition asks of its facet."""

MODEL: Facet = (Field.MODEL, "")
METHOD: Facet = (Field.METHOD, "")
PATH: Facet = (Field.PATH, "")
USER_TIER: Facet = (Field.USER_TIER, "")
MODEL_NAME: Facet = (Field.HEADER, "model-name")

MOST_CHOICES = 64
"""Of capabilities that meet one rule; beyond it, what it needs is left open."""
NAMING = (Operator.EQ, Operator.NE, Operator.IN)
OTHER = "something-else"
_MARKS = "~_^|!;" + "".join(map(chr, range(33, 127)))
"""To stand between what is asked for; one that no condition has."""
_SIMPLER = (
    (r"\(\?:", "("),
    (r"\(([^()|]*)[^()]*\)", r"\1"),
    (r"\|.*", ""),
    (r"\\d|\[0-9\]", "0"),
    (r"\\w|(?<!\\)\.(?![*?])|\[a-z\]", "a"),
    (r"\[([^\]^])[^\]]*\]", r"\1"),
    (r".[*?]", ""),
    (r"(?<!\\)[+^$]", ""),
    (r"\\(.)", r"\1"),
)
"""From a regular expression to a text: first alternatives, first letters of classes, nothing where that will do."""
_ALIASES = {(Field.HEADER, TIER_HEADER): USER_TIER}
_ATTRIBUTES = {Field.CAPABILITY: "capabilities"}
"""Of `Request`, where they are not called like the field."""


@dataclass(frozen=True, slots=True)
class Point:
    """A value, or values of which none is known, as of a regular expression."""

    value: Any
    """None where the request does not have it."""
    met: frozenset[Question] | None = None
    """Of unknown values: what all of them meet for certain; None for a known one."""


def facet_of(condition: Condition) -> Facet:
    facet = (condition.field, condition.key)
    return _ALIASES.get(facet, facet)


def question_of(condition: Condition) -> Question:
    return condition.operator, condition.values


def points(facet: Facet, asks: Iterable[Sequence[Condition]], orchestrator: str) -> tuple[Point, ...]:
    """The simplest first. `asks` are conditions on this facet, each entry together."""
    distinct = {tuple(map(question_of, ask)): ask for ask in ((), *asks)}
    conditions = list({question_of(c): c for ask in distinct.values() for c in ask}.values())
    named = sorted({value for c in conditions if c.operator in NAMING for value in c.values}, key=str)
    if facet in (MODEL, MODEL_NAME):  # a request that names another model does not come this far
        return Point(None), Point(orchestrator)
    if facet == METHOD:
        return tuple(map(Point, dict.fromkeys(("POST", *METHODS, "TRACE"))))
    match TYPES[facet[0]]:
        case FieldType.BOOLEAN:
            return Point(False), Point(True)
        case FieldType.INTEGER:
            near = {int(value) + step for c in conditions for value in c.values for step in (-1, 0, 1)}
            return tuple(map(Point, (None, *sorted(value for value in near if value >= 0))))
        case FieldType.SET:
            return tuple(dict.fromkeys(point for ask in distinct.values() for point in _sets(ask)))
    return tuple(dict.fromkeys(_texts(facet, list(distinct.values()), conditions, list(map(str, named)))))


def choices(conditions: Iterable[Condition]) -> int:
    """In how many ways a set can meet those of `conditions` that ask for capabilities."""
    return math.prod(len(c.values) for c in conditions if c.type is FieldType.SET)


def _sets(ask: Sequence[Condition]) -> Iterator[Point]:
    """The least sets that meet `ask`; of too many ways, only the set that goes all of them."""
    few = choices(ask) <= MOST_CHOICES
    ways = itertools.product(*(c.values for c in ask)) if few else [(v for c in ask for v in c.values)]
    yield from (Point(frozenset(way)) for way in ways)


def _texts(
    facet: Facet, asks: list[Sequence[Condition]], conditions: list[Condition], named: list[str]
) -> Iterator[Point]:
    yield from map(Point, OPENAI_PATHS if facet == PATH else (None,))
    regexes = [c for c in conditions if c.operator is Operator.REGEX]
    words = [str(value) for c in conditions for value in c.values]
    mark = next((mark for mark in _MARKS if not any(mark in word for word in words)), "")
    free = [ask for ask in asks if not any(c.operator in (Operator.EQ, Operator.IN) for c in ask)]
    least = [_least(facet, ask, words, mark) for ask in free]
    samples = (_sample(str(c.values[0])) for c in regexes)
    known = [text for text in (*named, *least, *filter(None, samples)) if facet != PATH or text.startswith("/")]
    yield from map(Point, known)
    for ask, text in zip(free, least, strict=True):
        if text in known and (regexes or not mark):  # who knows which else of them such a text meets
            asked = set(map(question_of, ask))
            certain = {Operator.NE} if not mark else {*Operator} - {Operator.REGEX}
            request = request_with({facet: text})
            met = (question_of(c) in asked or (c.operator in certain and holds(c, request)) for c in conditions)
            yield Point(None, frozenset(question_of(c) for c, yes in zip(conditions, met, strict=True) if yes))


def _least(facet: Facet, ask: Sequence[Condition], words: list[str], mark: str) -> str:
    """A text with the prefix and the parts that `ask` wants, and nothing else that any of `words` would find."""
    prefix = max((str(c.values[0]) for c in ask if c.operator is Operator.PREFIX), key=len, default="")
    parts = [str(c.values[0]) for c in ask if c.operator is Operator.CONTAINS]
    start = prefix or ("/" if facet == PATH else "")
    if not prefix and not parts and not any(word in f"{start}{OTHER}" for word in words if word != start):
        return f"{start}{OTHER}"
    return mark.join([start, *parts, ""])


def _sample(pattern: str) -> str:
    """A text that is likely to match; when it does not, whoever asks `holds` finds out."""
    for found, simpler in _SIMPLER:
        pattern = re.sub(found, simpler, pattern)
    return pattern


def request_with(values: Mapping[Facet, Any]) -> Request:
    """With the values that are not None, each where its field is read from."""
    given = {facet: value for facet, value in values.items() if value is not None}
    headers = {key: value for (field, key), value in given.items() if field is Field.HEADER}
    if USER_TIER in given:
        headers[TIER_HEADER] = given[USER_TIER]
    metadata = {key: value for (field, key), value in given.items() if field is Field.METADATA}
    elsewhere = (Field.HEADER, Field.USER_TIER, Field.METADATA)
    plain = {_ATTRIBUTES.get(f, str(f)): value for (f, _), value in given.items() if f not in elsewhere}
    return replace(Request(), headers=headers, metadata=metadata, **plain)
