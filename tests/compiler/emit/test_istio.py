"""Hosts that Istio carries: their routes, the settings of their clusters, and what Istio cannot do."""

from __future__ import annotations

import copy
import re
from dataclasses import replace
from typing import Any

import pytest

from compiler.diagnostics import Severity
from compiler.emit import istio
from compiler.emit.object import Object
from compiler.evaluate import evaluate
from compiler.fleet import (
    Carrier,
    Condition,
    ConnectionPool,
    Fallback,
    Fault,
    Field,
    Fleet,
    HashAlgorithm,
    HashKey,
    HashSource,
    Hop,
    Host,
    LengthUnit,
    LoadBalancing,
    Member,
    Mirror,
    Operator,
    Orchestrator,
    OutlierDetection,
    Retries,
    Rule,
    SlowStart,
    Strategy,
    Target,
    Timeouts,
)
from compiler.kept import Kept
from compiler.request import Request, read_request
from tests.chance import Chance
from tests.compiler.emit.fleets import at, fleet, gateway, model, seconds, version
from tests.istio_matches import headers_after_the_pass, is_plain_name, route_of
from tests.manifests.schemas import validate

CHAT = "/v1/chat/completions"
NO_SLOW_START = SlowStart(seconds(0), 10)


def bodies(value: Fleet, kind: str) -> dict[str, Any]:
    return {
        item.body["metadata"]["name"]: item.body["spec"]
        for item in istio.objects(value, Kept())
        if item.body["kind"] == kind
    }


def policy(owned: Any) -> Any:
    return next(iter(bodies(fleet(owned), "DestinationRule").values()))["trafficPolicy"]


def http(value: Fleet) -> list[Any]:
    routes: list[Any] = bodies(value, "VirtualService")["mesh"]["http"]
    return routes


def answer(value: Fleet, path: str = CHAT, method: str = "POST", **parts: Any) -> Any:
    """The route that Istio takes for a request."""
    mesh = next(g for g in value.gateways if g.name == "mesh")
    request = Request(method=method, path=path, **parts)
    return route_of(http(value), headers_after_the_pass(value, mesh, request))


def two_llamas() -> Fleet:
    auto = Orchestrator(
        "auto",
        (),
        LengthUnit.CHARACTERS,
        (Target("llama", 75), Target("llama-70b", 25)),
        at(1, "policies/routing.yaml"),
    )
    mesh = replace(gateway("mesh", "llama", "llama-70b"), orchestrator=auto)
    return fleet(model("llama"), replace(model("llama-70b"), aliases=("big.llama",)), gateways=(mesh,))


# Routes


@pytest.mark.parametrize(
    ("path", "named", "route"),
    [
        (CHAT, "llama", "model/llama"),
        (CHAT, "llama-70b", "model/llama-70b"),
        (CHAT, "big.llama", "model/llama-70b"),
        (CHAT, "bigxllama", "unknown-model"),
        (CHAT, "gone", "unknown-model"),
        (CHAT, "auto", "orchestrator/auto"),
        (CHAT, None, "orchestrator/auto"),
        ("/v1/embeddings", None, "orchestrator/auto"),
        ("/v1/models/auto/predict", "auto", "orchestrator/auto"),
        ("/v1/files", None, "no-model"),
        ("/", None, "no-model"),
    ],
)
def test_a_request_goes_where_its_model_says_else_to_the_default(path: str, named: str | None, route: str) -> None:
    assert answer(two_llamas(), path, model=named)["name"] == route
    stream = answer(two_llamas(), path, model=named, stream=True)["name"]
    assert stream == (route if route in ("unknown-model", "no-model") else f"{route}/stream")


def test_get_v1_models_lists_every_name_a_client_may_use() -> None:
    listed = answer(two_llamas(), "/v1/models", "GET")["directResponse"]
    assert listed["status"] == 200
    assert re.findall(r'"id":"([^"]+)"', listed["body"]["string"]) == ["auto", "big.llama", "llama", "llama-70b"]


def test_an_unknown_model_is_an_openai_shaped_404() -> None:
    route = answer(two_llamas(), model="gone")
    assert route["directResponse"]["status"] == 404
    assert '"code":"model_not_found"' in route["directResponse"]["body"]["string"]
    assert route["headers"]["response"]["set"] == {"content-type": "application/json"}


