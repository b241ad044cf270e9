"""Hosts that an implementation of the Gateway API carries: their Gateway and HTTPRoutes, and what these cannot say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from compiler.diagnostics import Diagnostic, Severity
from compiler.emit import gateway_api
from compiler.emit.durations import gateway_api_duration
from compiler.emit.gateway_api.conditions import why_not
from compiler.emit.gateway_api.precedence import MOST_MATCHES
from compiler.emit.object import Object
from compiler.evaluate import Decision, Refusal, evaluate
from compiler.fleet import (
    Carrier,
    Condition,
    Fallback,
    Fault,
    Field,
    Fleet,
    Gateway,
    Hop,
    Host,
    LengthUnit,
    Listener,
    Member,
    Mirror,
    Model,
    Operator,
    Orchestrator,
    Platform,
    Protocol,
    Rule,
    Target,
    Timeouts,
)
from compiler.kept import Kept
from compiler.request import Request
from tests.chance import Chance
from tests.compiler.emit.fleets import at, fleet, gateway, model, seconds, version
from tests.gateway_api_matches import rule_of
from tests.manifests.schemas import validate

CHAT = "/v1/chat/completions"
BUILT = Platform(gateway_class="example")


def edge(*models: str, **changes: Any) -> Gateway:
    return replace(gateway("edge", *models, carrier=Carrier.GATEWAY_API), **changes)


def carried(*models: Model, **changes: Any) -> Fleet:
    names = sorted(m.name for m in models)
    return replace(fleet(*models, gateways=(edge(*names, **changes),)), platform=BUILT)


def condition(field: Field, operator: Operator, *values: str | int | bool, key: str = "") -> Condition:
    return Condition(field, key, operator, values, at(9))


def team(value: str) -> Condition:
    return condition(Field.HEADER, Operator.EQ, value, key="x-team")


def rule(name: str, target: str, *conditions: Condition, **changes: Any) -> Rule:
    of = model("a")
    made = Rule(name, 0, conditions, (Target(target, 100),), of.retries, of.timeouts, at(7))
    return replace(made, **changes)


def ruled(*rules: Rule, **changes: Any) -> Fleet:
    """Models a, b and c; c is the default."""
    auto = replace(Orchestrator("auto", rules, LengthUnit.CHARACTERS, (Target("c", 100),), at(1)), **changes)
    return carried(model("a"), model("b"), model("c"), orchestrator=auto)


def objects(of: Fleet) -> list[Object]:
    return list(gateway_api.objects(of, Kept()))


def bodies(of: Fleet, kind: str) -> dict[str, Any]:
    return {o.body["metadata"]["name"]: o.body for o in objects(of) if o.body["kind"] == kind}


def backends(of: Fleet, path: str = CHAT, method: str = "POST", **headers: str) -> dict[str, int]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    taken = rule_of(list(bodies(of, "HTTPRoute").values()), method, path, named)
    return {} if taken is None else {ref["name"]: ref["weight"] for ref in taken["backendRefs"]}


def asked(of: Fleet, request: Request) -> Decision:
    return evaluate(of, request, of.gateways[0])


def said(of: Fleet, *severities: Severity) -> list[str]:
    return [found.message.removeprefix("the Gateway API cannot express ") for found in told(of, *severities)]


def told(of: Fleet, *severities: Severity) -> list[Diagnostic]:
    wanted = severities or (Severity.ERROR,)
    found = list(gateway_api.diagnostics(of, Kept()))
    assert {each.code for each in found} <= {"P301"}
    return [each for each in found if each.severity in wanted]


# Who is asked


def test_a_model_is_named_in_the_header_or_in_the_path() -> None:
    of = carried(replace(model("llama"), aliases=("big.llama",)), model("llama-70b"))
    assert backends(of, model_name="llama") == {"llama-1": 100}
    assert backends(of, model_name="big.llama", path="/anything", method="GET") == {"llama-1": 100}
    assert backends(of, path="/v1/models/llama-70b/infer") == {"llama-70b-1": 100}
    assert backends(of, path="/v1/models/big.llama") == {"llama-1": 100}


def test_who_names_nothing_or_nobody_comes_to_no_rule() -> None:
    of = ruled()
    for asked in ({}, {"model_name": "nobody"}, {"path": "/v1/models/nobody/x"}, {"path": "/v1/models"}):
        assert backends(of, **asked) == {}


def test_of_two_names_that_of_the_path_counts() -> None:
    assert backends(ruled(), path="/v1/models/a/x", model_name="b") == {"a-1": 100}
    assert backends(ruled(), path="/v1/models/nobody/x", model_name="b") == {"b-1": 100}
    request = Request(path="/v1/models/a/x", model="b", headers={"model-name": "b"})
    assert [t.model.name for t in asked(ruled(), request).targets] == ["a"]


def test_what_the_body_alone_names_is_not_answered_by_another() -> None:
    decision = asked(ruled(), Request(model="a", prompt_length=5))
    assert decision.refusal is Refusal.MODEL_NOT_FOUND
    assert [(step.name, step.matched) for step in decision.steps] == [("a", False)]
    assert "reads no body" in decision.steps[0].why
    own = replace(ruled().gateways[0], hosts=(Host("*", Carrier.ENVOY),))
    assert evaluate(ruled(), Request(model="a"), own).targets


def test_the_default_s_shares_are_exact() -> None:
    auto = Orchestrator("auto", (), LengthUnit.CHARACTERS, (Target("a", 75), Target("b", 25)), at(1))
    of = carried(model("a", version("1", 90), version("2", 10), version("3", 0)), model("b"), orchestrator=auto)
    assert backends(of, model_name="auto") == {"a-1": 6750, "a-2": 750, "b-1": 2500}
    assert backends(of, path="/v1/models/auto/x") == {"a-1": 6750, "a-2": 750, "b-1": 2500}
    assert backends(of, model_name="a") == {"a-1": 90, "a-2": 10}


# The order of rules


def test_a_higher_rule_decides_before_a_more_specific_lower_one() -> None:
    of = ruled(rule("high", "a", team("blue")), rule("low", "b", condition(Field.PATH, Operator.EQ, CHAT)))
    assert backends(of, model_name="auto", x_team="blue") == {"a-1": 100}
    assert backends(of, model_name="auto") == {"b-1": 100}
    assert backends(of, model_name="auto", path="/v1/embeddings") == {"c-1": 100}


class PlainChance(Chance):
    """Conditions that the Gateway API can express, few enough that rules often meet."""

    def members(self, names: list[str]) -> tuple[Member, ...]:
        return ()

    def fallback(self, names: list[str]) -> Fallback:
        return Fallback()

    def condition(self) -> Condition:
        kind = self.random.choice(("header", "header", "tier", "method", "path", "prefix", "model"))
        some = self.random.choice((Operator.EQ, Operator.IN))
        count = self.random.randint(1, 2) if some is Operator.IN else 1
        match kind:
            case "header":
                key = self.random.choice(("x-team", "x-region", "model-name", "x-user-tier"))
                words = self.random.sample(("pro", "free", "auto", "m0"), count)
                return condition(Field.HEADER, some, *words, key=key)
            case "tier":
                return condition(Field.USER_TIER, some, *self.random.sample(("pro", "free"), count))
            case "method":
                return condition(Field.METHOD, some, *self.random.sample(("POST", "GET"), count))
            case "model":
                return condition(Field.MODEL, self.random.choice((Operator.PREFIX, Operator.CONTAINS)), "au")
            case "prefix":
                prefix = self.random.choice(("/", "/v1/", "/v1/chat/", "/v1/models/auto/", "/v1/models/"))
                return condition(Field.PATH, Operator.PREFIX, prefix)
        return condition(Field.PATH, some, *self.random.sample((CHAT, "/v1", "/v1/models/auto/x", "/v1/chat"), count))

    def asked(self) -> Request:
        headers: dict[str, str | tuple[str, ...]] = {}
        for name in ("x-team", "x-region", "x-user-tier"):
            if self.random.random() < 0.7:
                headers[name] = self.random.choice(("pro", "free", "auto", "m0", ("pro", "free")))
        if self.random.random() < 0.8:
            headers["model-name"] = self.random.choice(("auto", "auto", "auto", "m0", "m1", "alias-0", "nobody"))
        paths = (CHAT, "/v1/chat", "/v1/chat/x", "/v1", "/v1/", "/v1/models", "/v1/models/auto", "/v1/models/auto/x")
        path = self.random.choice((*paths, *paths, "/v1/models/m0/x", "/v1/models/automatic", "/other"))
        named = self.random.choice((None, "m1"))
        return Request(method=self.random.choice(("POST", "GET", "PUT")), path=path, headers=headers, model=named)


def as_sent(request: Request) -> dict[str, str]:
    """A header that is given twice is one with both values, to all who follow HTTP."""
    given = request.headers.items()
    return {name: value if isinstance(value, str) else ",".join(value) for name, value in given}


def drawn(seeds: range) -> Iterator[tuple[PlainChance, Fleet]]:
    """Fleets that are not refused."""
    for seed in seeds:
        chance = PlainChance(seed)
        of = chance.fleet(1, 2)
        [at_first] = of.gateways
        carrying = replace(at_first, name="edge", hosts=(Host("*", Carrier.GATEWAY_API),))
        of = replace(of, gateways=(carrying,), platform=BUILT)
        if not told(of):
            yield chance, of


@pytest.mark.parametrize("tens", range(8))
def test_http_routes_of_whatever_age_choose_what_evaluate_says(tens: int) -> None:
    decided: set[str] = set()
    fleets = list(drawn(range(10 * tens, 10 * tens + 10)))
    assert len(fleets) >= 5
    for chance, of in fleets:
        routes = list(bodies(of, "HTTPRoute").values())
        for _ in range(60):
            request = chance.asked()
            chance.random.shuffle(routes)
            decision = asked(of, request)
            taken = rule_of(routes, request.method, request.path, as_sent(request))
            shares = {ref["name"]: ref["weight"] for ref in taken["backendRefs"]} if taken else {}
            total = sum(shares.values())
            expected = {f"{t.model.name}-{t.version.name}": t.share for t in decision.targets}
            assert {name: weight * 10_000 // total for name, weight in shares.items()} == expected, request
            decided.add(decision.stage)
    assert decided >= {"explicit", "rule", "none"}


@pytest.mark.parametrize("seed", range(10))
def test_what_is_written_of_any_fleet_passes_the_schemas(seed: int) -> None:
    for _, of in drawn(range(1000 + seed, 1002 + seed)):
        assert not [complaint for item in objects(of) for complaint in validate(item.body)]


def many_rules(count: int) -> Fleet:
    """More than one HTTPRoute takes, of which some meet."""
    rules = [rule(f"r{n}", "ab"[n % 2], team(f"t{n}")) for n in range(count)]
    return ruled(rule("path", "c", condition(Field.PATH, Operator.EQ, CHAT)), *rules)


def test_rules_that_one_http_route_cannot_hold_are_in_several_and_still_in_order() -> None:
    of = many_rules(40)
    routes = bodies(of, "HTTPRoute")
    assert [name for name in routes if "orchestrator" in name] == [
        "edge.orchestrator.auto",
        "edge.orchestrator.auto.2",
        "edge.orchestrator.auto.3",
    ]
    assert not [complaint for item in objects(of) for complaint in validate(item.body)]
    for ordered in (list(routes.values()), list(routes.values())[::-1]):
        for n in (0, 17, 39):
            headers = {"model-name": "auto", "x-team": f"t{n}"}
            taken = rule_of(ordered, "POST", "/other", headers)
            assert taken is not None
            assert taken["backendRefs"][0]["name"] == f"{'ab'[n % 2]}-1"
            first = rule_of(ordered, "POST", CHAT, headers)
            assert first is not None
            assert first["backendRefs"][0]["name"] == "c-1"


def test_another_model_leaves_the_routes_of_the_others_as_they_are() -> None:
    before, after = (
        {name: body for name, body in bodies(of, "HTTPRoute").items() if name != "edge.model.new"}
        for of in (carried(model("a"), model("z")), carried(model("a"), model("new"), model("z")))
    )
    assert before == after


def test_a_model_with_many_names_has_several_rules() -> None:
    many = replace(model("a"), aliases=tuple(f"a{n}" for n in range(70)))
    of = carried(many)
    assert list(bodies(of, "HTTPRoute")) == ["edge.model.a", "edge.model.a.2"]
    assert backends(of, model_name="a69") == {"a-1": 100}
    assert not [complaint for item in objects(of) for complaint in validate(item.body)]


# What a rule does


def test_one_limit_holds_for_every_request() -> None:
    slow = replace(model("a"), timeouts=Timeouts(seconds(60), seconds(300), seconds(3600), seconds(5400.5)))
    [routed] = bodies(carried(slow), "HTTPRoute").values()
    assert routed["spec"]["rules"][0]["timeouts"] == {"request": "1h30m500ms"}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (timedelta(0), "0s"),
        (timedelta(milliseconds=25), "25ms"),
        (timedelta(minutes=5), "5m"),
        (timedelta(days=40, seconds=1), "960h1s"),
    ],
)
def test_durations_are_written_as_the_gateway_api_reads_them(value: timedelta, text: str) -> None:
    assert gateway_api_duration(value) == text


def test_copies_are_cut_to_the_hundredth_of_a_percent() -> None:
    shadow = replace(model("shadow", version("1", 75), version("2", 25)), namespace="other")
    of = carried(replace(model("a"), mirror=Mirror("shadow", None, 10, at(1))), shadow)
    filters = bodies(of, "HTTPRoute")["edge.model.a"]["spec"]["rules"][0]["filters"]
    assert [made["requestMirror"] for made in filters] == [
        {
            "backendRef": {"name": "shadow-1", "namespace": "other", "port": 80},
            "fraction": {"numerator": 750, "denominator": 10_000},
        },
        {
            "backendRef": {"name": "shadow-2", "namespace": "other", "port": 80},
            "fraction": {"numerator": 250, "denominator": 10_000},
        },
    ]
    whole = carried(replace(model("a"), mirror=Mirror("shadow", "1", 10, at(1))), shadow)
    [made] = bodies(whole, "HTTPRoute")["edge.model.a"]["spec"]["rules"][0]["filters"]
    assert made["requestMirror"]["percent"] == 10
    assert not [complaint for item in (*objects(of), *objects(whole)) for complaint in validate(item.body)]


def test_services_of_another_namespace_are_granted_one_by_one() -> None:
    far = replace(model("far", version("1", 100), version("2", 0)), namespace="other")
    of = carried(model("near"), far)
    [grant] = bodies(of, "ReferenceGrant").values()
    assert (grant["metadata"]["namespace"], grant["metadata"]["name"]) == ("other", "far.ai-inference")
    assert grant["spec"] == {
        "from": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "ai-inference"}],
        "to": [{"group": "", "kind": "Service", "name": "far-1"}],
    }
    waves = {item.body["kind"]: item.wave for item in objects(of)}
    assert waves == {"ReferenceGrant": 1, "Gateway": 2, "HTTPRoute": 2}
    assert validate(grant) == []


# The gateway


def test_each_host_has_a_listener_at_each_port() -> None:
    names = ("api.example.com", "*.b.example.com", "*")
    hosts = (*(Host(name, Carrier.GATEWAY_API) for name in names), Host("own.example.com", Carrier.ENVOY))
    listeners = (Listener(80, Protocol.HTTP, None), Listener(443, Protocol.HTTPS, "edge-tls"))
    of = carried(model("a"), hosts=hosts, listeners=listeners)
    made = bodies(of, "Gateway")["edge"]
    assert made["spec"]["gatewayClassName"] == "example"
    assert [(at["name"], at.get("hostname"), at["port"]) for at in made["spec"]["listeners"]] == [
        ("http-80.api.example.com", "api.example.com", 80),
        ("http-80-any.b.example.com", "*.b.example.com", 80),
        ("http-80", None, 80),
        ("https-443.api.example.com", "api.example.com", 443),
        ("https-443-any.b.example.com", "*.b.example.com", 443),
        ("https-443", None, 443),
    ]
    secured = made["spec"]["listeners"][3]["tls"]
    assert secured == {"mode": "Terminate", "certificateRefs": [{"name": "edge-tls"}]}
    assert validate(made) == []


def test_a_fleet_that_others_carry_has_nothing_of_it() -> None:
    for carrier in (Carrier.ENVOY, Carrier.ISTIO):
        of = fleet(model("a"), gateways=(gateway("edge", "a", carrier=carrier),))
        assert objects(of) == []
        assert list(gateway_api.diagnostics(of, Kept())) == []


# What it cannot express


@pytest.mark.parametrize(
    "unfit",
    [
        condition(Field.STREAM, Operator.EQ, True),
        condition(Field.PROMPT_LENGTH, Operator.GT, 2000),
        condition(Field.MAX_TOKENS, Operator.LE, 5),
        condition(Field.METADATA, Operator.EQ, "x", key="team"),
        condition(Field.CAPABILITY, Operator.CONTAINS, "chat"),
        condition(Field.HEADER, Operator.NE, "blue", key="x-team"),
        condition(Field.HEADER, Operator.PREFIX, "blue", key="x-team"),
        condition(Field.HEADER, Operator.CONTAINS, "blue", key="x-team"),
        condition(Field.HEADER, Operator.REGEX, "b.*", key="x-team"),
        condition(Field.HEADER, Operator.EQ, "b" * 4097, key="x-team"),
        condition(Field.USER_TIER, Operator.NE, "free"),
        condition(Field.METHOD, Operator.NE, "GET"),
        condition(Field.PATH, Operator.NE, "/v1"),
        condition(Field.PATH, Operator.PREFIX, "/v1/chat"),
        condition(Field.PATH, Operator.CONTAINS, "chat"),
        condition(Field.PATH, Operator.EQ, "/v1//chat"),
        condition(Field.PATH, Operator.EQ, "/v1/../chat"),
        condition(Field.PATH, Operator.EQ, "/v1/a b"),
        condition(Field.PATH, Operator.EQ, "chat"),
        condition(Field.PATH, Operator.PREFIX, "/v1/models/b/"),
        condition(Field.PATH, Operator.IN, CHAT, "/v1/models/b/infer"),
    ],
    ids=str,
)
def test_a_condition_that_no_match_can_ask_for_is_refused_at_its_line(unfit: Condition) -> None:
    of = ruled(rule("r", "a", unfit))
    [found] = told(of)
    assert found.position == unfit.origin
    assert found.message.startswith(f"the Gateway API cannot express {unfit}: ")
    assert found.hint == "own Envoys for edge.example.com"
    objects(of)


@pytest.mark.parametrize(
    "fit",
    [
        team("blue"),
        condition(Field.HEADER, Operator.IN, "blue", "red", key="x-team"),
        condition(Field.USER_TIER, Operator.EQ, "pro"),
        condition(Field.METHOD, Operator.IN, "POST", "GET"),
        condition(Field.PATH, Operator.EQ, CHAT),
        condition(Field.PATH, Operator.PREFIX, "/v1/chat/"),
        condition(Field.MODEL, Operator.NE, "b"),
    ],
    ids=str,
)
def test_conditions_on_whole_values_are_not(fit: Condition) -> None:
    assert why_not(fit) is None
    assert told(ruled(rule("r", "a", fit))) == []


def plain(**changes: Any) -> Fleet:
    return carried(replace(model("a"), **changes))


def test_settings_that_policy_says_are_refused_and_built_in_ones_are_not() -> None:
    assert said(plain()) == []
    of = model("a")
    pool = replace(of.versions[0].connection_pool, origin=at(5))
    assert said(plain(retries=replace(of.retries, origin=at(2)))) == ["retries"]
    assert said(plain(retries=replace(of.retries, origin=at(2), attempts=0))) == []
    assert said(plain(load_balancing=replace(of.load_balancing, origin=at(2)))) == ["loadBalancing"]
    assert said(plain(outlier_detection=replace(of.outlier_detection, origin=at(2)))) == ["outlierDetection"]
    off = replace(of.outlier_detection, origin=at(2), consecutive_5xx_errors=0)
    assert said(plain(outlier_detection=off)) == []
    assert said(plain(versions=(replace(of.versions[0], connection_pool=pool),))) == ["connectionPool"]
    assert said(plain(timeouts=replace(of.timeouts, origin=at(2)))) == []
    streams = replace(of.timeouts, origin=at(2), stream_origin=at(3))
    assert said(plain(timeouts=streams)) == ["timeouts.stream: nothing but the body tells who streams"]
    assert said(plain(fault=Fault(1, seconds(1), 0, 0, at(4)))) == ["fault"]


def test_standbys_are_refused() -> None:
    tiered = replace(version(), hot=1, standby_origin=at(3))
    [found] = told(carried(model("a", tiered)))
    assert found.position == at(3)
    assert "standbys of a" in found.message


def test_what_an_orchestrator_does_beyond_rules_and_shares_is_refused() -> None:
    chain = Fallback((Hop("a", (), at(4)),))
    assert said(ruled(fallback=chain)) == ["a fallback chain"]
    able = (Member("a", ("chat",), at(6)), Member("b", ("chat", "code"), at(5)))
    [found] = told(ruled(members=able))
    assert (found.position, found.message) == (
        at(5),
        "the Gateway API cannot express a choice by capability: chat, chat+code",
    )


def test_rules_whose_order_would_take_too_many_matches_are_refused() -> None:
    meeting = [rule(f"r{n}", "ab"[n % 2], condition(Field.HEADER, Operator.EQ, "x", key=f"x-{n}")) for n in range(15)]
    assert said(ruled(*meeting)) == []
    [found] = said(ruled(*meeting, *(rule(f"more-{n}", "a", team(f"t{n}")) for n in range(10))))
    assert found.startswith("the order of the rules of 'auto'")
    long = condition(Field.HEADER, Operator.IN, *(f"t{n}" for n in range(MOST_MATCHES)), key="x-team")
    assert said(ruled(rule("r", "a", long)))[0].startswith("the order of the rules of 'auto'")


def test_a_rule_s_own_settings_are_refused_at_the_rule() -> None:
    own = rule("r", "a", retries=replace(model("a").retries, origin=at(12)))
    assert [found.position for found in told(ruled(own))] == [at(12)]


def test_a_limit_of_bodies_is_refused_where_policy_sets_one() -> None:
    assert said(carried(model("a"), limit_origin=at(8))) == ["maxRequestBytes"]


def test_more_listeners_than_a_gateway_takes_are_refused() -> None:
    hosts = tuple(Host(f"h{n}.example.com", Carrier.GATEWAY_API) for n in range(65))
    assert said(carried(model("a"), hosts=hosts)) == ["65 listeners, one for each host and port; it takes 64"]


def test_a_host_whose_listener_cannot_be_named_is_refused_at_the_host() -> None:
    long = Host(".".join(["a" * 61] * 4), Carrier.GATEWAY_API, at(13))
    [found] = told(carried(model("a"), hosts=(Host("a.example.com", Carrier.GATEWAY_API), long)))
    assert "its listener's name is too long" in found.message
    assert found.position == at(13)


def test_more_versions_than_a_rule_takes_are_refused() -> None:
    many = model("a", *(version(str(n), 5 if n < 16 else 4) for n in range(21)))
    assert said(carried(many)) == ["'model/a': more than 16 versions at a time"]


def test_what_every_such_gateway_lacks_is_told_once() -> None:
    [found] = told(ruled(), Severity.INFO)
    assert found.position == ruled().gateways[0].origin
    assert found.hint == "header model-name, or path /v1/models/<name>"
