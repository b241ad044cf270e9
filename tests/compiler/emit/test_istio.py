"""Hosts that Istio carries: their routes, the settings of their clusters, and what Istio cannot do."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from compiler.diagnostics import Severity
from compiler.emit import istio
from compiler.emit.object import Object
from compiler.fleet import (
    Carrier,
    ConnectionPool,
    Fleet,
    HashAlgorithm,
    HashKey,
    HashSource,
    Host,
    LengthUnit,
    LoadBalancing,
    Orchestrator,
    OutlierDetection,
    Retries,
    SlowStart,
    Strategy,
    Target,
)
from tests.compiler.emit.fleets import at, fleet, gateway, model, seconds, version
from tests.manifests.schemas import validate

NO_SLOW_START = SlowStart(seconds(0), 10)


def bodies(value: Fleet, kind: str) -> dict[str, Any]:
    return {
        item.body["metadata"]["name"]: item.body["spec"] for item in istio.objects(value) if item.body["kind"] == kind
    }


def policy(owned: Any) -> Any:
    return next(iter(bodies(fleet(owned), "DestinationRule").values()))["trafficPolicy"]


def http(value: Fleet) -> list[Any]:
    routes: list[Any] = bodies(value, "VirtualService")["mesh"]["http"]
    return routes


def answer(routes: list[Any], path: str, method: str = "POST", header: str | None = None) -> Any:
    """The route that Istio takes: the first with a match whose every condition holds."""
    headers = {} if header is None else {"model-name": header}
    return next(route for route in routes if any(_matches(m, path, method, headers) for m in route.get("match", [{}])))


def _matches(match: Mapping[str, Any], path: str, method: str, headers: Mapping[str, str]) -> bool:
    values = {"uri": path, "method": method}
    return (
        all(_fits(match[key], value) for key, value in values.items() if key in match)
        and all(key in headers and _fits(how, headers[key]) for key, how in match.get("headers", {}).items())
        and all(key not in headers for key in match.get("withoutHeaders", {}))
    )


def _fits(how: Mapping[str, str], value: str) -> bool:
    for kind, text in how.items():
        match kind:
            case "exact":
                return value == text
            case "prefix":
                return value.startswith(text)
            case "regex":
                return re.fullmatch(text, value) is not None
    return True


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
    ("path", "header", "route"),
    [
        ("/v1/chat/completions", "llama", "model/llama"),
        ("/v1/chat/completions", "llama-70b", "model/llama-70b"),
        ("/v1/chat/completions", "big.llama", "model/llama-70b"),
        ("/v1/models/llama", None, "model/llama"),
        ("/v1/models/llama/predict", None, "model/llama"),
        ("/v1/models/llama-70b/predict", None, "model/llama-70b"),
        ("/v1/models/llama-70", None, "unknown-model"),
        ("/v1/models/bigxllama/predict", None, "unknown-model"),
        ("/v1/models/llama/predict", "llama-70b", "model/llama-70b"),
        ("/v1/models/llama/predict", "gone", "unknown-model"),
        ("/v1/chat/completions", "gone", "unknown-model"),
        ("/v1/chat/completions", "auto", "orchestrator/auto"),
        ("/v1/models/auto/predict", None, "orchestrator/auto"),
        ("/v1/chat/completions", None, "orchestrator/auto/default"),
        ("/v1/embeddings", None, "orchestrator/auto/default"),
        ("/v1/files", None, "no-model"),
        ("/", None, "no-model"),
    ],
)
def test_a_request_goes_where_header_else_path_else_the_default_says(path: str, header: str | None, route: str) -> None:
    assert answer(http(two_llamas()), path, header=header)["name"] == route


def test_get_v1_models_lists_every_name_a_client_may_use() -> None:
    listed = answer(http(two_llamas()), "/v1/models", "GET")["directResponse"]
    assert listed["status"] == 200
    assert re.findall(r'"id":"([^"]+)"', listed["body"]["string"]) == ["auto", "big.llama", "llama", "llama-70b"]


def test_an_unknown_model_is_an_openai_shaped_404() -> None:
    route = answer(http(two_llamas()), "/v1/chat/completions", header="gone")
    assert route["directResponse"]["status"] == 404
    assert '"code":"model_not_found"' in route["directResponse"]["body"]["string"]
    assert route["headers"]["response"]["set"] == {"content-type": "application/json"}


def test_without_an_orchestrator_a_request_for_no_model_is_a_404() -> None:
    assert answer(http(fleet(model("llama"))), "/v1/chat/completions")["name"] == "no-model"


def test_whole_percents_sum_to_100_and_others_to_10000() -> None:
    versions = (version("1", 90), version("2", 10))
    auto = Orchestrator("auto", (), LengthUnit.CHARACTERS, (Target("a", 75), Target("b", 25)), at(1))
    mesh = replace(gateway("mesh", "a", "b"), orchestrator=auto)
    routes = http(fleet(model("a", *versions), model("b"), gateways=(mesh,)))
    weights = {route["name"]: [d["weight"] for d in route["route"]] for route in routes if "route" in route}
    assert weights["model/a"] == [90, 10]
    assert weights["orchestrator/auto"] == weights["orchestrator/auto/default"] == [6750, 750, 2500]


def test_a_version_without_weight_gets_no_destination_but_keeps_its_rule() -> None:
    value = fleet(model("a", version("1", 100), version("2", 0)))
    [route] = [route for route in http(value) if "route" in route]
    assert [d["destination"]["host"] for d in route["route"]] == ["a-1.ai-inference.svc.cluster.local"]
    assert sorted(bodies(value, "DestinationRule")) == ["a-1", "a-2"]


def test_an_answer_tells_who_gave_it() -> None:
    [destination] = answer(http(two_llamas()), "/", header="llama")["route"]
    assert destination["headers"]["response"]["set"] == {"x-turnout-model": "llama", "x-turnout-version": "1"}


def test_no_try_has_a_limit_of_its_own_and_streams_are_not_cut() -> None:
    """A try's limit kills any longer generation and starts it again on another GPU."""
    route = answer(http(two_llamas()), "/", header="llama")
    assert route["timeout"] == "3600s"
    assert "perTryTimeout" not in str(http(two_llamas()))


