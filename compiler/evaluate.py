"""The meaning of a fleet: where one request goes, and why. Envoy's and Istio's configuration must agree with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from compiler import regex
from compiler.diagnostics import Position
from compiler.fleet import (
    Backend,
    Carrier,
    Condition,
    ConnectionPool,
    Fault,
    Field,
    Fleet,
    Gateway,
    Member,
    Mirror,
    MirrorShare,
    Model,
    Operator,
    Orchestrator,
    Retries,
    Rule,
    Target,
    Timeouts,
    Version,
)
from compiler.fleet.routes import hop_backends, mirror_shares
from compiler.fleet.rules import Value
from compiler.request import MODEL_NAME_HEADER, MODELS_PATH, OPENAI_PATHS, TIER_HEADER, Request, without_body

_UNNAMED = f"the Gateway API reads no body: a model is named in the header {MODEL_NAME_HEADER}, or in the path"


class Stage(StrEnum):
    """What decided, in the order in which it is asked."""

    EXPLICIT = "explicit"
    RULE = "rule"
    CAPABILITY = "capability"
    DEFAULT = "default"
    FALLBACK = "fallback"
    MODELS = "models"
    """The gateway answers by itself: the list of models."""
    NONE = "none"


class Readiness(StrEnum):
    """Of one version's instances."""

    READY = "ready"
    """One at least is well."""
    UNHEALTHY = "unhealthy"
    """There are some, and none is well."""
    UNLISTED = "unlisted"
    """There are none: they have not been started, or are loading."""


class Refusal(StrEnum):
    """Why a request is answered with an error: the code in its body."""

    HOST_NOT_FOUND = "host_not_found"
    """404."""
    MODEL_NOT_FOUND = "model_not_found"
    """404."""
    MODEL_NOT_READY = "model_not_ready"
    """503, with the load time as Retry-After."""
    NO_HEALTHY_INSTANCE = "no_healthy_instance"
    """503, with Retry-After: 1."""


