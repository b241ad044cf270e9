"""What may decide a request at a gateway, in the order in which it is asked, and what it then decides.

`evaluate` says all of it: for each station it is asked about a gateway that has nothing before that station.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from compiler.diagnostics import Position
from compiler.diff.effect import Effect, at_gateway, effect
from compiler.evaluate import Decision, Look, Stage, always_ready, evaluate, holds
from compiler.fleet import Carrier, Condition, Field, Fleet, Gateway, Operator, Orchestrator
from compiler.fleet.capabilities import capability_classes
from compiler.prove.points import Question, facet_of, question_of
from compiler.request import MODEL_NAME_HEADER, MODELS_PATH, Request, joined

Key = frozenset[object]
"""Of what a station asks: equal for two that ask the same, and within another's where the other asks more."""


@dataclass(frozen=True, slots=True)
class Station:
    stage: Stage
    name: str
    """Of the rule, of the model that is named, or of the orchestrator; of a gateway, for all its requests."""
    conditions: tuple[Condition, ...]
    within: frozenset[str] | None
    """Set: takes only requests that ask for capabilities, and for none but these."""
    effect: Effect
    origin: Position | None
    """The line that decides."""
    bodiless: bool = False
    """Decides by what is left of a request without its body."""

    def takes(self, request: Request) -> bool:
        if self.bodiless:
            request = replace(request, headers={name: joined(request.headers, name) for name in request.headers})
        if self.within is not None and not (request.capabilities and request.capabilities <= self.within):
            return False
        return all(holds(condition, request) for condition in self.conditions)

    @property
    def key(self) -> Key:
        asked: set[object] = {(facet_of(c), question_of(c)) for c in self.conditions}
        return frozenset(asked if self.within is None else asked | {self.within})

    @property
    def asks(self) -> tuple[Question, ...]:
        return tuple(question_of(condition) for condition in self.conditions)


def chooses(gateway: Gateway, name: str | None) -> bool:
    """Whether a request that names `name`, or nothing, leaves the choice to the gateway's orchestrator."""
    return gateway.orchestrator is not None and name in (None, gateway.orchestrator.name)


def stations(fleet: Fleet, gateway: Gateway, name: str | None, look: Look) -> tuple[Station, ...]:
    """For requests that name `name`, or nothing and could; the last takes all that the others leave. `look` tells of
    instances."""
    orchestrator = gateway.orchestrator
    if orchestrator is None or not chooses(gateway, name):
        return (_station(evaluate(fleet, Request(model=name), gateway, carrier=Carrier.ENVOY), look, name or ""),)
    return tuple(_chosen(fleet, gateway, orchestrator, look))


def bodiless_stations(fleet: Fleet, gateway: Gateway, name: str | None) -> tuple[Station, ...]:
    """The same where the Gateway API carries the host, for requests that name `name` outside of their bodies."""
    orchestrator = gateway.orchestrator
    if orchestrator is None or not chooses(gateway, name) or name is None:
        return (_bodiless(fleet, gateway, name),)
    bare = replace(orchestrator, rules=())
    rules = (
        _bodiless(fleet, _with(gateway, replace(bare, rules=(replace(rule, conditions=()),))), name, rule.name, asked)
        for rule in orchestrator.rules
        for asked in _without_body(rule.conditions, name)
    )
    return (*rules, _bodiless(fleet, _with(gateway, bare), name))


def list_station(fleet: Fleet, gateway: Gateway) -> Station:
    """Of requests for the list of models, where it is answered."""
    decision = evaluate(fleet, Request(method="GET", path=MODELS_PATH), gateway, carrier=Carrier.ENVOY)
    return _station(decision, always_ready, "")


def of_host(gateway: Gateway | None) -> Station:
    """Of every request at a host that comes or goes: whatever its gateway decides."""
    name = None if gateway is None else gateway.name
    return Station(Stage.NONE, name or "", (), None, at_gateway(name), None if gateway is None else gateway.origin)


def _chosen(fleet: Fleet, gateway: Gateway, orchestrator: Orchestrator, look: Look) -> Iterator[Station]:
    def alone(only: Orchestrator, request: Request) -> Decision:
        return evaluate(fleet, request, _with(gateway, only), carrier=Carrier.ENVOY)

    for rule in orchestrator.rules:
        only = replace(orchestrator, rules=(replace(rule, conditions=()),))
        yield _station(alone(only, Request()), look, rule.name, rule.conditions)
    bare = replace(orchestrator, rules=())
    for asked, _ in capability_classes(orchestrator.members):
        within = frozenset(asked)
        yield _station(alone(bare, Request(capabilities=within)), look, "+".join(asked), within=within)
    yield _station(alone(bare, Request()), look, orchestrator.name)


def _with(gateway: Gateway, orchestrator: Orchestrator) -> Gateway:
    return replace(gateway, orchestrator=orchestrator)


def _bodiless(
    fleet: Fleet, gateway: Gateway, name: str | None, said: str | None = None, conditions: Iterable[Condition] = ()
) -> Station:
    """What is called `said`, or as the request names it."""
    request = Request(headers={} if name is None else {MODEL_NAME_HEADER: name}, model=name)
    decision = evaluate(fleet, request, gateway, carrier=Carrier.GATEWAY_API)
    return replace(_station(decision, always_ready, name or "" if said is None else said, conditions), bodiless=True)


_IN_HEAD = (Field.HEADER, Field.USER_TIER, Field.METHOD, Field.PATH)


def _without_body(conditions: Iterable[Condition], name: str) -> tuple[tuple[Condition, ...], ...]:
    """What `conditions` ask of a request that names `name`; of several answers each is enough.

    What they ask of a body is settled, as nobody reads it. To a PathPrefix `/v1/` and `/v1` are the same.
    """
    ways: tuple[tuple[Condition, ...], ...] = ((),)
    for condition in conditions:
        if condition.field not in _IN_HEAD:
            if not holds(condition, Request(model=name)):
                return ()
            continue
        either = [condition]
        prefix = str(condition.values[0])
        if condition.field is Field.PATH and condition.operator is Operator.PREFIX and prefix.endswith("/"):
            either.append(replace(condition, operator=Operator.EQ, values=(prefix.removesuffix("/"),)))
        ways = tuple((*way, one) for way in ways for one in either)
    return ways


def _station(
    decision: Decision,
    look: Look,
    name: str,
    conditions: Iterable[Condition] = (),
    within: frozenset[str] | None = None,
) -> Station:
    return Station(decision.stage, name, tuple(conditions), within, effect(decision, look), decision.origin)
