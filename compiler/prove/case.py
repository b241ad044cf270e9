"""One orchestrator, as its proofs look at it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from compiler.evaluate import evaluate
from compiler.fleet import Carrier, Condition, Field, FieldType, Fleet, Gateway, Operator, Orchestrator, Rule
from compiler.prove.cover import Steps, uncovered
from compiler.prove.space import Box, Space, intersection, meets
from compiler.request import Request

READER = Carrier.ENVOY
"""Proofs are about what policy says; what a host's carrier does not see of a request is refused elsewhere: P301."""


@dataclass(slots=True)
class Case:
    fleet: Fleet
    gateway: Gateway
    orchestrator: Orchestrator
    rules: tuple[Rule, ...]
    """Those that some request meets, by priority."""
    space: Space
    boxes: tuple[Box, ...]
    """Of each rule."""
    steps: Steps = field(default_factory=Steps)
    unproven: list[str] = field(default_factory=list)
    """What took too many steps, in words."""

    def above(self, rule: Rule, box: Box) -> Sequence[Box]:
        """Of the rules of a higher priority, those that meet `box`. Raises TooLargeError.

        Those of the same priority are not asked in an order that policy has chosen: P421.
        """
        both = zip(self.rules, self.boxes, strict=True)
        above = list(itertools.takewhile(lambda other: other[0].priority > rule.priority, both))
        self.steps.spend(len(above))
        return [its for _, its in above if meets(box, its)]

    def covered(self, box: Box, others: Sequence[Box]) -> bool:
        """Whether every request in `box` is in one of `others`. Raises TooLargeError."""
        parts = (intersection(possible, box) for possible in self.space.requests)
        return all(part is None or uncovered(part, others, self.steps) is None for part in parts)

    def example(self, box: Box, without: Sequence[Box] = ()) -> Request | None:
        """The simplest request in `box` and in none of `without` that can be shown. Raises TooLargeError."""
        for possible in self.space.requests:
            part = intersection(possible, box, self.space.known)
            left = None if part is None else uncovered(part, without, self.steps)
            if left is not None:
                return self.space.request(left)
        return None

    def decider(self, request: Request) -> str:
        """The rule that decides it; empty when none does."""
        return evaluate(self.fleet, request, self.gateway, carrier=READER).rule


def case(fleet: Fleet, gateway: Gateway, orchestrator: Orchestrator, rules: tuple[Rule, ...]) -> Case:
    asks = [ask for rule in rules for ask in _asks(rule)]
    space = Space(asks, orchestrator.name)
    return Case(fleet, gateway, orchestrator, rules, space, tuple(space.box(rule.conditions) for rule in rules))


def one_of(condition: Condition, number: int) -> Condition:
    """For one value of a list."""
    operator = Operator.CONTAINS if condition.type is FieldType.SET else Operator.EQ
    return replace(condition, operator=operator, values=(condition.values[number],), value_origins=())


def _asks(rule: Rule) -> Iterator[Sequence[Condition]]:
    """What the proofs ask of the space about `rule`: itself, and with one value of a list of capabilities."""
    yield rule.conditions
    for condition in rule.conditions:
        if condition.field is Field.CAPABILITY and condition.operator is Operator.IN:
            others = tuple(c for c in rule.conditions if c is not condition)
            yield from ((*others, one_of(condition, value)) for value in range(len(condition.values)))
