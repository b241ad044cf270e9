"""Recorded requests, and where a change moves them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.diff.classes import request_classes
from compiler.diff.profile import read_profile
from compiler.diff.weighing import Weighed, moved, weighed
from compiler.diff.words import differences
from compiler.fleet import Fleet
from tests.compiler.policies import document, fleet, model

GATEWAY = document("Gateway", "public", "hosts: [a.example.com]")
ENDPOINTS = "endpoints: [{address: 10.0.0.1, port: 8000}]"
ROUTING = """
gateway: public
models: [{{name: small}}, {{name: large}}]
routing:
  defaultModel: small
  rules:
    - {{name: long, conditions: [{{field: prompt_length, operator: gt, value: {length}}}], target: large}}
"""


def routed(length: int, *documents: str) -> Fleet:
    orchestrator = document("ModelOrchestrator", "auto", ROUTING.format(length=length))
    return fleet(model("small"), model("large"), orchestrator, *(documents or (GATEWAY,)))


def weigh(before: Fleet, after: Fleet, *lines: dict[str, object]) -> Weighed:
    profile = read_profile(map(json.dumps, lines), "requests.jsonl")
    return weighed(before, after, profile, request_classes(before, after).found)


def test_requests_are_counted_where_they_went_and_where_they_go() -> None:
    found = weigh(
        routed(2000),
        routed(1000),
        {"prompt_length": 500, "count": 90},
        {"prompt_length": 1500, "count": 9},
        {"prompt_length": 2500},
    )
    assert (found.requests, found.changed, found.lose, found.gain) == (100, 9, 0, 0)
    assert [(move.source, move.target, move.requests) for move in found.moves] == [("small 1", "large 1", 9)]
    assert dict(found.by_class) == {0: 9}


def test_a_prompt_is_as_good_as_its_length() -> None:
    body = {"messages": [{"role": "user", "content": "x" * 1500}]}
    found = weigh(routed(2000), routed(1000), {"body": body, "count": 3}, {"body": {"messages": []}})
    assert (found.requests, found.changed) == (4, 3)


def test_routes_are_lost_and_gained() -> None:
    both, one = fleet(model("small"), model("large"), GATEWAY), fleet(model("small"), GATEWAY)
    asked = {"host": "a.example.com", "body": {"model": "large"}, "count": 5}
    lost = weigh(both, one, asked, {"host": "a.example.com", "body": {"model": "neither"}})
    assert (lost.lose, lost.gain, lost.unanswered) == (5, 0, 1)
    assert [(move.source, move.target) for move in lost.moves] == [("large 1", "nobody")]
    gained = weigh(one, both, asked)
    assert (gained.lose, gained.gain) == (0, 5)


def test_what_else_differs_is_counted() -> None:
    before = fleet(model("small"), GATEWAY)
    after = fleet(model("small", "traffic: {timeouts: {unary: {total: 9s}}}"), GATEWAY)
    named = {"host": "a.example.com", "body": {"model": "small"}}
    streams = {**named, "body": {"model": "small", "stream": True}}
    found = weigh(before, after, {**named, "count": 2}, {**streams, "count": 7})
    assert (found.changed, dict(found.aspects), found.moves) == (2, {"timeouts": 2}, ())


def test_malformed_requests_are_counted_apart() -> None:
    found = weigh(routed(1), routed(2), {"body": {"model": 5}}, {"prompt_length": 2})
    assert (found.requests, found.malformed, found.changed) == (2, 1, 1)


def test_equal_lines_count_together() -> None:
    lines = ['{"tier": "pro", "count": 2}', '{"count": 3, "tier": "pro"}', '{"tier": "free"}']
    assert [recorded.count for recorded in read_profile(lines, "x")] == [5, 1]


def test_a_change_of_the_unit_is_weighed_by_each_sides_own() -> None:
    in_bytes = ROUTING.replace("  defaultModel", "  promptLengthUnit: bytes\n  defaultModel")
    before = routed(1000)
    after = fleet(
        model("small"), model("large"), document("ModelOrchestrator", "auto", in_bytes.format(length=1000)), GATEWAY
    )
    body = {"messages": [{"role": "user", "content": "日" * 500}]}
    assert weigh(before, after, {"body": body}).changed == 1


shares = st.dictionaries(st.sampled_from("abcde"), st.integers(1, 100), min_size=1).map(
    lambda parts: {name: part / sum(parts.values()) for name, part in parts.items()}
)


@given(shares, shares)
def test_moves_lead_from_one_split_to_the_other_and_no_more_moves_than_must(
    before: dict[str, float], after: dict[str, float]
) -> None:
    found = moved(before, after)
    split = dict(before)
    for (source, target), share in found.items():
        split[source] -= share
        split[target] = split.get(target, 0) + share
    assert {n: pytest.approx(s) for n, s in after.items()} == {n: s for n, s in split.items() if s > 1e-9}
    assert sum(found.values()) == pytest.approx(sum(max(0, s - after.get(n, 0)) for n, s in before.items()))


def test_a_request_without_a_host_is_for_the_gateway_that_can_choose() -> None:
    mesh = document("Gateway", "other", "hosts: [b.example.com]")
    before, after = (routed(length, GATEWAY, mesh) for length in (2000, 1000))
    found = weigh(before, after, {"prompt_length": 1500})
    assert (found.changed, dict(found.by_class)) == (1, {0: 1})


def carried_by(carrier: str, *models: str) -> Fleet:
    platform = document(
        "Platform", "platform", f"dataPlane: {{hosts: {{a.example.com: {carrier}}}, gatewayClass: any}}"
    )
    return fleet(*(models or (model("small", ENDPOINTS),)), GATEWAY, *([platform] if carrier == "gatewayApi" else []))


def test_a_host_that_goes_to_the_gateway_api_loses_who_names_models_in_bodies_alone() -> None:
    before, after = carried_by("envoy"), carried_by("gatewayApi")
    at = {"host": "a.example.com"}
    in_body = {**at, "body": {"model": "small"}, "count": 7}
    found = weigh(before, after, in_body, {**at, "headers": {"model-name": "small"}, "count": 3})
    assert (found.requests, found.changed, found.lose) == (10, 10, 7)
    assert dict(found.aspects) == {"limits": 3, "retries": 3}
    classes = [each.naming.by for each in request_classes(before, after).found]
    assert {classes[number]: count for number, count in found.by_class.items()} == {"header or path": 3, "body": 7}


def test_where_nobody_reads_bodies_none_is_malformed() -> None:
    before, after = carried_by("gatewayApi"), carried_by("gatewayApi", model("small"), model("large"))
    too_much = {"capabilities": [f"c{n}" for n in range(100)]}
    asked = {"host": "a.example.com", "headers": {"model-name": "large"}, "body": too_much}
    assert weigh(carried_by("envoy"), carried_by("envoy"), asked).malformed == 1
    found = weigh(before, after, asked)
    assert (found.malformed, found.gain, dict(found.by_class)) == (0, 1, {0: 1})


def test_a_model_that_becomes_a_tenants_alone_is_another_right() -> None:
    tenant = document("Tenant", "bank", "gpuQuota: 8")
    before = fleet(model("small"), GATEWAY, tenant)
    after = fleet(model("small", "tenant: bank"), GATEWAY, tenant)
    found = weigh(before, after, {"host": "a.example.com", "body": {"model": "small"}, "count": 4})
    assert (found.changed, dict(found.aspects), found.moves) == (4, {"rights": 4}, ())
    (each,) = request_classes(before, after).found
    assert [(d.aspect, d.before, d.after) for d in differences(each)] == [
        ("rights", "for everybody", "small for tenant bank alone")
    ]


def test_classes_are_found_by_any_name_that_a_request_has() -> None:
    before, after = (
        fleet(model("small", f"traffic: {{timeouts: {{unary: {{total: {n}s}}}}}}"), GATEWAY) for n in (8, 9)
    )
    at = {"host": "a.example.com"}
    ways = ({"body": {"model": "small"}}, {"headers": {"model-name": "small"}}, {"path": "/v1/models/small/predict"})
    found = weigh(before, after, *({**at, **way} for way in ways))
    assert (found.changed, dict(found.by_class)) == (3, {0: 3})


def test_where_nobody_reads_bodies_a_class_is_found_by_the_name_in_the_path() -> None:
    spec = "traffic: {{timeouts: {{unary: {{total: {}s}}}}}}"
    before, after = (carried_by("gatewayApi", model("small", spec.format(n)), model("large")) for n in (8, 9))
    asked = {"host": "a.example.com", "path": "/v1/models/small/predict", "headers": {"model-name": "large"}}
    found = weigh(before, after, asked)
    assert (found.changed, dict(found.by_class)) == (1, {0: 1})


def test_a_name_is_looked_up_at_each_gateway_by_itself() -> None:
    inner = document("Gateway", "inner", "hosts: [b.example.com]\nmodels: [large]")
    found = weigh(
        *(fleet(model("small"), model("large"), GATEWAY, inner) for _ in range(2)),
        {"host": "a.example.com", "body": {"model": "small"}},
        {"host": "b.example.com", "body": {"model": "small"}},
    )
    assert (found.requests, found.changed, found.unanswered) == (2, 0, 1)
