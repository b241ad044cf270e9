"""What a route asks of a request, as a VirtualService's matches of headers. The body pass has put all of it into some.

A match can look at a header once as it is and once inverted, and only at headers with plain names. What goes beyond is
asked of a copy of the header, which the pass makes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from compiler.emit.decimal_range import at_least, at_most
from compiler.envoy.matches import any_of, has_none_but, has_one_of, header_of
from compiler.envoy.request_pass import CAPABILITY_HEADER, INTERNAL_PREFIX, MODEL_HEADER, STREAM_HEADER, Copy
from compiler.fleet import Condition, Field, FieldType, Operator, Route

PRESENT: dict[str, str] = {}
LONGEST_REGEX = 1024
"""Istio refuses a VirtualService with a longer one."""

_PLAIN_NAME = re.compile(r"[-_a-z0-9]+\Z")


@dataclass(frozen=True, slots=True)
class HeaderMatches:
    headers: dict[str, dict[str, str]]
    """What must be there, and like this."""
    without: dict[str, dict[str, str]]
    """What must not be like this. Istio takes an absent header for an empty one here: each stands in `headers` too."""
    copies: tuple[Copy, ...]
    """Headers that the pass must make for it."""

    @property
    def longest_regex(self) -> int:
        return max((len(how.get("regex", "")) for how in (*self.headers.values(), *self.without.values())), default=0)


def header_matches(route: Route) -> HeaderMatches:
    """All that `route` asks but the model's name and the stream flag, of which it has routes of its own."""
    headers: dict[str, dict[str, str]] = {}
    without: dict[str, dict[str, str]] = {}
    copies = []
    if route.asks_within is not None:
        headers[CAPABILITY_HEADER] = {"regex": has_none_but(route.asks_within)}
    for condition in route.conditions:
        if condition.field is Field.STREAM:
            continue
        source = header_of(condition)
        name = _free_name(source, {MODEL_HEADER, STREAM_HEADER, *headers})
        if name != source:
            copies.append(Copy(source, name))
        headers[name], inverted = _match(condition)
        if inverted is not None:
            without[name] = inverted
    return HeaderMatches(headers, without, tuple(copies))


def copies(routes: Iterable[Route]) -> tuple[Copy, ...]:
    return tuple(sorted({copy for route in routes for copy in header_matches(route).copies}))


def _free_name(source: str, taken: Iterable[str]) -> str:
    """`source` itself where a match can read it; the same name for the same source and number of copies always."""
    if _PLAIN_NAME.match(source) and source not in taken:
        return source
    # Escaped, so that no two headers share a copy; Istio takes no other characters in a name.
    plain = re.sub(r"[^-a-z0-9]", lambda found: f"_{ord(found[0]):02x}", source.removeprefix(":"))
    kind = "request" if source.startswith(":") else "copy"
    number = 1
    while (name := f"{INTERNAL_PREFIX}{kind}-{number}-{plain}") in taken:
        number += 1
    return name


_Match = tuple[dict[str, str], dict[str, str] | None]
"""What the header must be like, and what it must not."""


def _match(condition: Condition) -> _Match:
    match condition.type:
        case FieldType.INTEGER:
            return _integer(condition.operator, [int(value) for value in condition.values])
        case FieldType.SET:
            return {"regex": has_one_of(map(str, condition.values))}, None
    return _text(condition.operator, [str(value) for value in condition.values])


def _text(operator: Operator, values: list[str]) -> _Match:
    first = values[0]
    match operator:
        case Operator.EQ:
            return {"exact": first}, None
        case Operator.NE:
            return PRESENT, {"exact": first}
        case Operator.CONTAINS:
            return {"regex": f".*{re.escape(first)}.*"}, None
        case Operator.PREFIX:
            return {"prefix": first} if first else PRESENT, None  # Istio refuses an empty one
        case Operator.IN:
            return {"regex": any_of(values)}, None
    return {"regex": f"(?:{first})"}, None


def _integer(operator: Operator, values: list[int]) -> _Match:
    first = values[0]
    match operator:
        case Operator.NE:
            return PRESENT, {"exact": str(first)}
        case Operator.IN:
            return {"regex": any_of(map(str, values))}, None
        case Operator.GT:
            return {"regex": at_least(first + 1)}, None
        case Operator.GE:
            return {"regex": at_least(first)}, None
        case Operator.LT:
            return {"regex": at_most(first - 1)}, None
        case Operator.LE:
            return {"regex": at_most(first)}, None
    return {"exact": str(first)}, None
