"""The meaning of a fleet: where one request goes, and why. Envoy's and Istio's configuration must agree with it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from compiler.diagnostics import Position
from compiler.fleet import Condition, Field, Fleet, Gateway, Model, Operator, Retries, Target, Timeouts
from compiler.fleet.rules import Value
from compiler.request import OPENAI_PATHS, Request


class Stage(StrEnum):
    """What decided, in the order in which it is asked."""

    EXPLICIT = "explicit"
    RULE = "rule"
    DEFAULT = "default"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Chosen:
    model: str
    version: str
    share: int
    """Of 10,000 requests like this one."""
    origin: Position


@dataclass(frozen=True, slots=True)
class Step:
    """Something that was asked on the way, and what it said."""

    stage: Stage
    name: str
    """Of the model, rule or orchestrator asked."""
    matched: bool
    why: str
    origin: Position


@dataclass(frozen=True, slots=True)
class Decision:
    stage: Stage
    gateway: str
    rule: str
    """Name of the rule that decided; empty when none did."""
    targets: tuple[Chosen, ...]
    """Empty when nothing serves the request."""
    retries: Retries | None
    timeouts: Timeouts | None
    origin: Position | None
    """The line that decided."""
    steps: tuple[Step, ...]


def evaluate(fleet: Fleet, request: Request, gateway: Gateway | None = None) -> Decision:
    """Where `request` goes at `gateway`; at the one that serves its host when none is given.

    The order: the model that the request names; the rules, by priority; the default. Only a request that names no
    model, or names the orchestrator, comes past the first.
    """
    at = gateway if gateway is not None else gateway_of(fleet, request.host)
    if at is None:
        return Decision(Stage.NONE, "", "", (), None, None, None, ())
    models = {model.name: model for model in fleet.models}
    steps: list[Step] = []
    for attempt in (_explicit, _rules, _default):
        decision = attempt(request, at, models, steps)
        if decision is not None:
            return decision
    return Decision(Stage.NONE, at.name, "", (), None, None, None, tuple(steps))


def gateway_of(fleet: Fleet, host: str) -> Gateway | None:
    """As Envoy and Istio match hosts: the exact name first, then the longest `*.` domain, then `*`."""
    found = [(_closeness(name.name, host), gateway) for gateway in fleet.gateways for name in gateway.hosts]
    best = max((closeness for closeness, _ in found), default=-1)
    return next((gateway for closeness, gateway in found if closeness == best and best >= 0), None)


def holds(condition: Condition, request: Request) -> bool:
    """A field that the request does not have makes any condition false, `ne` too."""
    actual = _actual(condition, request)
    return actual is not None and _OPERATORS[condition.operator](actual, condition.values)


def _explicit(request: Request, gateway: Gateway, models: Mapping[str, Model], steps: list[Step]) -> Decision | None:
    asked = request.model
    if asked is None or (gateway.orchestrator is not None and asked == gateway.orchestrator.name):
        return None
    for name in gateway.models:
        model = models[name]
        if asked in (model.name, *model.aliases):
            steps.append(Step(Stage.EXPLICIT, name, True, f"the request names {asked}", model.origin))
            chosen = _chosen(((model, 100),))
            return Decision(
                Stage.EXPLICIT, gateway.name, "", chosen, model.retries, model.timeouts, model.origin, tuple(steps)
            )
    steps.append(Step(Stage.EXPLICIT, asked, False, f"{gateway.name} serves no model {asked}", gateway.origin))
    return Decision(Stage.NONE, gateway.name, "", (), None, None, gateway.origin, tuple(steps))


def _rules(request: Request, gateway: Gateway, models: Mapping[str, Model], steps: list[Step]) -> Decision | None:
    if gateway.orchestrator is None or not _may_choose(request):
        return None
    for rule in gateway.orchestrator.rules:
        failed = next((c for c in rule.conditions if not holds(c, request)), None)
        if failed is not None:
            steps.append(Step(Stage.RULE, rule.name, False, _why_not(failed, request), failed.origin))
            continue
        why = " and ".join(_shown(condition) for condition in rule.conditions) or "it takes every request"
        steps.append(Step(Stage.RULE, rule.name, True, why, rule.origin))
        chosen = _chosen(_members(rule.targets, models))
        return Decision(
            Stage.RULE, gateway.name, rule.name, chosen, rule.retries, rule.timeouts, rule.origin, tuple(steps)
        )
    return None


def _default(request: Request, gateway: Gateway, models: Mapping[str, Model], steps: list[Step]) -> Decision | None:
    orchestrator = gateway.orchestrator
    if orchestrator is None or not orchestrator.default or not _may_choose(request):
        return None
    members = _members(orchestrator.default, models)
    first = members[0][0]
    steps.append(Step(Stage.DEFAULT, orchestrator.name, True, "no rule has decided", orchestrator.origin))
    return Decision(
        stage=Stage.DEFAULT,
        gateway=gateway.name,
        rule="",
        targets=_chosen(members),
        retries=first.retries,
        timeouts=first.timeouts,
        origin=orchestrator.origin,
        steps=tuple(steps),
    )


def _may_choose(request: Request) -> bool:
    """A request that names nothing is somebody's to choose for only where it could have named a model."""
    return request.model is not None or (request.method == "POST" and request.path in OPENAI_PATHS)


