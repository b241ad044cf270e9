"""Conditions of rules as Envoy's header matchers. The request pass has put what is not a header into one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from compiler.envoy.matches import any_of, has_none_but, has_one_of, header_of
from compiler.envoy.request_pass import CAPABILITY_HEADER, MODEL_HEADER
from compiler.fleet import Condition, Field, FieldType, Operator

LARGEST = 2**63 - 1
"""Envoy compares 64-bit integers; the end of a range is not in it."""


def header_matchers(conditions: Iterable[Condition]) -> list[dict[str, Any]]:
    """Envoy takes a route when all match, and none matches a header that is absent."""
    asked = tuple(conditions)
    matchers = [{"name": header_of(condition), **_match(condition)} for condition in asked]
    # The pass says "names no model" by an empty header, which is no model's name: it must not pass for one.
    named = [{"name": MODEL_HEADER, **_regex(".+")} for condition in asked if condition.field is Field.MODEL]
    return [*matchers, *named[:1]]


def asks_within(capabilities: Iterable[str] | None) -> list[dict[str, Any]]:
    """For requests that ask for capabilities, and for none but these; for all requests where there is no such limit."""
    if capabilities is None:
        return []
    return [{"name": CAPABILITY_HEADER, **_regex(has_none_but(capabilities))}]


def _match(condition: Condition) -> dict[str, Any]:
    match condition.type:
        case FieldType.TEXT:
            return _text(condition.operator, [str(value) for value in condition.values])
        case FieldType.INTEGER:
            return _integer(condition.operator, [int(value) for value in condition.values])
        case FieldType.SET:
            return _set(condition.operator, [str(value) for value in condition.values])
        case FieldType.BOOLEAN:
            # The header is there for a stream, with the one value that it can have, and absent otherwise.
            return {"present_match": condition.values[0]}


def _text(operator: Operator, values: list[str]) -> dict[str, Any]:
    first = values[0]
    match operator:
        case Operator.EQ:
            return {"string_match": {"exact": first}}
        case Operator.NE:
            return {"string_match": {"exact": first}, "invert_match": True}
        case Operator.CONTAINS:
            return {"string_match": {"contains": first}}
        case Operator.PREFIX:
            return {"string_match": {"prefix": first}}
        case Operator.IN:
            return _regex(any_of(values))
    return _regex(first)


def _integer(operator: Operator, values: list[int]) -> dict[str, Any]:
    first = values[0]
    match operator:
        case Operator.NE:
            return {**_range(first, first + 1), "invert_match": True}
        case Operator.IN:
            return _regex(any_of(str(value) for value in values))
        case Operator.GT:
            return _range(first + 1, LARGEST)
        case Operator.GE:
            return _range(first, LARGEST)
        case Operator.LT:
            return _range(0, first)
        case Operator.LE:
            return _range(0, first + 1)
    return _range(first, first + 1)


def _set(operator: Operator, values: list[str]) -> dict[str, Any]:
    """Sets are written `,chat,code,`."""
    if operator is Operator.CONTAINS:
        return {"string_match": {"contains": f",{values[0]},"}}
    return _regex(has_one_of(values))


def _range(start: int, end: int) -> dict[str, Any]:
    return {"range_match": {"start": start, "end": end}}


def _regex(pattern: str) -> dict[str, Any]:
    """RE2, over the whole value."""
    return {"string_match": {"safe_regex": {"regex": pattern}}}
