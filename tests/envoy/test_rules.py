"""A real Envoy does with a request what `evaluate` says is done with it."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import xds.translate
from compiler.evaluate import Decision, Readiness, Refusal, Stage, evaluate
from compiler.fleet import (
    Condition,
    Endpoint,
    Fallback,
    Field,
    Fleet,
    LengthUnit,
    Model,
    Operator,
    Orchestrator,
    Route,
    Rule,
    Target,
    Tier,
    Version,
)
from compiler.fleet.routes import WHOLE
from compiler.fleet.rules import OPERATORS, TYPES, FieldType, Value
from compiler.request import Request, Sent, read_request
from tests.chance import CHAT, Chance
from tests.envoy.served import Served, served
from tests.envoy.upstream import Upstream, upstreams
from tests.xds.translate.fleets import ORIGIN, fleet, model, version

FLEETS, REQUESTS = 50, 200
IMPROBABLE = 1e-9
"""What a share may come to by chance, in some thousand looks at one."""


class Answered(NamedTuple):
    status: int
    code: str
    retry_after: str
    model: str
    version: str
    route: str


"""What became of a request; `route` is the name of the one taken, the rest empty where it does not apply."""


def seen(running: Served, sent: Sent) -> Answered:
    answer = running.request(sent.method, sent.path, sent.body, dict(sent.headers))
    return Answered(
        status=answer.status,
        code="" if answer.status == 200 else str(answer.error["code"]),
        retry_after=answer.headers.get("retry-after", ""),
        model=answer.headers.get("x-turnout-model", ""),
        version=answer.headers.get("x-turnout-version", ""),
        route=answer.headers.get("x-test-route", ""),
    )


def expected(of: Fleet, sent: Sent, sick: int) -> dict[Answered, int]:
    """What `evaluate` allows to become of a request, each with its share of 10,000."""
    gateway = of.gateways[0]
    request = read_request(sent, gateway.length_unit)

    def look(_: Model, version: Version) -> Readiness:
        if not version.endpoints:
            return Readiness.UNLISTED
        return Readiness.UNHEALTHY if all(e.port == sick for e in version.endpoints) else Readiness.READY

    decision = evaluate(of, request, gateway, look)
    route = route_name(decision, request)
    allowed = {
        Answered(200, "", "", model.name, version.name, route): share
        for (model, version), share in by_backend(decision).items()
    }
    match decision.refusal:
        case Refusal.MODEL_NOT_FOUND:
            return {Answered(404, "model_not_found", "", "", "", route): WHOLE}
        case Refusal.MODEL_NOT_READY:
            return {Answered(503, "model_not_ready", "300", "", "", route.removesuffix("/stream")): WHOLE}
    nobody = WHOLE - sum(allowed.values())
    return {**allowed, Answered(503, "no_healthy_instance", "1", "", "", route): nobody} if nobody else allowed


def by_backend(decision: Decision) -> Counter[tuple[Model, Version]]:
    shares: Counter[tuple[Model, Version]] = Counter()
    for target in decision.targets:
        shares[target.backend] += target.share
    return shares


def route_name(decision: Decision, request: Request) -> str:
    """Of the route that Envoy must take for the step that decided."""
    if decision.refusal is Refusal.MODEL_NOT_FOUND:
        return "unknown-model" if request.model not in (None, "auto") else "no-model"
    decided = next(step for step in decision.steps if step.matched)
    stream = "/stream" if request.stream else ""
    match decided.stage:
        case Stage.EXPLICIT:
            return f"model/{decided.name}{stream}"
        case Stage.RULE:
            return f"orchestrator/auto/rule/{decision.rule}{stream}"
        case Stage.CAPABILITY:
            return f"orchestrator/auto/capability{stream}"
        case Stage.DEFAULT:
            return f"orchestrator/auto{stream}"
    return f"orchestrator/auto/fallback{stream}"


def told(answer: Answered) -> Answered:
    """Which of several routes for capabilities was taken is the translator's own affair."""
    head, sets, tail = answer.route.partition("/capability/")
    stream = "/stream" if tail.endswith("/stream") else ""
    return answer._replace(route=f"{head}/capability{stream}") if sets else answer


