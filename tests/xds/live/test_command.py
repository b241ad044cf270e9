"""A command to set live weights: refused with all that is wrong with it, or accepted with what to know."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from compiler.fleet import Carrier, Fleet, Host
from tests.xds.live.test_state import COMMITTED, NOW, override
from tests.xds.translate.fleets import fleet, gateway, model, orchestrator, version
from xds.live.command import Accepted, Refusal, Refused, setting, taking_back
from xds.live.state import NOTHING_LIVE, LiveState

RIGHT: dict[str, Any] = {"model": "chat", "weights": {"1": 75, "2": 25}, "for": "15m", "why": "INC-7: 2 is slow"}
LIVE = LiveState({"chat": override(v1=50, v2=50)})


def decided(of: Fleet = COMMITTED, state: LiveState = NOTHING_LIVE, **changes: Any) -> Accepted | Refused:
    """Of a command that is right but for `changes`; `None` leaves a field out, `lasting` is for."""
    asked = RIGHT | {{"lasting": "for"}.get(name, name): value for name, value in changes.items()}
    return setting({name: value for name, value in asked.items() if value is not None}, of, state, NOW)


def problems(of: Fleet = COMMITTED, state: LiveState = NOTHING_LIVE, **changes: Any) -> list[str]:
    found = decided(of, state, **changes)
    assert isinstance(found, Refused)
    assert found.kind is Refusal.INVALID
    return [str(problem) for problem in found.problems]


def test_what_is_right_is_accepted_until_a_moment_and_with_every_version() -> None:
    found = decided(weights={"2": 100})
    assert isinstance(found, Accepted)
    assert found.override == replace(override(v1=0, v2=100), why="INC-7: 2 is slow", until=NOW + timedelta(minutes=15))
    assert found.step.state.overrides == {"chat": found.override}
    assert found.warnings == ()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": "chta"}, "no model 'chta'; did you mean 'chat'?"),
        ({"model": "nobody"}, "no model 'nobody'; models: chat, embed"),
        ({"model": ["chat"]}, "no model ['chat']; models: chat, embed"),
        ({"model": None}, "'model' is missing; models: chat, embed"),
        ({"weights": {"1": 75, "3": 25}}, "model 'chat' has no version '3'; versions: 1, 2"),
        (
            {"weights": {"1": 80, "2": 30}},
            "weights of model 'chat' add up to 80 + 30 = 110, not 100; set version '2' to 20",
        ),
        ({"weights": {"1": 99}}, "weights of model 'chat' add up to 99, not 100; set version '1' to 100"),
        ({"weights": {"1": 0, "2": 0}}, "weights of model 'chat' add up to 0 + 0 = 0, not 100; set version '2' to 100"),
        ({"weights": {"1": 101, "2": -1}}, "weight of version '1' is 101; a whole number of percent, 0-100"),
        ({"weights": {"1": 50.0, "2": 50}}, "weight of version '1' is 50.0; a whole number of percent, 0-100"),
        ({"weights": {"1": True, "2": 99}}, "weight of version '1' is True; a whole number of percent, 0-100"),
        ({"weights": {}}, "'weights' is missing; version=percent for each that is to get requests"),
        ({"weights": [75, 25]}, "'weights' is missing; version=percent for each that is to get requests"),
        ({"weights": {"1": 90, "2": 10}}, "policy gives model 'chat' these weights"),
        ({"lasting": None}, "'for' is missing; how long it is to hold, as 15m"),
        ({"lasting": "15 minutes"}, "'for': '15 minutes' is no duration; 15m, 1h"),
        ({"lasting": 15}, "'for': 15 is no duration; 15m, 1h"),
        ({"lasting": "0s"}, "'for': 0s is out of range; more than 0s, at most 24h; then policy"),
        ({"lasting": "25h"}, "'for': 25h is out of range; more than 0s, at most 24h; then policy"),
        ({"why": None}, "'why' is missing; what whoever finds this needs to know"),
        ({"why": "  "}, "'why' is missing; what whoever finds this needs to know"),
        ({"why": 7}, "'why': 7 is no text"),
        ({"why": "a\nERROR forged"}, "'why' holds signs that do not print; one line of text"),
        ({"why": "x" * 201}, "'why' has 201 characters, 200 are the limit"),
        ({"fro": "15m"}, "unknown field 'fro'; did you mean 'for'?"),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_wrong_is_refused_with_what_to_do(changes: dict[str, Any], said: str) -> None:
    assert said in problems(**changes)


def test_all_that_is_wrong_is_said_at_once() -> None:
    assert len(problems(model="chta", weights={"1": 80, "2": 30}, lasting="1min", why="")) == 4


@pytest.mark.parametrize("asked", [None, [], "chat", 7])
def test_what_is_no_object_is_no_command(asked: object) -> None:
    assert isinstance(setting(asked, COMMITTED, NOTHING_LIVE, NOW), Refused)


def test_the_way_back_to_policy_is_named() -> None:
    (said,) = problems(state=LIVE, weights={"1": 90, "2": 10})
    assert said == "policy gives model 'chat' these weights; turnout weights chat --clear"


def warnings(of: Fleet) -> list[str]:
    found = decided(of)
    assert isinstance(found, Accepted)
    return list(found.warnings)


def chat_where_nobody_is(*bare: str) -> Fleet:
    versions = (version("1", 90), version("2", 10))
    return fleet(model("chat", tuple(replace(v, endpoints=() if v.name in bare else v.endpoints) for v in versions)))


def test_a_version_without_instances_is_warned_of() -> None:
    assert warnings(chat_where_nobody_is("2")) == [
        "version '2' has no endpoints: its requests are answered 503 or by a fallback"
    ]
    assert "routes on which nothing else is listed" in warnings(chat_where_nobody_is("1", "2"))[-1]


def test_hosts_that_istio_carries_are_warned_of() -> None:
    chat = COMMITTED.models[0]
    istio = (Host("mesh.example.com", Carrier.ISTIO), Host("own.example.com", Carrier.ENVOY))
    said = ["P306 Istio host mesh.example.com: no live weights; its requests keep to policy"]
    assert warnings(fleet(chat, gateways=(gateway(("chat",), hosts=istio),))) == said
    chosen = gateway((), hosts=istio, orchestrator=orchestrator("auto", ("chat", 100)))
    assert warnings(fleet(chat, gateways=(chosen,))) == said
    other = gateway(("embed",), name="other", hosts=istio)
    assert warnings(fleet(chat, model("embed"), gateways=(gateway(("chat",)), other))) == []


def test_hosts_that_the_gateway_api_carries_are_warned_of() -> None:
    hosts = (Host("edge.example.com", Carrier.GATEWAY_API), Host("own.example.com", Carrier.ENVOY))
    assert warnings(fleet(COMMITTED.models[0], gateways=(gateway(("chat",), hosts=hosts),))) == [
        "P301 Gateway API host edge.example.com: no live weights; its requests keep to policy"
    ]


def test_what_is_not_live_cannot_be_taken_back() -> None:
    found = taking_back("chta", LIVE)
    assert isinstance(found, Refused)
    assert found.kind is Refusal.NOTHING_THERE
    assert [str(problem) for problem in found.problems] == ["no live weights for 'chta'; did you mean 'chat'?"]
    agreed = LiveState({"chat": replace(override(v1=90, v2=10), agreed=True)})
    assert isinstance(taking_back("chat", agreed), Refused)
