"""Whether each rule can decide, and whether any two want the same request: shown by a request that does.

A condition is true or false for a whole range of values. So it is enough to look at one request for every combination
of ranges: the values that conditions name, their neighbours, something else, and nothing. That is exact for all
operators but `regex`, of which nothing is claimed.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from compiler.diagnostics import Diagnostic, error, warning
from compiler.evaluate import holds
from compiler.fleet import Condition, Field, Fleet, Operator, Orchestrator, Rule
from compiler.request import Request

MOST_COMBINATIONS = 20_000
"""Of one pair or chain of rules; beyond it nothing is claimed."""
OTHER = "something-else"

Facet = tuple[Field, str]

_ATTRIBUTES = {Field.CAPABILITY: "capabilities"}
"""Of `Request`, where they are not called like the field."""


def findings(fleet: Fleet) -> Iterator[Diagnostic]:
    for gateway in fleet.gateways:
        if gateway.orchestrator is not None:
            yield from _ambiguous(gateway.orchestrator)
            yield from _unreachable(gateway.orchestrator)


def _ambiguous(orchestrator: Orchestrator) -> Iterator[Diagnostic]:
    for first, second in itertools.combinations(orchestrator.rules, 2):
        if first.priority == second.priority:
            witness = next((r for r in _requests((first, second)) if _takes(first, r) and _takes(second, r)), None)
            if witness is not None:
                said = f"rules {first.name}, {second.name} share priority {first.priority} and {_shown(witness)}"
                yield error("P421", second.origin, said, "another priority")


def _unreachable(orchestrator: Orchestrator) -> Iterator[Diagnostic]:
    for index, rule in enumerate(orchestrator.rules):
        before = orchestrator.rules[:index]
        if _has_regex(rule):
            continue
        certain = [earlier for earlier in before if not _has_regex(earlier)]
        taken: tuple[Rule, Request] | None = None
        for request in _requests((rule, *certain)):
            if _takes(rule, request):
                by = next((earlier for earlier in certain if _takes(earlier, request)), None)
                if by is None:
                    break
                taken = taken or (by, request)
        else:
            if taken is not None:
                by, request = taken
                said = f"rule {rule.name} is never reached: {by.name} takes {_shown(request)}"
                yield warning("P422", rule.origin, said, "a higher priority, or leave it out")


def _takes(rule: Rule, request: Request) -> bool:
    return all(holds(condition, request) for condition in rule.conditions)


def _has_regex(rule: Rule) -> bool:
    return any(condition.operator is Operator.REGEX for condition in rule.conditions)


def _requests(rules: tuple[Rule, ...]) -> Iterator[Request]:
    """One for each combination of ranges that the conditions of `rules` tell apart."""
    by_facet: dict[Facet, list[Condition]] = {}
    for rule in rules:
        for condition in rule.conditions:
            by_facet.setdefault((condition.field, condition.key), []).append(condition)
    choices = {facet: _values(facet[0], conditions) for facet, conditions in by_facet.items()}
    count = 1
    for values in choices.values():
        count *= len(values)
    if count > MOST_COMBINATIONS:
        return
    for combination in itertools.product(*choices.values()):
        yield _request(dict(zip(choices, combination, strict=True)))


def _values(field: Field, conditions: list[Condition]) -> tuple[object, ...]:
    named = {value for condition in conditions for value in condition.values}
    match field:
        case Field.STREAM:
            return True, False
        case Field.PROMPT_LENGTH | Field.MAX_TOKENS:
            near = {int(value) + step for value in named for step in (-1, 0, 1)}
            return None, *sorted(value for value in near if value >= 0)
        case Field.CAPABILITY:
            every = sorted(map(str, named))
            sizes = range(len(every) + 1) if len(every) <= 6 else (0, 1, len(every))
            return tuple(frozenset(chosen) for size in sizes for chosen in itertools.combinations(every, size))
        case Field.METHOD | Field.PATH:
            return *_texts(conditions), OTHER
    return None, *_texts(conditions), OTHER


def _texts(conditions: list[Condition]) -> Iterator[str]:
    """Named values, and texts with each prefix and each part that is asked for, alone and together."""
    prefixes = [str(c.values[0]) for c in conditions if c.operator is Operator.PREFIX]
    parts = [str(c.values[0]) for c in conditions if c.operator is Operator.CONTAINS]
    whole = [str(v) for c in conditions if c.operator not in (Operator.PREFIX, Operator.CONTAINS) for v in c.values]
    yield from dict.fromkeys(
        (
            *whole,
            *(f"{prefix}~" for prefix in prefixes),
            *(f"~{part}~" for part in parts),
            *(f"{prefix}~{part}~" for prefix in prefixes for part in parts),
            *(f"{prefix}~{'~'.join(parts)}~" for prefix in prefixes if len(parts) > 1),
            *((f"~{'~'.join(parts)}~",) if len(parts) > 1 else ()),
        )
    )


def _request(values: Mapping[Facet, Any]) -> Request:
    """With the values that are not None, each where its field is read from."""
    given = {facet: value for facet, value in values.items() if value is not None}
    headers = {key: value for (field, key), value in given.items() if field is Field.HEADER}
    if (Field.USER_TIER, "") in given:
        headers["x-user-tier"] = given[Field.USER_TIER, ""]
    metadata = {key: value for (field, key), value in given.items() if field is Field.METADATA}
    elsewhere = (Field.HEADER, Field.USER_TIER, Field.METADATA)
    plain = {_ATTRIBUTES.get(f, str(f)): value for (f, _), value in given.items() if f not in elsewhere}
    return replace(Request(), headers=headers, metadata=metadata, **plain)


def _shown(request: Request) -> str:
    """The request by what sets it apart."""
    facts = [f"{name}: {value}" for name, value in request.headers.items()]
    facts += [f"metadata.{key} {value}" for key, value in request.metadata.items()]
    plain = Request()
    for name in ("model", "method", "path", "prompt_length", "max_tokens", "stream"):
        value = getattr(request, name)
        if value != getattr(plain, name):
            facts.append(f"{name} {str(value).lower() if isinstance(value, bool) else value}")
    if request.capabilities:
        facts.append(f"capability {', '.join(sorted(request.capabilities))}")
    return f"a request with {', '.join(facts)}" if facts else "any request"
