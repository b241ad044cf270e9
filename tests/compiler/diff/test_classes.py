"""The classes of requests that a change is said to concern, against `evaluate`, request by request."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace

import pytest

from compiler.diff.classes import request_classes
from compiler.diff.profile import Recorded
from compiler.diff.request_class import Classes, RequestClass
from compiler.diff.weighing import weighed
from compiler.diff.words import differences, groups, title
from compiler.fleet import (
    Carrier,
    Condition,
    Fault,
    Field,
    Fleet,
    Gateway,
    Host,
    Mirror,
    Model,
    Operator,
    Orchestrator,
    Retries,
    Target,
    Timeouts,
)
from compiler.fleet.routes import WHOLE
from compiler.request import MalformedRequestError, Request, read_request
from tests.chance import Chance
from tests.compiler.diff.decided import decides, share_answered
from tests.xds.translate.fleets import ORIGIN, SOMEWHERE, gateway, model, seconds, version

SEEDS = range(200)
SAMPLES = 50
"""Requests of each edit, besides those that its classes are shown by."""

Edit = Callable[[Chance, Fleet], Fleet]


def with_model(fleet: Fleet, changed: Model) -> Fleet:
    return replace(fleet, models=tuple(changed if m.name == changed.name else m for m in fleet.models))


def with_gateway(fleet: Fleet, **changes: object) -> Fleet:
    first, *others = fleet.gateways
    return replace(fleet, gateways=(replace(first, **changes), *others))  # type: ignore[arg-type]


def with_orchestrator(fleet: Fleet, **changes: object) -> Fleet:
    return with_gateway(fleet, orchestrator=replace(orchestrator(fleet), **changes))  # type: ignore[arg-type]


def orchestrator(fleet: Fleet) -> Orchestrator:
    found = fleet.gateways[0].orchestrator
    assert found is not None
    return found


def any_model(chance: Chance, fleet: Fleet) -> Model:
    return chance.random.choice(fleet.models)


def model_names(fleet: Fleet) -> list[str]:
    return [m.name for m in fleet.models]


def weights(chance: Chance, fleet: Fleet) -> Fleet:
    of = any_model(chance, fleet)
    versions = [replace(v, weight=0) for v in of.versions]
    versions[chance.random.randrange(len(versions))] = replace(chance.random.choice(of.versions), weight=100)
    return with_model(fleet, replace(of, versions=tuple({v.name: v for v in versions}.values())))


def new_version(chance: Chance, fleet: Fleet) -> Fleet:
    of = any_model(chance, fleet)
    return with_model(fleet, replace(of, versions=(*of.versions, version("new", weight=0))))


def stream_timeouts(chance: Chance, fleet: Fleet) -> Fleet:
    of = any_model(chance, fleet)
    return with_model(fleet, replace(of, timeouts=replace(of.timeouts, stream_idle=seconds(7))))


def unary_timeout(chance: Chance, fleet: Fleet) -> Fleet:
    of = any_model(chance, fleet)
    return with_model(fleet, replace(of, timeouts=Timeouts(seconds(60), seconds(300), seconds(3600), seconds(9))))


def retries(chance: Chance, fleet: Fleet) -> Fleet:
    none = Retries(0, (), (), seconds(1))
    return with_model(fleet, replace(any_model(chance, fleet), retries=none))


def mirror(chance: Chance, fleet: Fleet) -> Fleet:
    return with_model(fleet, replace(any_model(chance, fleet), mirror=Mirror(fleet.models[0].name, None, 10)))


def rule_fault(chance: Chance, fleet: Fleet) -> Fleet:
    rules = list(orchestrator(fleet).rules)
    number = chance.random.randrange(len(rules))
    rules[number] = replace(rules[number], fault=Fault(0, seconds(0), 50, 503))
    return with_orchestrator(fleet, rules=tuple(rules))


def pool_limits(chance: Chance, fleet: Fleet) -> Fleet:
    of = any_model(chance, fleet)
    first, *others = of.versions
    smaller = replace(first, connection_pool=replace(first.connection_pool, http2_max_requests=3))
    return with_model(fleet, replace(of, versions=(smaller, *others)))


def aliases(chance: Chance, fleet: Fleet) -> Fleet:
    of = any_model(chance, fleet)
    return with_model(fleet, replace(of, aliases=() if of.aliases else (f"alias-{of.name[1:]}",)))


def endpoints_go(chance: Chance, fleet: Fleet) -> Fleet:
    """Those of one version."""
    of = any_model(chance, fleet)
    bare = chance.random.choice(of.versions)
    return with_model(
        fleet, replace(of, versions=tuple(replace(v, endpoints=()) if v == bare else v for v in of.versions))
    )


def endpoints_come_or_go(chance: Chance, fleet: Fleet) -> Fleet:
    """Those of most versions of most models."""
    for of in fleet.models:
        versions = (replace(v, endpoints=chance.random.choice(((), SOMEWHERE, v.endpoints))) for v in of.versions)
        fleet = with_model(fleet, replace(of, versions=tuple(versions)))
    return fleet


def one_endpoint_more(chance: Chance, fleet: Fleet) -> Fleet:
    of = any_model(chance, fleet)
    more = (replace(v, endpoints=(*v.endpoints, *SOMEWHERE) if v.endpoints else ()) for v in of.versions)
    return with_model(fleet, replace(of, versions=tuple(more)))


def another_carrier(chance: Chance, fleet: Fleet) -> Fleet:
    carriers = (Carrier.ENVOY, Carrier.ISTIO)
    found = tuple(replace(host, carrier=chance.random.choice(carriers)) for host in fleet.gateways[0].hosts)
    return with_gateway(fleet, hosts=(*found, Host("a.example.com", Carrier.ISTIO)))


def rule_on_top(chance: Chance, fleet: Fleet) -> Fleet:
    rule = replace(chance.rule(99, model_names(fleet)), priority=1)
    return with_orchestrator(fleet, rules=(rule, *orchestrator(fleet).rules))


def rule_below(chance: Chance, fleet: Fleet) -> Fleet:
    return with_orchestrator(fleet, rules=(*orchestrator(fleet).rules, chance.rule(99, model_names(fleet))))


def rule_gone(chance: Chance, fleet: Fleet) -> Fleet:
    rules = orchestrator(fleet).rules
    gone = chance.random.randrange(len(rules))
    return with_orchestrator(fleet, rules=rules[:gone] + rules[gone + 1 :])


def rules_in_another_order(chance: Chance, fleet: Fleet) -> Fleet:
    rules = list(orchestrator(fleet).rules)
    chance.random.shuffle(rules)
    return with_orchestrator(fleet, rules=tuple(rules))


def rule_asks_otherwise(chance: Chance, fleet: Fleet) -> Fleet:
    rules = list(orchestrator(fleet).rules)
    number = chance.random.randrange(len(rules))
    rules[number] = replace(rules[number], conditions=(chance.condition(), *rules[number].conditions[1:]))
    return with_orchestrator(fleet, rules=tuple(rules))


def rule_leads_elsewhere(chance: Chance, fleet: Fleet) -> Fleet:
    rules = list(orchestrator(fleet).rules)
    number = chance.random.randrange(len(rules))
    rules[number] = replace(rules[number], targets=chance.targets(model_names(fleet)))
    return with_orchestrator(fleet, rules=tuple(rules))


def default(chance: Chance, fleet: Fleet) -> Fleet:
    return with_orchestrator(fleet, default=() if orchestrator(fleet).default else chance.targets(model_names(fleet)))


def members(chance: Chance, fleet: Fleet) -> Fleet:
    return with_orchestrator(fleet, members=chance.members(model_names(fleet)))


def fallback(chance: Chance, fleet: Fleet) -> Fleet:
    return with_orchestrator(fleet, fallback=chance.fallback(model_names(fleet)))


def orchestrator_renamed(_chance: Chance, fleet: Fleet) -> Fleet:
    return with_orchestrator(fleet, name="nobody")


def orchestrator_gone(_chance: Chance, fleet: Fleet) -> Fleet:
    return with_gateway(fleet, orchestrator=None)


def model_listed_no_more(chance: Chance, fleet: Fleet) -> Fleet:
    listed = fleet.gateways[0].models
    return with_gateway(fleet, models=tuple(name for name in listed if name != any_model(chance, fleet).name))


def model_added(_chance: Chance, fleet: Fleet) -> Fleet:
    more = replace(fleet, models=(*fleet.models, model("nobody", aliases=("alias-9",))))
    return with_gateway(more, models=tuple(sorted(model_names(more))))


def hosts(chance: Chance, fleet: Fleet) -> Fleet:
    named = chance.random.sample(HOSTS[:-1], chance.random.randint(1, 3))
    return with_gateway(fleet, hosts=tuple(Host(name, Carrier.ENVOY) for name in named))


def another_gateway(chance: Chance, fleet: Fleet) -> Fleet:
    first: Gateway = fleet.gateways[0]
    hosts = tuple(Host(name, Carrier.ENVOY) for name in chance.random.sample(HOSTS[1:-1], 2))
    taken = {host.name for host in hosts}
    left = tuple(host for host in first.hosts if host.name not in taken) or (Host("left.example.com", Carrier.ENVOY),)
    second = gateway(first.models[:1], name="second", hosts=hosts)
    return replace(fleet, gateways=(replace(first, hosts=left), second))


HOSTS = ("*", "a.example.com", "*.example.com", "*.b.example.com", "elsewhere.org")
"""Of gateways, but for the last."""
SAMPLED_HOSTS = ("*", "a.example.com", "x.example.com", "y.b.example.com", "elsewhere.org", "left.example.com")
EDITS: tuple[Edit, ...] = (
    weights, new_version, stream_timeouts, unary_timeout, retries, mirror, rule_fault, pool_limits, aliases,
    endpoints_go, endpoints_come_or_go, one_endpoint_more, another_carrier,
    rule_on_top, rule_below, rule_gone, rules_in_another_order, rule_asks_otherwise, rule_leads_elsewhere, default,
    members, fallback, orchestrator_renamed, model_listed_no_more, model_added, hosts, another_gateway,
    orchestrator_gone,
)  # fmt: skip
KEEPS_AN_ORCHESTRATOR = EDITS[:-1]


def edited(chance: Chance, fleet: Fleet, seed: int) -> Fleet:
    """Each edit in turn, every third with another before it."""
    edit = EDITS[seed % len(EDITS)]
    first = chance.random.choice(KEEPS_AN_ORCHESTRATOR) if seed % 3 == 0 else None
    return edit(chance, fleet if first is None else first(chance, fleet))


def sampled(chance: Chance) -> Iterator[Request]:
    for _ in range(SAMPLES):
        sent = chance.request()
        try:
            request = read_request(sent)
        except MalformedRequestError:
            continue
        yield replace(request, host=chance.random.choice(SAMPLED_HOSTS))
    yield Request(method="GET", path="/v1/models")


def around(of: Request, chance: Chance) -> Iterator[Request]:
    """Requests that differ from one of a class in one thing."""
    yield replace(of, stream=not of.stream)
    yield replace(of, model=chance.random.choice(("auto", "m0", "alias-0", None)))
    yield replace(of, prompt_length=chance.random.choice((None, 0, 1, 3, 17, 41, 1000)))
    yield replace(of, capabilities=frozenset(chance.random.sample(("chat", "code", "vision", "other"), 2)))
    yield replace(of, headers={**of.headers, "x-team": chance.random.choice(("chat", "code", "z"))})


@pytest.mark.parametrize("seed", SEEDS)
def test_the_classes_are_those_of_which_requests_are_decided_otherwise(seed: int) -> None:
    chance = Chance(seed)
    before = chance.fleet(1, 2)
    after = edited(chance, before, seed)
    found = request_classes(before, after)
    assert found.left_out == 0
    shown = [each.witness for each in found.found if each.witness is not None]
    for each in found.found:
        assert each.witness is None or each.matches(each.witness)
        assert differences(each)
    for request in (*sampled(chance), *shown, *(near for one in shown[:10] for near in around(one, chance))):
        of = [each for each in found.found if each.matches(request)]
        assert len(of) == (decides(before, request) != decides(after, request)), (request, of)


@pytest.mark.parametrize("seed", range(0, 200, 5))
def test_a_profile_counts_each_request_as_it_is_decided(seed: int) -> None:
    chance = Chance(seed)
    before = chance.fleet(1, 2)
    after = edited(chance, before, seed)
    found = request_classes(before, after).found
    requests: list[tuple[Recorded, Request]] = []
    for _ in range(4 * SAMPLES):
        sent = chance.request()
        others = (header for header in sent.headers if header[0] != "host")
        sent = replace(sent, headers=(*others, ("host", chance.random.choice(SAMPLED_HOSTS))))
        with suppress(MalformedRequestError):
            requests.append((Recorded(sent, None, 1), read_request(sent, before.gateways[0].length_unit)))
    changed = [decides(before, request) != decides(after, request) for _, request in requests]
    together = weighed(before, after, (recorded for recorded, _ in requests), found)
    alone = [weighed(before, after, [recorded], found) for recorded, _ in requests]
    assert [one.changed for one in alone] == changed
    answered = [(share_answered(before, request), share_answered(after, request)) for _, request in requests]
    assert [one.lose for one in alone] == [max(0, one - other) / WHOLE for one, other in answered]
    assert [one.gain for one in alone] == [max(0, other - one) / WHOLE for one, other in answered]
    assert [one.unanswered for one in alone] == [(WHOLE - max(both)) / WHOLE for both in answered]
    assert together.changed == sum(changed)
    assert together.lose == pytest.approx(sum(one.lose for one in alone))
    assert together.aspects == dict(sorted(sum((Counter(one.aspects) for one in alone), Counter[str]()).items()))
    assert sum(together.by_class.values()) == together.changed


@pytest.mark.parametrize("seed", range(0, 200, 10))
def test_a_fleet_that_stays_as_it_is_changes_no_class(seed: int) -> None:
    before, after = (Chance(seed).fleet(1, 2) for _ in range(2))
    assert request_classes(before, after) == Classes((), 0, 1)


def test_the_edits_change_what_is_decided() -> None:
    """Else the property says nothing."""
    concerned = []
    for seed in SEEDS:
        chance = Chance(seed)
        before = chance.fleet(1, 2)
        concerned.append(len(request_classes(before, edited(chance, before, seed)).found))
    assert sum(map(bool, concerned)) > 0.7 * len(concerned)


def test_a_class_without_a_witness_is_one_that_a_regular_expression_decides() -> None:
    for seed in SEEDS:
        chance = Chance(seed)
        before = chance.fleet(1, 2)
        for each in request_classes(before, edited(chance, before, seed)).found:
            stations = (each.before, each.after, *each.above)
            operators = {condition.operator for station in stations for condition in station.conditions}
            assert each.witness is not None or "regex" in operators


def only(before: Fleet, after: Fleet) -> RequestClass:
    (each,) = request_classes(before, after).found
    return each


def test_what_concerns_streams_alone_is_said_of_streams_alone() -> None:
    before = replace(Chance(0).fleet(1, 2), models=(model("m0"),), gateways=(gateway(("m0",)),))
    after = stream_timeouts(Chance(0), before)
    each = only(before, after)
    assert each.stream is True
    assert [d.aspect for d in differences(each)] == ["timeouts"]


def test_classes_that_change_alike_are_told_together() -> None:
    chance = Chance(1)
    before = chance.fleet(1, 2)
    of = replace(before.models[0], timeouts=replace(before.models[0].timeouts, unary_total=seconds(9)))
    found = request_classes(before, with_model(before, of))
    told = groups(found)
    assert len(told) == 1
    assert len(told[0].numbers) == len(found.found)


def test_many_rules_are_looked_at_within_bounds() -> None:
    chance = Chance(7)
    before = chance.fleet(1, 2)
    rules = tuple(replace(chance.rule(n, model_names(before)), priority=-n) for n in range(60))
    before = with_orchestrator(before, rules=rules)
    shuffled = list(rules)
    random.Random(0).shuffle(shuffled)
    found = request_classes(before, with_orchestrator(before, rules=tuple(shuffled)))
    assert found.found


def test_a_request_that_two_rules_want_parts_of_is_found() -> None:
    """No value that either rule asks for alone shows it."""
    chance = Chance(3)
    before = chance.fleet(1, 2)
    first, second = (
        replace(chance.rule(n, model_names(before)), conditions=(asked,), targets=(Target(f"m{n}", 100),))
        for n, asked in enumerate((team(Operator.PREFIX, "chat"), team(Operator.CONTAINS, "code")))
    )
    before = with_orchestrator(before, rules=(first, second), members=())
    each = only(before, with_orchestrator(before, rules=(second, first)))
    assert each.witness is not None
    asked = str(each.witness.headers["x-team"])
    assert asked.startswith("chat")
    assert "code" in asked


def team(operator: Operator, value: str) -> Condition:
    return Condition(Field.HEADER, "x-team", operator, (value,), ORIGIN)


def ruled(before: Fleet, *asked: tuple[Condition, ...]) -> Fleet:
    """Rules from the top, each to a model of its own, and nothing else."""
    rules = tuple(
        replace(Chance(3).rule(n, model_names(before)), conditions=conditions, targets=(Target(f"m{n}", 100),))
        for n, conditions in enumerate(asked)
    )
    return with_orchestrator(before, rules=rules, members=(), default=(Target("m1", 100),))


def test_of_a_rule_that_asks_for_more_only_the_rest_is_said_to_change() -> None:
    before = Chance(3).fleet(1, 2)
    wide, narrow = team(Operator.PREFIX, "chat"), team(Operator.PREFIX, "chat-eu")
    each = only(ruled(before, (wide,)), ruled(before, (narrow,)))
    assert title(each).endswith(": header.x-team prefix chat, but not header.x-team prefix chat-eu")
    assert title(only(ruled(before, (narrow,)), ruled(before, (wide,)))).endswith(
        ": header.x-team prefix chat, but not header.x-team prefix chat-eu"
    )
    both = (narrow, Condition(Field.STREAM, "", Operator.EQ, (True,), ORIGIN))
    assert title(only(ruled(before, (wide,)), ruled(before, both))).endswith(
        ", but not (header.x-team prefix chat-eu and stream eq true)"
    )


def test_rules_that_stay_above_a_class_or_want_none_of_it_are_not_named() -> None:
    before = Chance(3).fleet(1, 2)
    above, wide, other = (team(Operator.EQ, "chat-x"), team(Operator.PREFIX, "chat"), team(Operator.EQ, "other"))
    # Of one model, so that the second rule alone decides otherwise.
    one = ruled(before, (above,), (wide,))
    rules = orchestrator(one).rules
    moved = with_orchestrator(one, rules=(rules[0], replace(rules[1], targets=rules[0].targets)))
    assert title(only(one, moved)).endswith(": header.x-team prefix chat")
    new = replace(rules[1], name="new", conditions=(other,))
    with_new = with_orchestrator(one, rules=(rules[0], new, *orchestrator(moved).rules[1:]))
    assert title(only(one, with_new)).endswith(": header.x-team prefix chat")