def test_without_an_orchestrator_a_request_for_no_model_is_a_404() -> None:
    assert answer(fleet(model("llama")))["name"] == "no-model"


def test_whole_percents_sum_to_100_and_others_to_10000() -> None:
    versions = (version("1", 90), version("2", 10))
    auto = Orchestrator("auto", (), LengthUnit.CHARACTERS, (Target("a", 75), Target("b", 25)), at(1))
    mesh = replace(gateway("mesh", "a", "b"), orchestrator=auto)
    routes = http(fleet(model("a", *versions), model("b"), gateways=(mesh,)))
    weights = {route["name"]: [d["weight"] for d in route["route"]] for route in routes if "route" in route}
    assert weights["model/a"] == [90, 10]
    assert weights["orchestrator/auto"] == weights["orchestrator/auto/stream"] == [6750, 750, 2500]


def test_a_version_without_weight_gets_no_destination_but_keeps_its_rule() -> None:
    value = fleet(model("a", version("1", 100), version("2", 0)))
    for route in (route for route in http(value) if "route" in route):
        assert [d["destination"]["host"] for d in route["route"]] == ["a-1.ai-inference.svc.cluster.local"]
    assert sorted(bodies(value, "DestinationRule")) == ["a-1", "a-2"]


def test_an_answer_tells_who_gave_it() -> None:
    [destination] = answer(two_llamas(), model="llama")["route"]
    assert destination["headers"]["response"]["set"] == {"x-turnout-model": "llama", "x-turnout-version": "1"}


def test_only_a_stream_has_a_limit_for_one_try_and_none_for_the_whole() -> None:
    """A try's limit kills any longer generation and starts it again on another GPU."""
    whole, stream = answer(two_llamas(), model="llama"), answer(two_llamas(), model="llama", stream=True)
    assert whole["timeout"] == "300s"
    assert "perTryTimeout" not in whole["retries"]
    assert "timeout" not in stream
    assert stream["retries"]["perTryTimeout"] == "60s"


def test_limits_of_zero_are_none() -> None:
    """The CRD refuses `0s`."""
    endless = replace(model("llama"), timeouts=Timeouts(seconds(0), seconds(0), seconds(0), seconds(0)))
    value = fleet(replace(endless, retries=Retries(1, ("reset",), (), seconds(0.025))))
    routes = [answer(value, model="llama"), answer(value, model="llama", stream=True)]
    assert not any("timeout" in route or "perTryTimeout" in route["retries"] for route in routes)
    assert not any(validate(item.body) for item in istio.objects(value, Kept()))


def test_retries_are_written_and_leave_the_failed_host_and_tier() -> None:
    assert answer(two_llamas(), model="llama")["retries"] == {
        "attempts": 3,
        "retryOn": "connect-failure,refused-stream,reset,500,502,503",
        "backoff": "25ms",
        "retryIgnorePreviousHosts": True,
        "retryRemoteLocalities": True,
    }


def test_no_retries_are_written_too_because_istio_retries_by_default() -> None:
    never = replace(model("llama"), retries=Retries(0, ("reset",), (), seconds(0.025)))
    assert answer(fleet(never), model="llama")["retries"] == {"attempts": 0}
    assert answer(fleet(never), model="llama", stream=True)["retries"] == {"attempts": 0}


def test_a_model_of_another_namespace_is_reached_by_its_full_name() -> None:
    value = fleet(replace(model("llama"), namespace="elsewhere"))
    [destination] = answer(value, model="llama")["route"]
    assert destination["destination"]["host"] == "llama-1.elsewhere.svc.cluster.local"
    assert destination["destination"]["port"] == {"number": 80}


# Rules


def rule(*conditions: Condition, mirror: Mirror | None = None, fault: Fault | None = None) -> Rule:
    of = model("a")
    return Rule("r", 0, conditions, (Target("a", 100),), of.retries, of.timeouts, at(7), mirror, fault)


def ruled(*rules: Rule) -> Fleet:
    """Models a and b; b is the default."""
    auto = Orchestrator("auto", rules, LengthUnit.CHARACTERS, (Target("b", 100),), at(1))
    return fleet(model("a"), model("b"), gateways=(replace(gateway("mesh", "a", "b"), orchestrator=auto),))


