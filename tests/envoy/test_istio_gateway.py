"""What is rendered for Istio, put into a real Envoy as istiod would: it does what `evaluate` says, and spares others.

Nothing here says that istiod finds the places that the patches name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compiler.evaluate import evaluate
from compiler.fleet import (
    Carrier,
    Condition,
    Fallback,
    Field,
    Fleet,
    Gateway,
    Host,
    LengthUnit,
    Operator,
    Orchestrator,
    Rule,
    Target,
)
from compiler.request import Sent, read_request
from tests.chance import CHAT, Chance
from tests.envoy.envoy_process import envoy_process, free_port
from tests.envoy.served import Served
from tests.envoy.test_rules import fleet_of_cells, route_name
from tests.envoy.upstream import Upstream, upstreams
from tests.istiod import connection_manager, virtual_host
from tests.xds.translate.fleets import MI, ORIGIN, fleet, gateway, model

FLEETS, REQUESTS = 25, 200
HOST = "mesh.example.com"
JSON = ("content-type", "application/json")


def on_istio(of: Fleet) -> Fleet:
    """The same, carried by Istio, which has no fallback across models (P304)."""
    return replace(of, gateways=tuple(map(_on_istio, of.gateways)))


def _on_istio(of: Gateway) -> Gateway:
    chooser = of.orchestrator and replace(of.orchestrator, fallback=Fallback())
    return replace(of, hosts=(Host(HOST, Carrier.ISTIO),), orchestrator=chooser)


@contextmanager
def istio_gateway(of: Fleet, upstream: Upstream, folder: Path) -> Iterator[Served]:
    """An Envoy with all gateways of `of` on one listener, and beside them hosts of somebody else."""
    names = tuple(at.name for at in of.gateways)
    seen = [
        {"header": {"key": f"x-seen-{name}", "value": f"%REQ({name})%"}}
        for name in ("x-turnout-model", "x-turnout-gateway")
    ]
    foreign = {
        "name": "foreign",
        "domains": ["*"],
        "response_headers_to_add": seen,
        "routes": [
            {"match": {"prefix": "/down"}, "route": {"cluster": "down"}},
            {"match": {"prefix": "/"}, "route": {"cluster": "upstream"}},
        ],
    }
    hosts = [*(virtual_host(of, name, "upstream") for name in names), foreign]
    manager = {"name": "http", "typed_config": connection_manager(of, names, hosts)}
    port = free_port()
    bootstrap: dict[str, Any] = {
        "admin": {"address": _address(0)},
        "static_resources": {
            "listeners": [
                {
                    "name": "http",
                    "address": _address(port),
                    "filter_chains": [{"filters": [manager]}],
                    "per_connection_buffer_limit_bytes": 32768,
                }
            ],
            "clusters": [_cluster("upstream", [upstream.port]), _cluster("down", [])],
        },
    }
    with envoy_process(json.dumps(bootstrap), folder) as envoy:
        yield Served(envoy, port)


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _cluster(name: str, ports: list[int]) -> dict[str, Any]:
    endpoints = [{"endpoint": {"address": _address(port)}} for port in ports]
    return {
        "name": name,
        "connect_timeout": "1s",
        "circuit_breakers": {"thresholds": [{"max_connections": 1024}]},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
    }


def disagreements(of: Fleet, requests: list[Sent], upstream: Upstream, folder: Path) -> list[str]:
    at = of.gateways[0]
    with istio_gateway(of, upstream, folder) as running, ThreadPoolExecutor(4) as pool:
        answers = list(
            pool.map(
                lambda one: running.request(one.method, one.path, one.body, {"host": HOST, **dict(one.headers)}),
                requests,
            )
        )
    found = []
    for sent, answer in zip(requests, answers, strict=True):
        request = read_request(sent, at.length_unit)
        decision = evaluate(of, request, at)
        allowed = {(target.model.name, target.version.name) for target in decision.targets} or {("", "")}
        went = answer.headers.get("x-turnout-model", ""), answer.headers.get("x-turnout-version", "")
        head, sets, tail = answer.headers.get("x-test-route", "no-model").partition("/capability/")
        stream = "/stream" if tail.endswith("/stream") else ""
        route = f"{head}/capability{stream}" if sets else head
        expected = 200 if decision.targets else 404
        if went not in allowed or answer.status != expected or route != route_name(decision, request):
            found.append(
                f"{sent}\nenvoy    {answer.status} {went} by {route}\nevaluate {allowed} {decision.steps[-1:]}"
            )
        elif expected == 404:
            assert answer.error["code"] == "model_not_found"
    return found


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with upstreams("engine") as servers:
        yield servers["engine"]


@pytest.mark.parametrize("seed", range(FLEETS))
def test_rules_rendered_for_istio_choose_what_evaluate_allows(seed: int, upstream: Upstream, tmp_path: Path) -> None:
    chance = Chance(seed)
    of = on_istio(chance.fleet(upstream.port, upstream.port))
    found = disagreements(of, [chance.request() for _ in range(REQUESTS)], upstream, tmp_path)
    assert not found, f"{len(found)} of {REQUESTS}\n{of.gateways[0].orchestrator}\n" + "\n".join(found[:3])


@pytest.mark.parametrize("unit", list(LengthUnit))
def test_every_operator_of_every_field_means_the_same_on_istio(
    unit: LengthUnit, upstream: Upstream, tmp_path: Path
) -> None:
    of, requests = fleet_of_cells(unit, upstream.port)
    found = disagreements(on_istio(of), requests, upstream, tmp_path)
    assert not found, f"{len(found)} of {len(requests)}\n" + "\n".join(found[:3])


def header(key: str, operator: Operator, *values: str) -> Condition:
    return Condition(Field.HEADER, key, operator, values, ORIGIN)


SEVERAL = (header("x-team", Operator.PREFIX, "a"), header("x-team", Operator.CONTAINS, "b"))
ODD_NAME = (header("x.team", Operator.EQ, "ab"),)


def rule(name: str, target: str, conditions: tuple[Condition, ...]) -> Rule:
    base = model("base")
    return Rule(name, 0, conditions, (Target(target, 100),), base.retries, base.timeouts, ORIGIN)


def choosing(name: str, *rules: Rule) -> Orchestrator:
    return Orchestrator(name, rules, LengthUnit.CHARACTERS, (Target("large", 100),), ORIGIN)


def two_gateways() -> Fleet:
    """`mesh` and `other`, each with rules of its own."""
    mesh = gateway(
        ("small", "large"),
        name="mesh",
        hosts=(Host(HOST, Carrier.ISTIO),),
        orchestrator=choosing("auto", rule("several", "small", SEVERAL), rule("odd", "small", ODD_NAME)),
    )
    team = Condition(Field.METADATA, "team", Operator.NE, ("a",), ORIGIN)
    other = gateway(
        ("small",),
        name="other",
        hosts=(Host("other.example.com", Carrier.ISTIO),),
        orchestrator=choosing("pick", rule("team", "small", (team,))),
    )
    return fleet(model("small"), model("large"), gateways=(mesh, other))


@pytest.fixture(scope="module")
def shared(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with istio_gateway(two_gateways(), upstream, tmp_path_factory.mktemp("shared")) as running:
        yield running


@pytest.mark.parametrize(
    ("headers", "chosen"),
    [
        ({"x-team": "ab"}, "small"),
        ({"x-team": "a"}, "large"),
        ({"x-team": "b"}, "large"),
        ({}, "large"),
        ({"x.team": "ab"}, "small"),
        ({"x.team": "a"}, "large"),
    ],
)
def test_conditions_beyond_what_one_match_can_say_hold_too(
    headers: dict[str, str], chosen: str, shared: Served
) -> None:
    answer = shared.request("POST", CHAT, b"{}", {"host": HOST, **headers})
    assert answer.headers["x-turnout-model"] == chosen


def test_a_clients_internal_headers_decide_nothing_and_go_no_further(shared: Served, upstream: Upstream) -> None:
    spoofed = {
        "x-turnout-model": "small",
        "x-turnout-stream": "true",
        "x-turnout-tenant": "somebody",
        "X-Turnout-Copy-1-x_2eteam": "ab",
        "x-turnout-cluster": "upstream",
    }
    named = shared.request("POST", CHAT, b'{"model": "large"}', {"host": HOST, **spoofed})
    assert (named.headers["x-turnout-model"], named.headers["x-test-route"]) == ("large", "model/large")
    told = upstream.received[-1].headers
    assert {name: value for name, value in told.items() if name.startswith("x-turnout-")} == {
        "x-turnout-model": "large",
        "x-turnout-gateway": "mesh",
    }
    unnamed = shared.request("GET", "/files", None, {"host": HOST, **spoofed})
    assert (unnamed.status, unnamed.error["code"]) == (404, "model_not_found")
    listed = shared.request("GET", "/v1/models", None, {"host": HOST, **spoofed})
    assert listed.headers["x-test-route"] == "models"


def test_gateways_that_share_a_listener_keep_to_their_own_requests(shared: Served, upstream: Upstream) -> None:
    of_a = b'{"metadata": {"team": "a"}}'
    of_b = b'{"metadata": {"team": "b"}}'
    answers = [shared.request("POST", CHAT, body, {"host": "other.example.com"}) for body in (of_a, of_b)]
    assert [answer.headers["x-test-route"] for answer in answers] == [
        "orchestrator/pick",
        "orchestrator/pick/rule/team",
    ]
    assert upstream.received[-1].headers["x-turnout-gateway"] == "other"
    at_mesh = shared.request("POST", CHAT, b'{"model": "pick"}', {"host": HOST})
    assert at_mesh.headers["x-test-route"] == "unknown-model"


def test_requests_to_somebody_elses_hosts_pass_as_they_are(shared: Served, upstream: Upstream) -> None:
    own = {"host": "shop.example.com", "x-turnout-model": "theirs", "content-type": "application/json"}
    answer = shared.request("POST", CHAT, b"{not JSON", own)
    assert (answer.status, upstream.received[-1].body) == (200, b"{not JSON")
    assert answer.headers["x-seen-x-turnout-model"] == "theirs"
    assert "x-turnout-gateway" not in upstream.received[-1].headers
    assert shared.request("POST", CHAT, b'"' + b"x" * 5 * MI + b'"', own).status == 200


def test_errors_of_somebody_elses_hosts_are_not_reworded(shared: Served) -> None:
    answer = shared.request("GET", "/down", None, {"host": "shop.example.com"})
    assert (answer.status, answer.body) == (503, b"no healthy upstream")


def test_bodies_are_held_up_to_the_gateways_limit_whatever_the_listeners(shared: Served) -> None:
    fits, too_large = (b'{"prompt": "' + b"x" * size + b'"}' for size in (3 * MI, 5 * MI))
    assert shared.request("POST", CHAT, fits, {"host": HOST}).headers["x-turnout-model"] == "large"
    refused = shared.request("POST", CHAT, too_large, {"host": HOST})
    assert (refused.status, refused.error["code"]) == (413, "request_too_large")


def test_a_body_that_is_no_json_is_refused(shared: Served) -> None:
    answer = shared.request("POST", CHAT, b"{", {"host": HOST})
    assert (answer.status, answer.error["code"]) == (400, "invalid_json")


def test_the_script_has_no_fault(shared: Served) -> None:
    assert set(shared.envoy.stats("lua.errors").values()) <= {0}
