"""What an orchestrator's conditions are as matches of an HTTPRoute, and which are none.

Regular expressions are left out: whether an implementation has them, and which, is its own affair.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from compiler.emit.gateway_api.match import ROOT, Match, intersection
from compiler.emit.gateway_api.precedence import MOST_MATCHES
from compiler.evaluate import holds
from compiler.fleet import Condition, Field, Operator
from compiler.request import MODEL_NAME_HEADER, MODELS_PATH, TIER_HEADER, Request

_OF_THE_BODY = (Field.STREAM, Field.PROMPT_LENGTH, Field.MAX_TOKENS, Field.METADATA)
_WHOLE = (Operator.EQ, Operator.IN)
_PATH = re.compile(r"/(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2})*\Z")
_ODD_PATH = re.compile(r"//|/\.\.?(/|\Z)|%2f", re.IGNORECASE)
_LONGEST_PATH, _LONGEST_NAME, _LONGEST_HEADER = 1024, 256, 4096


def named(name: str) -> tuple[Match, ...]:
    """Of the requests that name `name` where no body is needed to see it: in the path, or in the header."""
    return Match(f"{MODELS_PATH}/{name}"), Match(headers=((MODEL_NAME_HEADER, name),))


def matches(conditions: Iterable[Condition], orchestrator: str) -> tuple[Match, ...] | None:
    """Of the requests that name `orchestrator` and meet `conditions`; None where they are too many for `precedence`.

    Conditions that cannot be written are passed over.
    """
    found = named(orchestrator)
    for condition in conditions:
        if why_not(condition) is None:
            both = [intersection(match, other) for match in found for other in _any_of(condition, orchestrator)]
            found = tuple(dict.fromkeys(match for match in both if match is not None))
        if len(found) > MOST_MATCHES:
            return None
    return found


def why_not(condition: Condition) -> str | None:
    """Why a condition cannot be written; None where it can."""
    match condition.field:
        case field if field in _OF_THE_BODY:
            return "it reads no body"
        case Field.CAPABILITY:
            return "it compares whole values, and this is a set"
        case Field.MODEL:
            return None
        case Field.PATH:
            return _why_no_path(condition)
    if condition.operator not in _WHOLE:
        return "it compares whole values"
    if len(condition.key) > _LONGEST_NAME or max(len(str(value)) for value in condition.values) > _LONGEST_HEADER:
        return f"it takes {_LONGEST_NAME} characters of a header's name and {_LONGEST_HEADER:,} of its value"
    return None


def _why_no_path(condition: Condition) -> str | None:
    paths = [str(value) for value in condition.values]
    if condition.operator not in (*_WHOLE, Operator.PREFIX):
        return "it compares whole paths, or their first segments"
    if condition.operator is Operator.PREFIX and not paths[0].endswith("/"):
        return "a prefix is of whole segments, with a slash at the end"
    if any(len(path) > _LONGEST_PATH or not _PATH.match(path) or _ODD_PATH.search(path) for path in paths):
        return "it takes plain paths alone"
    return None


def paths(condition: Condition) -> tuple[str, ...]:
    """Those that a condition on the path asks for."""
    return tuple(map(str, condition.values)) if condition.field is Field.PATH else ()


def _any_of(condition: Condition, orchestrator: str) -> tuple[Match, ...]:
    values = [str(value) for value in condition.values]
    match condition.field:
        case Field.MODEL:
            # Who comes to the rules has named the orchestrator.
            return (Match(),) if holds(condition, Request(model=orchestrator)) else ()
        case Field.PATH if condition.operator is Operator.PREFIX:
            return (Match(values[0].rstrip("/") or ROOT),)
        case Field.PATH:
            return tuple(Match(value, is_exact=True) for value in values)
        case Field.METHOD:
            return tuple(Match(method=value) for value in values)
    header = condition.key if condition.field is Field.HEADER else TIER_HEADER
    return tuple(Match(headers=((header, value),)) for value in values)