def test_retries_are_written_and_leave_the_failed_host_and_tier() -> None:
    assert answer(http(two_llamas()), "/", header="llama")["retries"] == {
        "attempts": 3,
        "retryOn": "connect-failure,refused-stream,reset,500,502,503",
        "backoff": "25ms",
        "retryIgnorePreviousHosts": True,
        "retryRemoteLocalities": True,
    }


def test_no_retries_are_written_too_because_istio_retries_by_default() -> None:
    never = replace(model("llama"), retries=Retries(0, ("reset",), (), seconds(0.025)))
    assert answer(http(fleet(never)), "/", header="llama")["retries"] == {"attempts": 0}


def test_a_model_of_another_namespace_is_reached_by_its_full_name() -> None:
    value = fleet(replace(model("llama"), namespace="elsewhere"))
    [destination] = answer(http(value), "/", header="llama")["route"]
    assert destination["destination"]["host"] == "llama-1.elsewhere.svc.cluster.local"
    assert destination["destination"]["port"] == {"number": 80}


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
    assert list(istio.objects(value)) == []
    assert list(istio.diagnostics(value)) == []


def test_a_model_of_two_gateways_has_one_rule() -> None:
    value = fleet(model("a"), gateways=(gateway("one", "a"), gateway("two", "a")))
    assert [item.key for item in istio.objects(value) if item.body["kind"] == "DestinationRule"] == [
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
    return [(d.code, d.severity) for d in istio.diagnostics(value)]


EVERY_HOST = [("P301", Severity.WARNING), ("P310", Severity.INFO)]


def test_every_istio_host_is_told_what_it_lacks() -> None:
    two = replace(
        gateway("mesh", "a"), hosts=(Host("a.example.com", Carrier.ISTIO), Host("b.example.com", Carrier.ISTIO))
    )
    told = list(istio.diagnostics(fleet(model("a"), gateways=(two,))))
    assert [(d.code, d.hint) for d in told] == [
        ("P301", "own Envoys for a.example.com"),
        ("P301", "own Envoys for b.example.com"),
        ("P310", ""),
    ]


def test_weighted_random_is_refused() -> None:
    value = fleet(replace(model("a"), load_balancing=balancing(Strategy.WEIGHTED_RANDOM)))
    assert found(value) == [*EVERY_HOST, ("P303", Severity.ERROR)]
    assert list(istio.objects(value))


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
