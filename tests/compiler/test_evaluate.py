"""Where a request goes: the order of the stages, what a condition means, and what is told of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from compiler.diagnostics import Position
from compiler.evaluate import Stage, evaluate, gateway_of, holds
from compiler.fleet import Condition, Field, Operator
from compiler.fleet.rules import Value
from compiler.request import MalformedRequestError, Request, Sent, parse_curl, read_request
from tests.compiler.policies import document, fleet, model

HERE = Position("policies/x.yaml", 1, 1)
PRO = Request(headers={"x-user-tier": "pro"})


def rules(*texts: str, default: str = "defaultModel: small") -> str:
    listed = "".join(f"\n    - {text}" for text in texts)
    members = "models: [{name: small}, {name: large}, {name: alias, ref: large}]"
    return document("ModelOrchestrator", "auto", f"{members}\nrouting:\n  {default}\n  rules:{listed}")


def decide(request: Request, *texts: str, default: str = "defaultModel: small") -> tuple[Stage, str, list[str]]:
    of = fleet(model("small"), model("large"), rules(*texts, default=default))
    decision = evaluate(of, request)
    return decision.stage, decision.rule, [chosen.model for chosen in decision.targets]


TIER = "{name: tier, conditions: [{field: user_tier, operator: eq, value: pro}], target: alias}"
ALL = "{name: all, priority: -1, target: small}"


def test_a_named_model_is_taken_before_any_rule() -> None:
    assert decide(replace(PRO, model="small"), TIER) == (Stage.EXPLICIT, "", ["small"])


@pytest.mark.parametrize("name", [None, "auto"])
def test_rules_are_asked_when_nothing_or_the_orchestrator_is_named(name: str | None) -> None:
    assert decide(replace(PRO, model=name), TIER) == (Stage.RULE, "tier", ["large"])


def test_the_highest_priority_that_matches_decides_whatever_the_order_in_policy() -> None:
    assert decide(PRO, ALL, TIER) == (Stage.RULE, "tier", ["large"])
    assert decide(Request(), ALL, TIER) == (Stage.RULE, "all", ["small"])


def test_the_default_is_taken_when_no_rule_matches_and_nobody_without_one() -> None:
    assert decide(Request(), TIER) == (Stage.DEFAULT, "", ["small"])
    without = fleet(model("small"), model("large"), rules(TIER, default="promptLengthUnit: bytes"))
    assert evaluate(without, Request()).stage is Stage.NONE


def test_an_unknown_name_goes_nowhere_and_no_rule_is_asked() -> None:
    assert decide(replace(PRO, model="nobody"), TIER) == (Stage.NONE, "", [])


def test_a_request_that_could_not_have_named_a_model_is_nobodys_to_choose_for() -> None:
    assert decide(replace(PRO, path="/metrics"), TIER) == (Stage.NONE, "", [])


def test_each_step_tells_why_with_its_line() -> None:
    decision = evaluate(fleet(model("small"), model("large"), rules(TIER)), Request())
    assert [(step.name, step.matched) for step in decision.steps] == [("tier", False), ("auto", True)]
    assert decision.steps[0].why == "user_tier eq pro: the request has no user_tier"


FACTS = Request(
    path="/v1/chat/completions",
    headers={"x-user-tier": "pro", "x-team": "a,b"},
    model="auto",
    prompt_length=2000,
    max_tokens=5,
    capabilities=frozenset({"chat", "code"}),
    metadata={"team": "red"},
    stream=True,
)


@pytest.mark.parametrize(
    ("field", "key", "operator", "values", "expected"),
    [
        (Field.USER_TIER, "", Operator.EQ, ("pro",), True),
        (Field.USER_TIER, "", Operator.NE, ("pro",), False),
        (Field.USER_TIER, "", Operator.NE, ("free",), True),
        (Field.USER_TIER, "", Operator.IN, ("free", "pro"), True),
        (Field.USER_TIER, "", Operator.CONTAINS, ("r",), True),
        (Field.USER_TIER, "", Operator.PREFIX, ("pr",), True),
        (Field.USER_TIER, "", Operator.REGEX, ("p.",), False),
        (Field.USER_TIER, "", Operator.REGEX, ("p.*",), True),
        (Field.HEADER, "x-team", Operator.EQ, ("a,b",), True),
        (Field.HEADER, "x-none", Operator.NE, ("a",), False),
        (Field.METADATA, "team", Operator.EQ, ("red",), True),
        (Field.METADATA, "none", Operator.NE, ("red",), False),
        (Field.PATH, "", Operator.PREFIX, ("/v1/chat",), True),
        (Field.METHOD, "", Operator.EQ, ("POST",), True),
        (Field.MODEL, "", Operator.EQ, ("auto",), True),
        (Field.PROMPT_LENGTH, "", Operator.GT, (2000,), False),
        (Field.PROMPT_LENGTH, "", Operator.GE, (2000,), True),
        (Field.PROMPT_LENGTH, "", Operator.LT, (2000,), False),
        (Field.PROMPT_LENGTH, "", Operator.LE, (2000,), True),
        (Field.PROMPT_LENGTH, "", Operator.EQ, (2000,), True),
        (Field.PROMPT_LENGTH, "", Operator.NE, (2000,), False),
        (Field.MAX_TOKENS, "", Operator.IN, (1, 5), True),
        (Field.CAPABILITY, "", Operator.CONTAINS, ("code",), True),
        (Field.CAPABILITY, "", Operator.CONTAINS, ("cod",), False),
        (Field.CAPABILITY, "", Operator.IN, ("vision", "chat"), True),
        (Field.STREAM, "", Operator.EQ, (True,), True),
        (Field.STREAM, "", Operator.EQ, (False,), False),
    ],
)
def test_a_condition_holds(
    field: Field, key: str, operator: Operator, values: tuple[Value, ...], expected: bool
) -> None:
    assert holds(Condition(field, key, operator, values, HERE), FACTS) is expected


@pytest.mark.parametrize("operator", [Operator.EQ, Operator.NE, Operator.GT, Operator.LE])
def test_a_field_that_is_absent_makes_every_condition_false(operator: Operator) -> None:
    assert not holds(Condition(Field.PROMPT_LENGTH, "", operator, (0,), HERE), Request())


def test_the_closest_host_decides_the_gateway() -> None:
    hosts = {"one": "a.example.com", "two": '"*.example.com"', "three": '"*"'}
    of = fleet(model("small"), *(document("Gateway", name, f"hosts: [{host}]") for name, host in hosts.items()))
    found = {host: gateway_of(of, host) for host in ("a.example.com", "b.example.com", "example.org")}
    assert {host: gateway.name if gateway else "" for host, gateway in found.items()} == {
        "a.example.com": "one",
        "b.example.com": "two",
        "example.org": "three",
    }


def test_a_curl_line_is_the_request_that_curl_sends() -> None:
    line = """curl -sN https://llm.example.com:8443/v1/completions?x=1 -H 'X-Team: a' -d '{"prompt": "日本"}'"""
    request = read_request(parse_curl(line))
    assert (request.host, request.method, request.path) == ("llm.example.com", "POST", "/v1/completions")
    assert (request.headers["x-team"], request.prompt_length) == ("a", 2)


@pytest.mark.parametrize("line", ["wget x", "curl", "curl x -d @file", "curl 'x"])
def test_what_is_no_curl_line_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"curl|body|quotation"):
        parse_curl(line)


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b'{"model": 5}'])
def test_a_body_that_the_gateway_answers_400_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedRequestError):
        read_request(Sent("POST", "/v1/completions", (), body))