Look = Callable[[Model, Version], Readiness]
"""What is known of a version's instances."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """One version that answers, with its share."""

    model: Model
    version: Version
    share: int
    """Of 10,000 requests like this one."""
    hops: tuple[Backend, ...]
    """Who answers when it has nothing healthy, in the order in which they are tried."""
    instead_of: tuple[Backend, ...] = ()
    """Those that were to answer before it and have nothing healthy."""

    @property
    def backend(self) -> Backend:
        return Backend(self.model, self.version)

    @property
    def limits(self) -> ConnectionPool:
        return self.version.connection_pool


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
    steps: tuple[Step, ...]
    rule: str = ""
    """Name of the rule that decided; empty when none did."""
    targets: tuple[Chosen, ...] = ()
    """Empty when no model serves the request."""
    mirrors: tuple[MirrorShare, ...] = ()
    fault: Fault | None = None
    retries: Retries | None = None
    timeouts: Timeouts | None = None
    origin: Position | None = None
    """The line that decided."""
    refusal: Refusal | None = None
    """Set when nobody answers."""
    carrier: Carrier = Carrier.ENVOY
    """Of the host that was asked."""


@dataclass(frozen=True, slots=True)
class _Choice:
    """What a stage decides, before anybody has looked at instances."""

    stage: Stage
    name: str
    why: str
    members: tuple[tuple[Model, int, tuple[str, ...]], ...]
    """A model, its share in percent points, and the models that answer in its place."""
    settings: Model | Rule
    """Whose route fields the requests take."""
    origin: Position


@dataclass(slots=True)
class _Asking:
    """One request on its way through the stages."""

    request: Request
    gateway: Gateway
    models: Mapping[str, Model]
    committed: Mapping[str, Model]
    """As the route tables have them."""
    carrier: Carrier
    steps: list[Step] = field(default_factory=list)


def always_ready(_model: Model, _version: Version) -> Readiness:
    """What policy alone says of instances: nothing against them."""
    return Readiness.READY


def evaluate(
    fleet: Fleet,
    request: Request,
    gateway: Gateway | None = None,
    look: Look = always_ready,
    committed: Fleet | None = None,
    carrier: Carrier | None = None,
) -> Decision:
    """Where `request` goes at `gateway`; at the one that serves its host when none is given.

    The order: the model that the request names; the rules, by priority; the smallest model that can do what the request
    asks for; the default; the fallback chain. Only a request that names no model, or names the orchestrator, comes past
    the first. Who was chosen and has nothing healthy, as `look` tells, is stood in for by the hops that it has.

    `committed` is the fleet that route tables are made from, where live weights make `fleet` another one: they move
    shares, but who stands in, in which order, and to whom is mirrored, is what the tables say.

    `carrier` is that of the request's host unless given. Only the Gateway API changes the answer: it reads no body.
    """
    at = gateway if gateway is not None else gateway_of(fleet, request.host)
    if at is None:
        return Decision(Stage.NONE, "", (), refusal=Refusal.HOST_NOT_FOUND)
    carried = carrier if carrier is not None else carrier_of(at, request.host)
    bodiless = carried is Carrier.GATEWAY_API
    if request.path == MODELS_PATH and request.method == "GET" and not bodiless:
        step = Step(Stage.MODELS, at.name, True, "the gateway lists its models", at.origin)
        return Decision(Stage.MODELS, at.name, (step,), origin=at.origin, carrier=carried)
    models = fleet.by_name
    in_tables = models if committed is None else committed.by_name
    asking = _Asking(request, at, models, in_tables, carried)
    for asking.request in without_body(request) if bodiless else (request,):
        for attempt in (_explicit, _rules, _capability, _default, _fallback):
            choice = attempt(asking)
            if choice is not None:
                return _decision(asking, choice, look)
    if bodiless and asking.request.model is None:
        asking.steps.append(Step(Stage.EXPLICIT, request.model or at.name, False, _UNNAMED, at.origin))
    origin = at.origin if request.model is not None else None
    refusal = Refusal.MODEL_NOT_FOUND
    return Decision(Stage.NONE, at.name, tuple(asking.steps), origin=origin, refusal=refusal, carrier=carried)


def gateway_asked(fleet: Fleet, host: str, name: str | None) -> Gateway | None:
    """The gateway called `name`; without a name the one that serves `host`; without either, one where something can be
    chosen. Raises ValueError for a name that no gateway has."""
    gateways = {gateway.name: gateway for gateway in fleet.gateways}
    if name is not None:
        if name not in gateways:
            raise ValueError(f"no gateway '{name}'; there is {', '.join(gateways)}")
        return gateways[name]
    if host:
        return gateway_of(fleet, host)
    return next((gateway for gateway in fleet.gateways if gateway.orchestrator), fleet.gateways[0])


def gateway_of(fleet: Fleet, host: str) -> Gateway | None:
    """As Envoy and Istio match hosts: the exact name first, then the longest `*.` domain, then `*`."""
    found = [(closeness(name.name, host), gateway) for gateway in fleet.gateways for name in gateway.hosts]
    best = max((near for near, _ in found), default=-1)
    return next((gateway for near, gateway in found if near == best and best >= 0), None)


def carrier_of(gateway: Gateway, host: str) -> Carrier:
    """Who carries `host`; for none that the gateway serves, who carries its first."""
    return max(gateway.hosts, key=lambda known: closeness(known.name, host)).carrier


def reads_bodies(gateway: Gateway | None, host: str) -> bool:
    """Whether what a body says has a say in where it goes."""
    return gateway is None or carrier_of(gateway, host) is not Carrier.GATEWAY_API


def closeness(pattern: str, host: str) -> int:
    """How closely `pattern` fits `host`; -1 when it does not."""
    if pattern == host:
        return 1_000
    if pattern == "*":
        return 0
    return len(pattern) if pattern.startswith("*.") and host.endswith(pattern[1:]) else -1


def holds(condition: Condition, request: Request) -> bool:
    """A field that the request does not have makes any condition false, `ne` too.

    Of a header that is given more than once, one value is enough; `ne` must hold for each.
    """
    actual = _actual(condition, request)
    if actual is None:
        return False
    met = (_OPERATORS[condition.operator](value, condition.values) for value in _each(actual))
    return all(met) if condition.operator is Operator.NE else any(met)


def _explicit(asking: _Asking) -> _Choice | None:
    asked, gateway = asking.request.model, asking.gateway
    if asked is None or _chooses(gateway.orchestrator, asked):
        return None
    for name in gateway.models:
        model = asking.models[name]
        if asked in (model.name, *model.aliases):
            hops = gateway.orchestrator.fallback.after_naming(name) if gateway.orchestrator else ()
            why = f"the request names {asked}"
            return _Choice(Stage.EXPLICIT, name, why, ((model, 100, hops),), model, model.origin)
    asking.steps.append(Step(Stage.EXPLICIT, asked, False, f"{gateway.name} serves no model {asked}", gateway.origin))
    return None


def _rules(asking: _Asking) -> _Choice | None:
    orchestrator = _chooser(asking)
    for rule in orchestrator.rules if orchestrator else ():
        failed = next((c for c in rule.conditions if not _met(c, asking)), None)
        if failed is not None:
            asking.steps.append(Step(Stage.RULE, rule.name, False, _why_not(failed, asking.request), failed.origin))
            continue
        why = " and ".join(map(str, rule.conditions)) or "it takes every request"
        return _Choice(Stage.RULE, rule.name, why, _members(rule.targets, asking), rule, rule.origin)
    return None


def _met(condition: Condition, asking: _Asking) -> bool:
    by_segments = condition.field is Field.PATH and condition.operator is Operator.PREFIX
    if by_segments and asking.carrier is Carrier.GATEWAY_API:
        # To a PathPrefix of the Gateway API /v1/ and /v1 are the same.
        return f"{asking.request.path}/".startswith(str(condition.values[0]))
    return holds(condition, asking.request)


def _capability(asking: _Asking) -> _Choice | None:
    """The smallest model that has all that is asked for; the larger ones that have stand in for it, then the chain."""
    orchestrator, asked = _chooser(asking), asking.request.capabilities
    if orchestrator is None or not asked or not orchestrator.members:
        return None
    able: list[Member] = []
    for member in orchestrator.members:
        lacks = sorted(asked - set(member.capabilities))
        if lacks:
            why = f"it lacks {', '.join(lacks)}"
            asking.steps.append(Step(Stage.CAPABILITY, member.model, False, why, member.origin))
        else:
            able.append(member)
    if not able:
        return None
    first, *others = able
    hops = (*(member.model for member in others), *orchestrator.fallback.after_choice(first.model))
    model = asking.models[first.model]
    why = f"the smallest that has {', '.join(sorted(asked))}"
    members = ((model, 100, tuple(dict.fromkeys(hops))),)
    return _Choice(Stage.CAPABILITY, model.name, why, members, model, first.origin)


def _default(asking: _Asking) -> _Choice | None:
    orchestrator = _chooser(asking)
    if orchestrator is None or not orchestrator.default:
        return None
    members = _members(orchestrator.default, asking)
    why = "nothing before it has decided"
    return _Choice(Stage.DEFAULT, orchestrator.name, why, members, members[0][0], orchestrator.origin)


def _fallback(asking: _Asking) -> _Choice | None:
    """Also for a name that nobody has, where policy says so."""
    orchestrator, asked = asking.gateway.orchestrator, asking.request.model
    if orchestrator is None or not orchestrator.fallback.hops:
        return None
    unknown = asked is not None and not _chooses(orchestrator, asked)
    if not (orchestrator.fallback.takes_unknown_names if unknown else _chooser(asking)):
        return None
    first, *others = orchestrator.fallback.hops
    model = asking.models[first.model]
    members = ((model, 100, tuple(hop.model for hop in others)),)
    why = f"{asked} is nobody's name, and onExplicitModel is always" if unknown else "nothing before it has decided"
    return _Choice(Stage.FALLBACK, orchestrator.name, why, members, model, first.origin)


def _decision(asking: _Asking, choice: _Choice, look: Look) -> Decision:
    targets, refusal = _answering(choice, asking.committed, look)
    asking.steps.append(Step(choice.stage, choice.name, True, choice.why, choice.origin))
    asking.steps.extend(_failed_over(targets, look))
    stands_in = bool(targets) and all(target.instead_of for target in targets)
    return Decision(
        stage=Stage.FALLBACK if stands_in else choice.stage,
        gateway=asking.gateway.name,
        steps=tuple(asking.steps),
        rule=choice.name if choice.stage is Stage.RULE else "",
        targets=targets,
        mirrors=_mirrors(choice.settings.mirror, asking),
        fault=choice.settings.fault,
        retries=choice.settings.retries,
        timeouts=choice.settings.timeouts,
        origin=choice.origin,
        refusal=refusal,
        carrier=asking.carrier,
    )


def _mirrors(mirror: Mirror | None, asking: _Asking) -> tuple[MirrorShare, ...]:
    """A version that has no mirror in the tables has none by a live weight."""
    there = {(share.model.name, share.version.name) for share in mirror_shares(mirror, asking.committed)}
    return tuple(s for s in mirror_shares(mirror, asking.models) if (s.model.name, s.version.name) in there)


def _answering(choice: _Choice, hops: Mapping[str, Model], look: Look) -> tuple[tuple[Chosen, ...], Refusal | None]:
    """The versions that get something, each stood in for by `hops` where it has nothing healthy; percent of percent."""
    targets: list[Chosen] = []
    listed = False
    for model, percent, names in choice.members:
        for version in model.versions:
            share = percent * version.weight
            if not share:
                continue
            line = (Backend(model, version), *hop_backends(names, hops))
            states = [look(*backend) for backend in line]
            listed = listed or any(state is not Readiness.UNLISTED for state in states)
            ready = next((i for i, state in enumerate(states) if state is Readiness.READY), None)
            if ready is not None:
                targets.append(Chosen(*line[ready], share, line[ready + 1 :], line[:ready]))
    if targets:
        return tuple(targets), None
    return (), Refusal.NO_HEALTHY_INSTANCE if listed else Refusal.MODEL_NOT_READY


def _failed_over(targets: Iterable[Chosen], look: Look) -> list[Step]:
    """What `look` has said against those that were to answer."""
    missing = dict.fromkeys(backend for target in targets for backend in target.instead_of)
    said = {Readiness.UNLISTED: "it has no instance", Readiness.UNHEALTHY: "none of its instances is healthy"}
    return [
        Step(Stage.FALLBACK, f"{model.name} {version.name}", False, said[look(model, version)], version.origin)
        for model, version in missing
    ]


def _chooses(orchestrator: Orchestrator | None, name: str) -> bool:
    return orchestrator is not None and name == orchestrator.name


def _chooser(asking: _Asking) -> Orchestrator | None:
    """The orchestrator, where the request leaves the choice to it.

    A request that names nothing is somebody's to choose for only where it could have named a model.
    """
    request, orchestrator = asking.request, asking.gateway.orchestrator
    if request.model is not None:
        return orchestrator if _chooses(orchestrator, request.model) else None
    if asking.carrier is Carrier.GATEWAY_API:
        return None  # the body may name a model
    return orchestrator if request.method == "POST" and request.path in OPENAI_PATHS else None


def _members(targets: tuple[Target, ...], asking: _Asking) -> tuple[tuple[Model, int, tuple[str, ...]], ...]:
    orchestrator = asking.gateway.orchestrator
    assert orchestrator is not None  # it is who has these targets
    return tuple((asking.models[t.model], t.weight, orchestrator.fallback.after_choice(t.model)) for t in targets)


def _each(actual: Value | frozenset[str] | tuple[str, ...]) -> tuple[Value | frozenset[str], ...]:
    return actual if isinstance(actual, tuple) else (actual,)


def _actual(condition: Condition, request: Request) -> Value | frozenset[str] | tuple[str, ...] | None:
    match condition.field:
        case Field.MODEL:
            return request.model
        case Field.USER_TIER:
            return request.headers.get(TIER_HEADER)
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
    Operator.REGEX: lambda actual, values: regex.matches(str(values[0]), str(actual)),
}


def _number(value: Actual) -> int:
    assert isinstance(value, int)  # linking has refused comparisons of anything else
    return value


def _why_not(condition: Condition, request: Request) -> str:
    actual = _actual(condition, request)
    if actual is None:
        return f"{condition}: the request has no {condition.asked}"
    several = sorted(actual) if isinstance(actual, frozenset) else _each(actual)
    shown = ", ".join(map(str, several))
    return f"{condition}: it is {shown}"