def _members(targets: tuple[Target, ...], models: Mapping[str, Model]) -> tuple[tuple[Model, int], ...]:
    return tuple((models[target.model], target.weight) for target in targets)


def _chosen(members: tuple[tuple[Model, int], ...]) -> tuple[Chosen, ...]:
    """Those that get something; percent of percent."""
    return tuple(
        Chosen(model.name, version.name, percent * version.weight, version.origin)
        for model, percent in members
        for version in model.versions
        if percent * version.weight
    )


def _closeness(pattern: str, host: str) -> int:
    """How closely `pattern` fits `host`; -1 when it does not."""
    if pattern == host:
        return 1_000
    if pattern == "*":
        return 0
    return len(pattern) if pattern.startswith("*.") and host.endswith(pattern[1:]) else -1


def _actual(condition: Condition, request: Request) -> Value | frozenset[str] | None:
    match condition.field:
        case Field.MODEL:
            return request.model
        case Field.USER_TIER:
            return request.user_tier
        case Field.PATH:
            return request.path
        case Field.METHOD:
            return request.method
        case Field.HEADER:
            return request.headers.get(condition.key)
        case Field.METADATA:
            return request.metadata.get(condition.key)
        case Field.PROMPT_LENGTH:
            return request.prompt_length
        case Field.MAX_TOKENS:
            return request.max_tokens
        case Field.CAPABILITY:
            return request.capabilities or None
        case Field.STREAM:
            return request.stream


Actual = Value | frozenset[str]

_OPERATORS: Mapping[Operator, Callable[[Actual, tuple[Value, ...]], bool]] = {
    Operator.EQ: lambda actual, values: actual == values[0],
    Operator.NE: lambda actual, values: actual != values[0],
    Operator.GT: lambda actual, values: _number(actual) > _number(values[0]),
    Operator.GE: lambda actual, values: _number(actual) >= _number(values[0]),
    Operator.LT: lambda actual, values: _number(actual) < _number(values[0]),
    Operator.LE: lambda actual, values: _number(actual) <= _number(values[0]),
    Operator.IN: lambda actual, values: (
        not actual.isdisjoint(values) if isinstance(actual, frozenset) else actual in values
    ),
    Operator.CONTAINS: lambda actual, values: (
        values[0] in actual if isinstance(actual, frozenset) else str(values[0]) in str(actual)
    ),
    Operator.PREFIX: lambda actual, values: str(actual).startswith(str(values[0])),
    Operator.REGEX: lambda actual, values: re.fullmatch(str(values[0]), str(actual)) is not None,
}


def _number(value: Actual) -> int:
    assert isinstance(value, int)  # linking has refused comparisons of anything else
    return value


def _why_not(condition: Condition, request: Request) -> str:
    actual = _actual(condition, request)
    if actual is None:
        return f"{_shown(condition)}: the request has no {_field(condition)}"
    shown = ", ".join(sorted(actual)) if isinstance(actual, frozenset) else str(actual)
    return f"{_shown(condition)}: it is {shown}"


def _shown(condition: Condition) -> str:
    values = ", ".join(map(str, condition.values))
    listed = f"[{values}]" if condition.operator is Operator.IN else values
    return f"{_field(condition)} {condition.operator} {listed}"


def _field(condition: Condition) -> str:
    return f"{condition.field}.{condition.key}" if condition.key else str(condition.field)
