"""Commands about live weights: what is wrong with one, and what becomes of one that is right."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from pydantic_core import PydanticCustomError

from compiler.fleet import Carrier, Fleet, Gateway, Model
from compiler.kinds.measures import duration_text, parse_duration
from compiler.kinds.values import quoted
from compiler.spelling import nearest
from xds.live.state import LiveState, Override, Step, says_the_same, set_weights, take_back

LONGEST = timedelta(hours=24)
"""What is to hold for more than a day belongs in policy, where it is reviewed and every replica has it."""
LONGEST_WHY = 200
"""Characters: a line of the log."""
FIELDS = ("model", "weights", "for", "why")


class Refusal(StrEnum):
    """Of which kind the reasons are."""

    INVALID = "invalid"
    """The command is wrong."""
    NOTHING_THERE = "nothing there"
    """There is no such override."""
    NOT_NOW = "not now"
    """It may be right, and the server cannot carry it out."""


@dataclass(frozen=True, slots=True)
class Problem:
    message: str
    hint: str = ""
    """What to do; empty where the message says it."""

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


@dataclass(frozen=True, slots=True)
class Refused:
    kind: Refusal
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class Accepted:
    """What is to be done, and what whoever asked for it should know."""

    model: str
    override: Override
    step: Step
    warnings: tuple[str, ...] = ()


def setting(asked: object, fleet: Fleet, state: LiveState, now: datetime) -> Accepted | Refused:
    """`asked` is `{"model", "weights": {version: percent}, "for": "15m", "why"}` as it came, whatever it is."""
    if not isinstance(asked, Mapping):
        return Refused(Refusal.INVALID, (Problem("a command is a JSON object", f"with {', '.join(FIELDS)}"),))
    lasting = _lasting(asked.get("for"))
    why = asked.get("why")
    model, in_model = _model(asked, fleet)
    problems = (
        *_unknown_fields(asked),
        *in_model,
        *([lasting] if isinstance(lasting, Problem) else []),
        *_why_problems(why),
        *([] if in_model or model is None else _already(model, asked["weights"], state)),
    )
    if problems or model is None or isinstance(lasting, Problem):
        return Refused(Refusal.INVALID, problems)
    weights = {version.name: asked["weights"].get(version.name, 0) for version in model.versions}
    since = now.replace(microsecond=now.microsecond // 1000 * 1000)  # as it is written down
    override = Override(weights, since, since + lasting, str(why))
    warnings = tuple(_warnings(fleet, model, weights))
    return Accepted(model.name, override, set_weights(state, model.name, override), warnings)


def taking_back(name: str, state: LiveState) -> Accepted | Refused:
    override = state.in_force.get(name)
    if override is None:
        hint = nearest(name, state.in_force) or _listed("live: ", state.in_force)
        return Refused(Refusal.NOTHING_THERE, (Problem(f"no live weights for {_quoted(name)}", hint),))
    return Accepted(name, override, take_back(state, name))


def _unknown_fields(asked: Mapping[Any, Any]) -> Iterator[Problem]:
    for field in asked:
        if field not in FIELDS:
            yield Problem(f"unknown field {_quoted(field)}", nearest(field, FIELDS) or f"one of {', '.join(FIELDS)}")


def _model(asked: Mapping[Any, Any], fleet: Fleet) -> tuple[Model | None, list[Problem]]:
    """The model that is asked for, and what is wrong with its name and its weights."""
    models = fleet.by_name
    name = asked.get("model")
    model = models.get(name) if isinstance(name, str) else None
    weights = asked.get("weights")
    problems: list[Problem] = []
    if model is None:
        hint = nearest(name, models) or _listed("models: ", models)
        problems.append(Problem(f"no model {_quoted(name)}" if name is not None else "'model' is missing", hint))
    if not isinstance(weights, Mapping) or not weights:
        problems.append(Problem("'weights' is missing", "version=percent for each that is to get requests"))
    else:
        problems += _weight_problems(str(name), weights, model)
    return model, problems


def _weight_problems(name: str, weights: Mapping[Any, Any], model: Model | None) -> Iterator[Problem]:
    known = [version.name for version in model.versions] if model is not None else list(weights)
    for version in weights:
        if version not in known:
            hint = nearest(version, known) or _listed("versions: ", known)
            yield Problem(f"model {_quoted(name)} has no version {_quoted(version)}", hint)
    wrong = {v: w for v, w in weights.items() if isinstance(w, bool) or not isinstance(w, int) or not 0 <= w <= 100}
    for version, weight in wrong.items():
        yield Problem(f"weight of version {_quoted(version)} is {_quoted(weight)}", "a whole number of percent, 0-100")
    if not wrong and sum(weights.values()) != 100:
        yield _sum_problem(name, weights)


def _sum_problem(name: str, weights: Mapping[str, int]) -> Problem:
    """Worded as P202, which says it of policy."""
    total, (last, weight) = sum(weights.values()), list(weights.items())[-1]
    rest = 100 - (total - weight)
    added = " + ".join(map(str, weights.values()))
    shown = f"{added} = {total}" if len(weights) > 1 else str(total)
    hint = f"set version {_quoted(last)} to {rest}" if 0 <= rest <= 100 else "weights are percent of 100"
    return Problem(f"weights of model {_quoted(name)} add up to {shown}, not 100", hint)


def _lasting(text: object) -> timedelta | Problem:
    if text is None:
        return Problem("'for' is missing", "how long it is to hold, as 15m")
    try:
        lasting = parse_duration(text)
    except PydanticCustomError as problem:
        return Problem(f"'for': {problem.message()}", "15m, 1h")
    if not isinstance(lasting, timedelta):
        return Problem(f"'for': {_quoted(text)} is no duration", "15m, 1h")
    if not timedelta(0) < lasting <= LONGEST:
        return Problem(f"'for': {text} is out of range", f"more than 0s, at most {duration_text(LONGEST)}; then policy")
    return lasting


def _why_problems(why: object) -> Iterator[Problem]:
    if why is None or (isinstance(why, str) and not why.strip()):
        yield Problem("'why' is missing", "what whoever finds this needs to know")
    elif not isinstance(why, str):
        yield Problem(f"'why': {_quoted(why)} is no text")
    elif len(why) > LONGEST_WHY:
        yield Problem(f"'why' has {len(why):,} characters, {LONGEST_WHY} are the limit")
    elif not why.isprintable():
        yield Problem("'why' holds signs that do not print", "one line of text")


def _already(model: Model, weights: Mapping[str, int], state: LiveState) -> Iterator[Problem]:
    if says_the_same(model, weights):
        back = f"turnout weights {model.name} --clear" if model.name in state.in_force else ""
        yield Problem(f"policy gives model {model.name!r} these weights", back)


def _warnings(fleet: Fleet, model: Model, weights: Mapping[str, int]) -> Iterator[str]:
    for version in model.versions:
        if weights[version.name] and not version.endpoints:
            yield f"version {version.name!r} has no endpoints: its requests are answered 503 or by a fallback"
    if not any(version.endpoints for version in model.versions if version.weight):
        yield (
            "policy gives weight to versions without endpoints only: routes on which nothing else is listed answer 503 "
            "by themselves, whatever is live"
        )
    for gateway in fleet.gateways:
        if _reaches(gateway, model.name):
            for host in gateway.hosts:
                if host.carrier is not Carrier.ENVOY:
                    istio = host.carrier is Carrier.ISTIO
                    who = f"P306 Istio host {host.name}" if istio else f"P301 Gateway API host {host.name}"
                    yield f"{who}: no live weights; its requests keep to policy"


def _reaches(gateway: Gateway, model: str) -> bool:
    chooser = gateway.orchestrator
    if chooser is None:
        return model in gateway.models
    targets = (target.model for stage in (chooser.default, *(r.targets for r in chooser.rules)) for target in stage)
    others = (*(member.model for member in chooser.members), *(hop.model for hop in chooser.fallback.hops))
    return model in {*gateway.models, *targets, *others}


def _quoted(value: object) -> str:
    return quoted(value) if isinstance(value, str) else repr(value)[:60]


def _listed(what: str, names: Iterable[str], most: int = 10) -> str:
    found = list(names)
    return what + (", ".join(found[:most]) + (", …" if len(found) > most else "") or "none")