def disagreements(
    of: Fleet, requests: Iterable[Sent], folder: Path, sick: int = 0, translated: Fleet | None = None
) -> list[str]:
    """Between Envoy, configured for `translated`, and what `evaluate` says of the fleet `of`."""
    sent = list(requests)
    with served(translated or of, folder, tell_route=True) as running, ThreadPoolExecutor(4) as pool:
        answers = [told(answer) for answer in pool.map(lambda one: seen(running, one), sent)]
    allowed = [expected(of, one, sick) for one in sent]
    wrong = [
        f"{one}\nenvoy    {answer}\nevaluate {list(may)}"
        for one, answer, may in zip(sent, answers, allowed, strict=True)
        if answer not in may
    ]
    return wrong or uneven(answers, allowed)


def uneven(answers: Iterable[Answered], allowed: Iterable[Mapping[Answered, int]]) -> list[str]:
    """Shares that are not those of policy, by more than chance explains."""
    groups: dict[tuple[tuple[Answered, int], ...], list[Answered]] = {}
    for answer, may in zip(answers, allowed, strict=True):
        groups.setdefault(tuple(may.items()), []).append(answer)
    found = []
    for may, members in groups.items():
        for outcome, share in may:
            count = members.count(outcome)
            if chance_of(count, len(members), share / WHOLE) < IMPROBABLE:
                found.append(f"{count} of {len(members)} were {outcome}, and {share / WHOLE:.0%} is its share")
    return found


def chance_of(count: int, total: int, share: float) -> float:
    """How probable it is to be as far from `share` on this side, or farther; the binomial distribution, exactly."""
    at_least = sum(math.comb(total, k) * share**k * (1 - share) ** (total - k) for k in range(count, total + 1))
    at_most = sum(math.comb(total, k) * share**k * (1 - share) ** (total - k) for k in range(count + 1))
    return min(at_least, at_most)


@pytest.fixture(scope="module")
def instances() -> Iterator[tuple[Upstream, Upstream]]:
    """One that is well and one that is not."""
    with upstreams("well", "sick") as servers:
        servers["sick"].health = 503
        yield servers["well"], servers["sick"]


@pytest.mark.parametrize("seed", range(FLEETS))
def test_a_real_envoy_chooses_what_evaluate_allows(
    seed: int, instances: tuple[Upstream, Upstream], tmp_path: Path
) -> None:
    well, sick = instances
    chance = Chance(seed)
    of = chance.fleet(well.port, sick.port)
    found = disagreements(of, [chance.request() for _ in range(REQUESTS)], tmp_path, sick.port)
    assert not found, f"{len(found)} of {REQUESTS}\n{of.gateways[0].orchestrator}\n" + "\n".join(found[:3])


def test_the_generated_requests_come_to_every_stage_and_every_error() -> None:
    stages: Counter[Stage | Refusal] = Counter()
    for seed in range(FLEETS):
        chance = Chance(seed)
        of = chance.fleet(1, 2)
        for sent in (chance.request() for _ in range(REQUESTS)):
            for answer in expected(of, sent, sick=2):
                stages.update([Refusal(answer.code)] if answer.code else [])
            stages[evaluate(of, read_request(sent), of.gateways[0]).stage] += 1
    assert set(stages) == {*Stage, *Refusal} - {Stage.MODELS, Refusal.HOST_NOT_FOUND}
    assert min(stages.values()) >= 50, stages


def rules_changed(change: Callable[[tuple[Rule, ...]], tuple[Rule, ...]]) -> Callable[[Fleet], Fleet]:
    return orchestrator_changed(lambda chooser: replace(chooser, rules=change(chooser.rules)))


def orchestrator_changed(change: Callable[[Orchestrator], Orchestrator]) -> Callable[[Fleet], Fleet]:
    def changed(of: Fleet) -> Fleet:
        (gateway,) = of.gateways
        assert gateway.orchestrator is not None
        return replace(of, gateways=(replace(gateway, orchestrator=change(gateway.orchestrator)),))

    return changed


