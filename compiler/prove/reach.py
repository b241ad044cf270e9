"""Whether each rule, each value of its lists and each of its conditions decides for some request.

A regular expression counts as one that may match nothing a rule above takes: no rule is called unreachable for what two
different expressions may have in common.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from compiler.diagnostics import warning
from compiler.fleet import Condition, Operator, Rule
from compiler.prove.case import Case, one_of
from compiler.prove.cover import TooLargeError
from compiler.prove.points import MOST_CHOICES, choices, facet_of
from compiler.prove.space import Box, Space, within
from compiler.prove.witness import Finding, request_text


def findings(of: Case) -> Iterator[Finding]:
    too_large: list[str] = []
    for rule, box in zip(of.rules, of.boxes, strict=True):
        if choices(rule.conditions) > MOST_CHOICES:
            too_large.append(rule.name)
            continue
        try:
            unreached = _unreached(of, rule, box)
            yield from [unreached] if unreached is not None else _idle(of, rule, box)
        except TooLargeError:
            too_large.append(rule.name)
    if too_large:
        more = f" and {len(too_large) - 3} more" if len(too_large) > 3 else ""
        of.unproven.append(f"that all of {', '.join(too_large[:3])}{more} is reached")


def _unreached(of: Case, rule: Rule, box: Box) -> Finding | None:
    above = of.above(rule, box)
    witness = of.example(box) if above else None
    by = "" if witness is None else of.decider(witness)
    if witness is None or by == rule.name or not of.covered(box, above):
        return None
    said = f"rule {rule.name} is never reached: {by} takes {request_text(witness)}"
    return Finding(warning("P422", rule.origin, said, "a higher priority, or leave it out"), of.gateway.name, witness)


def _idle(of: Case, rule: Rule, box: Box) -> Iterator[Finding]:
    """The conditions, and the values of the others' lists, without which every request would go where it goes."""
    implied = _implied(rule, of.orchestrator.name)
    for condition in rule.conditions:
        if condition in implied:
            by = " and ".join(map(str, implied[condition]))
            said = f"{condition} of rule {rule.name} never decides: {by} says as much"
            yield Finding(warning("P426", condition.origin, said, "leave it out"), of.gateway.name, of.example(box))
        elif condition.operator is Operator.IN and len(set(condition.values)) > 1:
            yield from _idle_values(of, rule, box, condition)


def _implied(rule: Rule, orchestrator: str) -> dict[Condition, tuple[Condition, ...]]:
    """Each condition that holds wherever others of the same facet do; and those others."""
    left, implied = list(rule.conditions), {}
    for condition in reversed(rule.conditions):
        same = tuple(c for c in left if c is not condition and facet_of(c) == facet_of(condition))
        if same and _imply(same, condition, orchestrator):
            left = [c for c in left if c is not condition]
            implied[condition] = same
    return implied


def _imply(conditions: Sequence[Condition], condition: Condition, orchestrator: str) -> bool:
    space = Space([conditions, (condition,)], orchestrator)
    return within(space.box(conditions), space.box((condition,)))


def _idle_values(of: Case, rule: Rule, box: Box, condition: Condition) -> Iterator[Finding]:
    above = of.above(rule, box)
    others = tuple(c for c in rule.conditions if c is not condition)
    for number, (value, origin) in enumerate(zip(condition.values, condition.value_origins, strict=True)):
        with_it = of.space.box((*others, one_of(condition, number)))
        said = f"{condition.asked} {value} of rule {rule.name} never decides"
        if of.space.meet(with_it) is None:
            by = " and ".join(str(c) for c in others if facet_of(c) == facet_of(condition)) or "the other conditions"
            yield Finding(warning("P426", origin, f"{said}: {by} excludes it", "leave it out"), of.gateway.name)
            continue
        rest = of.space.box((*others, replace(condition, values=tuple(v for v in condition.values if v != value))))
        witness = of.example(with_it, [rest]) if above else None
        by = "" if witness is None else of.decider(witness)
        if witness is not None and by != rule.name and of.covered(with_it, [*above, rest]):
            said = f"{said}: {by} takes {request_text(witness)}"
            yield Finding(warning("P426", origin, said, "leave it out"), of.gateway.name, witness)
