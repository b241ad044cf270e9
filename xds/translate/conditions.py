"""Conditions of rules as Envoy's header matchers. The request pass has put what is not a header into one."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from compiler.envoy.request_pass import (
    CAPABILITY_HEADER,
    MAX_TOKENS_HEADER,
    METADATA_PREFIX,
    MODEL_HEADER,
    PATH_HEADER,
    PROMPT_LENGTH_HEADER,
    STREAM_HEADER,
)
from compiler.fleet import Condition, Field, FieldType, Operator

TIER_HEADER = "x-user-tier"
LARGEST = 2**63 - 1
"""Envoy compares 64-bit integers; the end of a range is not in it."""

_HEADERS = {
    Field.MODEL: MODEL_HEADER,
    Field.USER_TIER: TIER_HEADER,
    Field.PATH: PATH_HEADER,
    Field.METHOD: ":method",
    Field.PROMPT_LENGTH: PROMPT_LENGTH_HEADER,
    Field.MAX_TOKENS: MAX_TOKENS_HEADER,
    Field.CAPABILITY: CAPABILITY_HEADER,
    Field.STREAM: STREAM_HEADER,
}


def header_matchers(conditions: Iterable[Condition]) -> list[dict[str, Any]]:
    """Envoy takes a route when all match, and none matches a header that is absent."""
    asked = tuple(conditions)
    matchers = [{"name": _header(condition), **_match(condition)} for condition in asked]
    # The pass says "names no model" by an empty header, which is no model's name: it must not pass for one.
    named = [{"name": MODEL_HEADER, **_regex(".+")} for condition in asked if condition.field is Field.MODEL]
    return [*matchers, *named[:1]]


def asks_within(capabilities: Iterable[str] | None) -> list[dict[str, Any]]:
    """For requests that ask for capabilities, and for none but these; for all requests where there is no such limit."""
    if capabilities is None:
        return []
    return [{"name": CAPABILITY_HEADER, **_regex(f",({_any_of(capabilities)},)+")}]


def _header(condition: Condition) -> str:
    match condition.field:
        case Field.HEADER:
            return condition.key
        case Field.METADATA:
            return f"{METADATA_PREFIX}{condition.key}"
    return _HEADERS[condition.field]


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
            return _regex(_any_of(values))
    return _regex(first)


def _integer(operator: Operator, values: list[int]) -> dict[str, Any]:
    first = values[0]
    match operator:
        case Operator.NE:
            return {**_range(first, first + 1), "invert_match": True}
        case Operator.IN:
            return _regex(_any_of(str(value) for value in values))
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
    return _regex(f".*,{_any_of(values)},.*")


def _range(start: int, end: int) -> dict[str, Any]:
    return {"range_match": {"start": start, "end": end}}


def _regex(pattern: str) -> dict[str, Any]:
    """RE2, over the whole value."""
    return {"string_match": {"safe_regex": {"regex": pattern}}}


def _any_of(values: Iterable[str]) -> str:
    return f"({'|'.join(re.escape(value) for value in values)})"