def conditions_changed(change: Callable[[Condition], Condition]) -> Callable[[Fleet], Fleet]:
    return rules_changed(
        lambda rules: tuple(replace(r, conditions=tuple(change(c) for c in r.conditions)) for r in rules)
    )


def swapped(first: Operator, second: Operator) -> Callable[[Fleet], Fleet]:
    other = {first: second, second: first}
    return conditions_changed(lambda c: replace(c, operator=other.get(c.operator, c.operator)))


def models_changed(change: Callable[[Model], Model]) -> Callable[[Fleet], Fleet]:
    return lambda of: replace(of, models=tuple(map(change, of.models)))


def weights_reversed(of: Model) -> Model:
    weights = reversed([version.weight for version in of.versions])
    return replace(of, versions=tuple(replace(v, weight=w) for v, w in zip(of.versions, weights, strict=True)))


OTHER_UNIT = {LengthUnit.BYTES: LengthUnit.CHARACTERS, LengthUnit.CHARACTERS: LengthUnit.BYTES}

MUTATIONS: Mapping[str, Callable[[Fleet], Fleet]] = {
    "operators eq and ne swapped": swapped(Operator.EQ, Operator.NE),
    "operators gt and ge swapped": swapped(Operator.GT, Operator.GE),
    "operators lt and le swapped": swapped(Operator.LT, Operator.LE),
    "operators contains and prefix swapped": swapped(Operator.CONTAINS, Operator.PREFIX),
    "in takes its first value only": conditions_changed(
        lambda c: replace(c, values=c.values[:1]) if c.operator is Operator.IN else c
    ),
    "priority reversed": rules_changed(lambda rules: rules[::-1]),
    "first rule dropped": rules_changed(lambda rules: rules[1:]),
    "last rule dropped": rules_changed(lambda rules: rules[:-1]),
    "last condition of each rule dropped": rules_changed(
        lambda rules: tuple(replace(rule, conditions=rule.conditions[:-1]) for rule in rules)
    ),
    "prompt length in the other unit": orchestrator_changed(
        lambda o: replace(o, prompt_length_unit=OTHER_UNIT[o.prompt_length_unit])
    ),
    "default dropped": orchestrator_changed(lambda o: replace(o, default=())),
    "capability stage dropped": orchestrator_changed(lambda o: replace(o, members=())),
    "largest capable model first": orchestrator_changed(lambda o: replace(o, members=o.members[::-1])),
    "fallback dropped": orchestrator_changed(lambda o: replace(o, fallback=Fallback())),
    "fallback chain reversed": orchestrator_changed(
        lambda o: replace(o, fallback=replace(o.fallback, hops=o.fallback.hops[::-1]))
    ),
    "equivalence ignored": orchestrator_changed(
        lambda o: replace(
            o,
            fallback=replace(o.fallback, hops=tuple(replace(hop, equivalent_to=()) for hop in o.fallback.hops)),
        )
    ),
    "aliases dropped": models_changed(lambda m: replace(m, aliases=())),
    "weights of versions reversed": models_changed(weights_reversed),
}
"""What a translator may do wrong: each changes the fleet that is translated, and not the one that is evaluated."""


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_translator_that_does_this_is_caught(
    mutation: str, instances: tuple[Upstream, Upstream], tmp_path: Path
) -> None:
    well, sick = instances
    for seed in range(FLEETS):
        chance = Chance(seed)
        of = chance.fleet(well.port, sick.port)
        mutant = MUTATIONS[mutation](of)
        if mutant == of:
            continue
        folder = tmp_path / str(seed)
        folder.mkdir()
        if disagreements(of, [chance.request() for _ in range(REQUESTS)], folder, sick.port, translated=mutant):
            return
    pytest.fail("not in all the fleets")


def reversed_routes(of: Fleet, gateway: Any, kept: Any) -> tuple[Route, ...]:
    return ROUTES(of, gateway, kept)[::-1]


ROUTES = xds.translate.fleet_routes