def on_istio(of: Fleet) -> Fleet:
    """Carried by Istio, which has no fallback across models."""
    [at_first] = of.gateways
    assert at_first.orchestrator is not None
    auto = replace(at_first.orchestrator, fallback=Fallback())
    return replace(
        of, gateways=(replace(at_first, hosts=(Host("mesh", Carrier.ISTIO),), orchestrator=auto, name="mesh"),)
    )


@pytest.mark.parametrize("seed", range(100))
def test_routes_choose_what_evaluate_allows(seed: int) -> None:
    chance = Chance(seed)
    of = on_istio(chance.fleet(1, 2))
    [mesh] = of.gateways
    written = http(of)
    for _ in range(100):
        request = read_request(chance.request(), mesh.length_unit)
        decision = evaluate(of, request, mesh)
        taken = route_of(written, headers_after_the_pass(of, mesh, request))
        shares = {d["destination"]["host"].split(".")[0]: d["weight"] for d in taken.get("route", [])}
        expected = {f"{t.model.name}-{t.version.name}": t.share for t in decision.targets}
        total = sum(shares.values())
        assert {host: weight * 10_000 // total for host, weight in shares.items()} == expected, (request, taken["name"])
        if decision.rule:
            assert f"/rule/{decision.rule}" in taken["name"], request


@pytest.mark.parametrize("seed", range(30))
def test_what_istio_validates_beyond_its_schema_holds(seed: int) -> None:
    of = on_istio(Chance(seed).fleet(1, 2))
    assert not [complaint for item in istio.objects(of, Kept()) for complaint in validate(item.body)]
    for match in (match for route in http(of) for match in route.get("match", [])):
        for name, how in (*match.get("headers", {}).items(), *match.get("withoutHeaders", {}).items()):
            assert is_plain_name(name)
            assert how == {} or next(iter(how.values())) or "exact" in how


def test_not_equal_needs_the_header_to_be_there() -> None:
    condition = Condition(Field.HEADER, "x-team", Operator.NE, ("red",), at(1))
    [match] = next(r for r in http(ruled(rule(condition))) if r["name"] == "orchestrator/auto/rule/r")["match"]
    assert match["headers"]["x-team"] == {}
    assert match["withoutHeaders"] == {"x-team": {"exact": "red"}}


def test_numbers_are_compared_by_the_digits_they_are_written_in() -> None:
    long = rule(Condition(Field.PROMPT_LENGTH, "", Operator.GT, (2000,), at(1)))
    routes = {length: answer(ruled(long), prompt_length=length)["name"] for length in (1999, 2000, 2001, 10_000)}
    assert [name.removeprefix("orchestrator/auto") for name in routes.values()] == ["", "", "/rule/r", "/rule/r"]


def test_a_header_that_one_rule_asks_about_twice_is_asked_of_a_copy() -> None:
    bounds = (Condition(Field.PROMPT_LENGTH, "", op, (n,), at(1)) for op, n in ((Operator.GE, 5), (Operator.LT, 9)))
    value = ruled(rule(*bounds))
    [match] = next(r for r in http(value) if r["name"] == "orchestrator/auto/rule/r")["match"]
    assert list(match["headers"]) == [
        "x-turnout-model",
        "x-turnout-prompt-length",
        "x-turnout-copy-1-x-turnout-prompt-length",
    ]
    assert [answer(value, prompt_length=n)["name"].endswith("/r") for n in (4, 5, 8, 9)] == [False, True, True, False]


@pytest.mark.parametrize(("asked", "taken"), [(True, [True, False]), (False, [False, True])])
def test_a_rule_about_streams_has_one_route(asked: bool, taken: list[bool]) -> None:
    value = ruled(rule(Condition(Field.STREAM, "", Operator.EQ, (asked,), at(1))))
    assert ["/rule/r" in answer(value, stream=stream)["name"] for stream in (True, False)] == taken
    assert len([r for r in http(value) if "/rule/r" in r["name"]]) == 1


def test_copies_go_to_every_version_by_its_share_and_have_a_destination_rule() -> None:
    value = ruled(rule(mirror=Mirror("shadow", None, 10)))
    shadow = model("shadow", version("1", 75), version("2", 25))
    mirrored = replace(value, models=(*value.models, shadow))
    assert answer(mirrored)["mirrors"] == [
        {
            "destination": {"host": f"shadow-{name}.ai-inference.svc.cluster.local", "port": {"number": 80}},
            "percentage": {"value": percent},
        }
        for name, percent in (("1", 7.5), ("2", 2.5))
    ]
    assert {"shadow-1", "shadow-2"} <= set(bodies(mirrored, "DestinationRule"))
    assert not [complaint for item in istio.objects(mirrored, Kept()) for complaint in validate(item.body)]


def test_drills_are_written_and_a_part_of_zero_percent_is_not() -> None:
    both = ruled(rule(fault=Fault(5, seconds(2), 1, 503)))
    assert answer(both)["fault"] == {
        "delay": {"percentage": {"value": 5}, "fixedDelay": "2s"},
        "abort": {"percentage": {"value": 1}, "httpStatus": 503},
    }
    assert not [complaint for item in istio.objects(both, Kept()) for complaint in validate(item.body)]
    assert answer(ruled(rule(fault=Fault(0, seconds(0), 1, 503))))["fault"] == {
        "abort": {"percentage": {"value": 1}, "httpStatus": 503}
    }


# What is rendered for whom


def test_only_the_hosts_that_istio_carries_are_in_its_objects() -> None:
    both = replace(
        gateway("mesh", "a"), hosts=(Host("i.example.com", Carrier.ISTIO), Host("e.example.com", Carrier.ENVOY))
    )
    value = fleet(model("a"), gateways=(both,))
    assert bodies(value, "VirtualService")["mesh"]["hosts"] == ["i.example.com"]
    assert bodies(value, "Gateway")["mesh"]["servers"][0]["hosts"] == ["i.example.com"]


def test_a_fleet_on_own_envoys_has_no_istio_object_and_no_istio_diagnostic() -> None:
    tiered = replace(version(), hot=1)
    random = replace(model("a", tiered), load_balancing=balancing(Strategy.WEIGHTED_RANDOM))
    value = fleet(random, gateways=(gateway("own", "a", carrier=Carrier.ENVOY),))
    assert list(istio.objects(value, Kept())) == []
    assert list(istio.diagnostics(value, Kept())) == []


def test_a_model_of_two_gateways_has_one_rule() -> None:
    value = fleet(model("a"), gateways=(gateway("one", "a"), gateway("two", "a")))
    assert [item.key for item in istio.objects(value, Kept()) if item.body["kind"] == "DestinationRule"] == [
        "networking.istio.io/v1/DestinationRule/ai-inference/a-1"
    ]


def test_each_rule_is_for_one_service_and_none_overlap(objects: tuple[Object, ...]) -> None:
    """A more specific rule replaces a wildcard's, it does not add to it."""
    rules = [item.body["spec"] for item in objects if item.body["kind"] == "DestinationRule"]
    services = {
        f"{item.body['metadata']['name']}.{item.body['metadata']['namespace']}.svc.cluster.local"
        for item in objects
        if item.body["kind"] == "Service"
    }
    hosts = [rule["host"] for rule in rules]
    assert len(set(hosts)) == len(hosts)
    assert set(hosts) <= services
    assert not any("subsets" in rule for rule in rules)


def test_no_weight_goes_to_a_standby(objects: tuple[Object, ...]) -> None:
    """Destinations are versions; tiers are priorities within one."""
    active = {item.body["metadata"]["name"] for item in objects if item.body["kind"] == "Service"}
    for item in objects:
        if item.body["kind"] == "VirtualService":
            routes = [route for route in item.body["spec"]["http"] if "route" in route]
            hosts = {d["destination"]["host"].split(".")[0] for route in routes for d in route["route"]}
            assert hosts <= active


@pytest.mark.parametrize(
    "field",
    [
        {"fault": {"abort": {"percent": 0, "httpStatus": 503}}},
        {"fault": {"abort": {"percentage": {"value": 1}, "httpCode": 503}}},
    ],
)
def test_fields_that_istio_does_not_know_are_refused(field: dict[str, Any], objects: tuple[Object, ...]) -> None:
    """`abort.percent` is in no CRD, and would be dropped in silence."""
    body = copy.deepcopy(dict(next(item.body for item in objects if item.body["kind"] == "VirtualService")))
    body["spec"]["http"][1].update(field)
    assert any("unknown field" in complaint for complaint in validate(body))


def test_no_deprecated_mirror_field_is_written(objects: tuple[Object, ...]) -> None:
    assert not any("mirrorPercent'" in str(item.body) or "mirror_percent" in str(item.body) for item in objects)


def test_a_listener_with_tls_names_its_secret(objects: tuple[Object, ...]) -> None:
    [mesh] = [o.body for o in objects if o.body["kind"] == "Gateway" and o.body["metadata"]["name"] == "mesh"]
    assert mesh["spec"]["servers"] == [
        {
            "port": {"number": 443, "name": "https-443", "protocol": "HTTPS"},
            "hosts": ["mesh.example.com"],
            "tls": {"mode": "SIMPLE", "credentialName": "mesh-tls"},
        },
        {"port": {"number": 80, "name": "http-80", "protocol": "HTTP"}, "hosts": ["mesh.example.com"]},
    ]


# Settings of clusters


def balancing(strategy: Strategy, key: HashKey | None = None, slow_start: SlowStart = NO_SLOW_START) -> LoadBalancing:
    return LoadBalancing(strategy, key, HashAlgorithm.MAGLEV, slow_start)


def test_each_strategy_is_written() -> None:
    simple = {
        strategy: policy(replace(model("a"), load_balancing=balancing(strategy)))["loadBalancer"]["simple"]
        for strategy in (Strategy.LEAST_CONNECTIONS, Strategy.ROUND_ROBIN)
    }
    assert simple == {"least_connections": "LEAST_REQUEST", "round_robin": "ROUND_ROBIN"}


@pytest.mark.parametrize(
    ("source", "written"),
    [
        (HashSource.HEADER, {"httpHeaderName": "session"}),
        (HashSource.COOKIE, {"httpCookie": {"name": "session", "ttl": "0s"}}),
        (HashSource.QUERY_PARAMETER, {"httpQueryParameterName": "session"}),
    ],
)
@pytest.mark.parametrize(
    ("algorithm", "table"),
    [
        (HashAlgorithm.MAGLEV, {"maglev": {"tableSize": 65537}}),
        (HashAlgorithm.RING_HASH, {"ringHash": {"minimumRingSize": 1024}}),
    ],
)
def test_a_hash_names_its_key_and_its_table(
    source: HashSource, written: dict[str, Any], algorithm: HashAlgorithm, table: dict[str, Any]
) -> None:
    hashed = LoadBalancing(Strategy.CONSISTENT_HASH, HashKey(source, "session"), algorithm, NO_SLOW_START)
    made = policy(replace(model("a"), load_balancing=hashed))["loadBalancer"]
    assert made == {"consistentHash": {**written, **table}, "localityLbSetting": {"enabled": False}}


def test_slow_start_is_written_where_it_is_on() -> None:
    slow = balancing(Strategy.ROUND_ROBIN, slow_start=SlowStart(seconds(60), 20))
    assert policy(replace(model("a"), load_balancing=slow))["loadBalancer"]["warmup"] == {
        "duration": "60s",
        "minimumPercent": 20,
        "aggression": 1,
    }
    assert "warmup" not in policy(model("a"))["loadBalancer"]


def test_tiers_are_priorities_and_without_them_istios_zone_failover_is_off() -> None:
    plain, tiered = policy(model("a")), policy(model("a", replace(version(), cold=1)))
    assert plain["loadBalancer"]["localityLbSetting"] == {"enabled": False}
    assert tiered["loadBalancer"]["localityLbSetting"] == {
        "enabled": True,
        "failoverPriority": ["turnout.dev/le-warm=true", "turnout.dev/le-hot=true", "turnout.dev/le-active=true"],
    }


def test_limits_are_written_and_zero_is_no_limit() -> None:
    limited = replace(version(), connection_pool=ConnectionPool(1, 2, 3, 4, seconds(0.25)))
    assert policy(model("a", limited))["connectionPool"] == {
        "tcp": {"maxConnections": 1, "connectTimeout": "250ms"},
        "http": {
            "http1MaxPendingRequests": 2,
            "http2MaxRequests": 3,
            "maxRequestsPerConnection": 4,
            "h2UpgradePolicy": "DO_NOT_UPGRADE",
            "idleTimeout": "3600s",
        },
    }
    free = replace(version(), connection_pool=ConnectionPool(0, 0, 0, 0, seconds(1)))
    assert policy(model("a", free))["connectionPool"]["tcp"] == {"connectTimeout": "1s"}


def test_ejection_is_written_in_full_also_where_it_is_off() -> None:
    """50 % of one instance ejects none, and Istio's own default is 10 %."""
    off = policy(replace(model("a"), outlier_detection=OutlierDetection(0, seconds(10), seconds(60), 100)))
    on = policy(model("a"))
    assert on["outlierDetection"] == {
        "consecutive5xxErrors": 5,
        "consecutiveGatewayErrors": 0,
        "splitExternalLocalOriginErrors": False,
        "interval": "10s",
        "baseEjectionTime": "60s",
        "maxEjectionPercent": 100,
        "minHealthPercent": 0,
    }
    assert off["outlierDetection"] == on["outlierDetection"] | {"consecutive5xxErrors": 0}
    assert on["retryBudget"] == {"percent": 100, "minRetryConcurrency": 100}


# Diagnostics


def found(value: Fleet) -> list[tuple[str, Severity]]:
    return [(d.code, d.severity) for d in istio.diagnostics(value, Kept())]


EVERY_HOST = [("P310", Severity.INFO)]


def test_a_match_that_istio_refuses_for_its_length_is_refused() -> None:
    names = tuple(f"somebody-{number}" for number in range(100))
    long = rule(Condition(Field.HEADER, "x-user", Operator.IN, names, at(7)))
    [told] = [d for d in istio.diagnostics(ruled(long), Kept()) if d.code == "P301"]
    assert told.severity is Severity.ERROR
    assert told.position == at(7)
    assert "orchestrator/auto/rule/r" in told.message
    assert told.hint == "own Envoys for mesh.example.com"


def test_a_fallback_chain_is_refused_and_a_choice_among_able_models_warned_of() -> None:
    able = tuple(Member(name, ("chat",), at(1)) for name in ("a", "b"))
    chain = Fallback((Hop("a", (), at(9)),))
    value = ruled()
    [mesh] = value.gateways
    assert mesh.orchestrator is not None
    auto = replace(mesh.orchestrator, members=able, fallback=chain)
    told = list(istio.diagnostics(replace(value, gateways=(replace(mesh, orchestrator=auto),)), Kept()))
    assert [(d.code, d.severity) for d in told] == [
        ("P304", Severity.ERROR),
        ("P304", Severity.WARNING),
        ("P310", Severity.INFO),
    ]
    assert told[0].position == at(9)
    assert "for chat it asks model a, healthy or not, and never b" in told[1].message


def test_weighted_random_is_refused() -> None:
    value = fleet(replace(model("a"), load_balancing=balancing(Strategy.WEIGHTED_RANDOM)))
    assert found(value) == [*EVERY_HOST, ("P303", Severity.ERROR)]
    assert list(istio.objects(value, Kept()))


@pytest.mark.parametrize(("attempts", "warned"), [(4, False), (3, True)])
def test_retries_that_cannot_reach_the_last_tier_are_warned_of(attempts: int, warned: bool) -> None:
    tiered = replace(
        model("a", replace(version(), hot=1, cold=1)), retries=Retries(attempts, ("reset",), (), seconds(1))
    )
    expected = [("P311", Severity.WARNING)] if warned else []
    assert found(fleet(tiered)) == [*EVERY_HOST, *expected, ("P313", Severity.INFO)]


def test_tiers_without_ejection_are_refused() -> None:
    off = OutlierDetection(0, seconds(10), seconds(60), 100)
    tiered = replace(model("a", replace(version(), hot=1)), outlier_detection=off)
    assert found(fleet(tiered)) == [*EVERY_HOST, ("P312", Severity.ERROR), ("P313", Severity.INFO)]


def test_a_model_without_tiers_needs_no_ejection() -> None:
    off = OutlierDetection(0, seconds(10), seconds(60), 100)
    assert found(fleet(replace(model("a"), outlier_detection=off))) == EVERY_HOST


def test_a_model_that_only_the_orchestrator_reaches_is_looked_at() -> None:
    auto = Orchestrator("auto", (), LengthUnit.CHARACTERS, (Target("a", 100),), at(1))
    mesh = replace(gateway("mesh"), orchestrator=auto)
    random = replace(model("a"), load_balancing=balancing(Strategy.WEIGHTED_RANDOM))
    assert ("P303", Severity.ERROR) in found(fleet(random, gateways=(mesh,)))
