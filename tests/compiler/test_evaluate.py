"""Where a request goes: the order of the stages, what a condition means, and what is told of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from compiler.diagnostics import Position
from compiler.evaluate import Decision, Look, Readiness, Refusal, Stage, always_ready, evaluate, gateway_of, holds
from compiler.fleet import Condition, Field, Model, Operator, Version
from compiler.fleet.rules import Value
from compiler.request import MalformedRequestError, Request, Sent, parse_curl, read_request
from tests.compiler.policies import document, fleet, linked, model

HERE = Position("policies/x.yaml", 1, 1)
PRO = Request(headers={"x-user-tier": "pro"})


def rules(*texts: str, default: str = "defaultModel: small") -> str:
    listed = "".join(f"\n    - {text}" for text in texts)
    members = "models: [{name: small}, {name: large}, {name: alias, ref: large}]"
    return document("ModelOrchestrator", "auto", f"{members}\nrouting:\n  {default}\n  rules:{listed}")


def decide(request: Request, *texts: str, default: str = "defaultModel: small") -> tuple[Stage, str, list[str]]:
    of = fleet(model("small"), model("large"), rules(*texts, default=default))
    decision = evaluate(of, request)
    return decision.stage, decision.rule, [chosen.model.name for chosen in decision.targets]


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


CHAIN = "chain: [{model: large, equivalentTo: [small]}, {model: third}]"
"""P440 tells where its equivalence decides nothing."""


def several(routing: str, members: str = "{name: small}, {name: large}, {name: third}") -> tuple[str, ...]:
    """Three models: two capabilities on one GPU, three on four, one on two; 60/40 is the split of `large`."""
    split = "versions: [{name: '1', weight: 40, replicas: 1}, {name: '2', weight: 60}, {name: '3', weight: 0}]"
    return (
        model("small", "capabilities: [chat, fast]"),
        model("large", f"capabilities: [chat, code, vision]\nresources: {{gpuCount: 4}}\n{split}"),
        model("third", "capabilities: [chat]\nresources: {gpuCount: 2}"),
        document("ModelOrchestrator", "auto", f"models: [{members}]\nrouting: {routing}"),
    )


def ask(routing: str, look: Look = always_ready, **request: object) -> Decision:
    of, found = linked(*several(routing))
    assert {diagnostic.code for diagnostic in found} <= {"P440"}
    assert of is not None
    return evaluate(of, replace(Request(), **request), look=look)  # type: ignore[arg-type]


def shares(decision: Decision) -> dict[tuple[str, str], int]:
    return {(chosen.model.name, chosen.version.name): chosen.share for chosen in decision.targets}


def hops(decision: Decision) -> list[str]:
    return [f"{model.name} {version.name}" for model, version in decision.targets[0].hops]


def missing(state: Readiness, *names: str) -> Look:
    """`names` are of models, or of a model and a version."""

    def look(of: Model, version: Version) -> Readiness:
        return state if {of.name, f"{of.name} {version.name}"} & set(names) else Readiness.READY

    return look


@pytest.mark.parametrize(
    ("asked", "chosen", "others"),
    [
        ({"chat"}, "small", ["third 1", "large 2", "large 1"]),
        ({"chat", "fast"}, "small", []),
        ({"code", "chat"}, "large", []),
    ],
)
def test_the_smallest_model_that_has_all_capabilities_is_taken_and_the_others_stand_in(
    asked: set[str], chosen: str, others: list[str]
) -> None:
    decision = ask("{defaultModel: third}", capabilities=frozenset(asked))
    assert (decision.stage, decision.targets[0].model.name, hops(decision)) == (Stage.CAPABILITY, chosen, others)


def test_capabilities_that_nobody_has_together_lead_to_the_default() -> None:
    decision = ask("{defaultModel: third}", capabilities=frozenset({"fast", "code"}))
    assert (decision.stage, shares(decision)) == (Stage.DEFAULT, {("third", "1"): 10_000})
    assert [step.why for step in decision.steps[:3]] == ["it lacks code", "it lacks code, fast", "it lacks fast"]


def test_a_rule_is_asked_before_capabilities() -> None:
    rule = "{conditions: [{field: capability, operator: contains, value: chat}], target: third}"
    decision = ask(f"{{defaultModel: small, rules: [{rule}]}}", capabilities=frozenset({"chat"}))
    assert (decision.stage, decision.rule) == (Stage.RULE, "rule-1")


def test_what_a_member_adds_counts_and_models_of_one_size_go_by_name() -> None:
    members = "{name: small}, {name: twin, ref: third, capabilities: [fast]}, {name: large, capabilities: [fast]}"
    of = fleet(*several("{defaultModel: small}", members))
    decision = evaluate(of, Request(capabilities=frozenset({"fast"})))
    assert [decision.targets[0].model.name, *hops(decision)] == ["small", "third 1", "large 2", "large 1"]


@pytest.mark.parametrize(
    ("explicit", "of_small", "of_third"),
    [
        ("never", [], []),
        ("onUnavailable", ["large 2", "large 1"], []),
        ("always", ["large 2", "large 1", "third 1"], ["large 2", "large 1"]),
    ],
)
def test_a_client_that_names_its_model_gets_another_as_policy_says(
    explicit: str, of_small: list[str], of_third: list[str]
) -> None:
    routing = f"{{defaultModel: small, fallback: {{onExplicitModel: {explicit}, {CHAIN}}}}}"
    assert hops(ask(routing, model="small")) == of_small
    assert hops(ask(routing, model="third")) == of_third
    unknown = ask(routing, model="nobody")
    expected = (Stage.FALLBACK, None) if explicit == "always" else (Stage.NONE, Refusal.MODEL_NOT_FOUND)
    assert (unknown.stage, unknown.refusal) == expected


def test_the_chain_answers_where_there_is_no_default_and_stands_in_where_there_is() -> None:
    default = ask(f"{{defaultModel: large, fallback: {{{CHAIN}}}}}")
    assert (default.stage, hops(default)) == (Stage.DEFAULT, ["third 1"])
    nothing = ask(f"{{fallback: {{{CHAIN}}}}}")
    assert (nothing.stage, shares(nothing)) == (Stage.FALLBACK, {("large", "1"): 4_000, ("large", "2"): 6_000})
    assert hops(nothing) == ["third 1"]


def test_who_has_nothing_healthy_is_stood_in_for() -> None:
    routing = f"{{defaultModel: large, fallback: {{{CHAIN}}}}}"
    half = ask(routing, missing(Readiness.UNHEALTHY, "large 2"))
    assert (half.stage, shares(half)) == (Stage.DEFAULT, {("large", "1"): 4_000, ("third", "1"): 6_000})
    whole = ask(routing, missing(Readiness.UNHEALTHY, "large"))
    assert whole.stage is Stage.FALLBACK
    assert {chosen.model.name for chosen in whole.targets} == {"third"}
    assert [step.why for step in whole.steps if not step.matched] == ["none of its instances is healthy"] * 2


@pytest.mark.parametrize(
    ("look", "refusal"),
    [
        (missing(Readiness.UNHEALTHY, "small"), Refusal.NO_HEALTHY_INSTANCE),
        (missing(Readiness.UNLISTED, "small"), Refusal.MODEL_NOT_READY),
    ],
)
def test_three_errors_are_told_apart(look: Look, refusal: Refusal) -> None:
    routing = f"{{defaultModel: third, fallback: {{{CHAIN}}}}}"
    decision = ask(routing, look, model="small")
    assert (decision.stage, decision.targets, decision.refusal) == (Stage.EXPLICIT, (), refusal)
    assert ask(routing, look, model="nobody").refusal is Refusal.MODEL_NOT_FOUND


def test_mirrors_and_faults_are_those_of_the_rule_where_it_says_so_else_of_the_model() -> None:
    traffic = "traffic: {mirror: {model: large, percent: 10}, fault: {delay: {percent: 5, duration: 2s}}}"
    texts = (
        model("small", traffic),
        *several(
            "{defaultModel: small, rules: [{name: r, target: small, traffic: {mirror: {model: third, percent: 1}}}]}"
        )[1:],
    )
    named, ruled = (evaluate(fleet(*texts), Request(model=name)) for name in ("small", "auto"))
    assert [(m.model.name, m.version.name, m.weight) for m in named.mirrors] == [
        ("large", "1", 400),
        ("large", "2", 600),
    ]
    assert [(m.model.name, m.weight) for m in ruled.mirrors] == [("third", 100)]
    assert named.fault == ruled.fault
    assert named.fault is not None
    assert (named.fault.delay_percent, named.fault.abort_percent) == (5, 0)


def test_settings_name_the_line_that_says_them() -> None:
    of = fleet(model("small", "traffic: {retries: {attempts: 1}}"))
    decision = evaluate(of, Request(model="small"))
    assert decision.retries is not None
    assert decision.timeouts is not None
    assert (decision.retries.origin.line, decision.timeouts.origin.file) == (6, "built-in")


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