def test_a_translator_that_takes_routes_in_another_order_is_caught(
    instances: tuple[Upstream, Upstream], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    well, sick = instances
    monkeypatch.setattr(xds.translate, "fleet_routes", reversed_routes)
    chance = Chance(0)
    of = chance.fleet(well.port, sick.port)
    assert disagreements(of, [chance.request() for _ in range(REQUESTS)], tmp_path, sick.port)


BODIES: tuple[dict[str, Any], ...] = (
    {},
    {"model": "auto"},
    {"prompt": "12345", "max_tokens": 4},
    {"prompt": "123456", "max_tokens": 5},
    {"prompt": "1234567", "max_tokens": 6, "stream": True},
    {"messages": [{"content": [{"type": "text", "text": "日本"}, {"type": "text", "text": "\U0001f44d 5"}]}]},
    {"prompt": "\u00e9" * 6, "capabilities": ["chat", "code"], "metadata": {"team": "chat"}},
    {"capabilities": ["chat-code"], "metadata": {"team": "chat-code"}},
)
SAMPLES: dict[FieldType, tuple[Value, ...]] = {
    FieldType.TEXT: ("chat", "chat-code"),
    FieldType.INTEGER: (5, 6, 4),
    FieldType.SET: ("chat", "vision"),
    FieldType.BOOLEAN: (True,),
}
TEXT_SAMPLES: dict[Field, tuple[str, ...]] = {
    Field.PATH: (CHAT, "/v1/completions"),
    Field.METHOD: ("POST", "GET"),
    Field.MODEL: ("auto", "other"),
}


def cells() -> Iterator[Condition]:
    """Every operator of every field, with values at, under and over what the requests have."""
    for asked in Field:
        key = {Field.HEADER: "x-team", Field.METADATA: "team"}.get(asked, "")
        samples = TEXT_SAMPLES.get(asked, SAMPLES[TYPES[asked]])
        for operator in OPERATORS[TYPES[asked]]:
            chosen = [samples] if operator is Operator.IN else [(sample,) for sample in samples]
            for values in (*chosen, (False,)) if TYPES[asked] is FieldType.BOOLEAN else chosen:
                yield Condition(asked, key, operator, values, ORIGIN)


@pytest.mark.parametrize("unit", list(LengthUnit))
def test_every_operator_of_every_field_means_the_same_to_envoy(unit: LengthUnit, tmp_path: Path) -> None:
    with upstreams("all") as servers:
        of, requests = fleet_of_cells(unit, servers["all"].port)
        found = disagreements(of, requests, tmp_path)
        hits = sum(next(iter(expected(of, request, 0))).model == "hit" for request in requests)
    assert not found, f"{len(found)} of {len(requests)}\n" + "\n".join(found[:3])
    assert hits > len(list(cells())), "cells that match nothing show nothing"


def fleet_of_cells(unit: LengthUnit, port: int) -> tuple[Fleet, list[Sent]]:
    """One rule a cell, told apart by a header; what it does not match goes to the default. And requests to each."""
    base = model("base")
    endpoints = (Endpoint("127.0.0.1", port, "", Tier.ACTIVE, 1),)
    hit, miss = (model(name, (version("1", endpoints=endpoints),)) for name in ("hit", "miss"))
    rules = tuple(
        Rule(
            name=f"cell-{number}",
            priority=-number,
            conditions=(Condition(Field.HEADER, "x-cell", Operator.EQ, (str(number),), ORIGIN), cell),
            targets=(Target("hit", 100),),
            retries=base.retries,
            timeouts=base.timeouts,
            origin=ORIGIN,
        )
        for number, cell in enumerate(cells())
    )
    of = fleet(hit, miss, orchestrator=Orchestrator("auto", rules, unit, (Target("miss", 100),), ORIGIN))
    requests = [
        Sent("POST", path, (("x-cell", str(number)), *headers, ("content-type", "application/json")), body)
        for number in range(len(rules))
        for path, headers, body in shapes()
    ]
    return of, requests


def shapes() -> Iterator[tuple[str, tuple[tuple[str, str], ...], bytes]]:
    team = (("x-team", "chat"), ("x-user-tier", "chat-code"))
    for number, body in enumerate(BODIES):
        path = f"{CHAT}?q=/v1/completions" if number % 2 else CHAT
        yield (
            path,
            team if number % 3 else (),
            json.dumps(body, ensure_ascii=number % 2 == 0).encode("utf-8", "surrogatepass"),
        )
