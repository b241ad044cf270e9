"""What is proven of rules, against every request of a small space, one by one through `evaluate`."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.evaluate import evaluate, holds
from compiler.fleet import Fleet, Rule
from compiler.prove import rules
from compiler.prove.points import MODEL, Facet, facet_of, request_with
from compiler.request import OPENAI_PATHS, Request
from tests.compiler.policies import document, fleet, model

NUMBERS = tuple(range(4))
PARTS = ("a", "ab", "b", "c")
TIERS = ("free", "pro", "enterprise")
CAPABILITIES = ("chat", "code")
CONDITIONS: Mapping[str, Mapping[str, tuple[object, ...]]] = {
    "user_tier": {"eq": TIERS, "ne": TIERS, "in": TIERS},
    "prompt_length": dict.fromkeys(("eq", "ne", "gt", "ge", "le", "in"), NUMBERS),
    "capability": {"contains": CAPABILITIES, "in": CAPABILITIES},
    "header.x-team": dict.fromkeys(("eq", "ne", "in", "prefix", "contains"), PARTS),
    "metadata.team": {"eq": ("a", "b"), "ne": ("a", "b"), "in": ("a", "b")},
    "stream": {"eq": (True, False)},
    "method": {"eq": ("GET", "POST"), "ne": ("GET", "POST")},
    "path": {"eq": OPENAI_PATHS[:2], "prefix": ("/v1/c", "/v2"), "in": OPENAI_PATHS},
    "model": {"eq": ("auto",)},
}
"""By field and operator the values that generated conditions have."""

TEXTS = (None, *("".join(letters) for length in (1, 2, 3) for letters in itertools.product("abcz", repeat=length)))
SETS = tuple(frozenset(s) for size in range(4) for s in itertools.combinations((*CAPABILITIES, "vision"), size))
VALUES: Mapping[str, tuple[object, ...]] = {
    "user_tier": (None, *TIERS, "gold"),
    "prompt_length": (None, *NUMBERS, 4),
    "capability": SETS,
    "header": TEXTS,
    "metadata": (None, "a", "b", "c"),
    "stream": (False, True),
    "method": ("POST", "GET", "PUT"),
    "path": (*OPENAI_PATHS, "/v1/check", "/v2/x", "/x"),
    "model": (None, "auto"),
}
"""By field the values that its conditions can tell apart."""
OF_BODIES = ("prompt_length", "metadata", "stream")


@st.composite
def conditions(draw: st.DrawFn, fields: tuple[str, ...]) -> str:
    field = draw(st.sampled_from(fields))
    operator = draw(st.sampled_from(sorted(CONDITIONS[field])))
    values = st.sampled_from(CONDITIONS[field][operator])
    value = draw(st.lists(values, min_size=1, max_size=3, unique=True) if operator == "in" else values)
    shown = f"[{', '.join(map(str, value))}]" if isinstance(value, list) else json.dumps(value)
    return f"{{field: {field}, operator: {operator}, value: {shown}}}"


@st.composite
def orchestrators(draw: st.DrawFn) -> str:
    fields = tuple(draw(st.lists(st.sampled_from(sorted(CONDITIONS)), min_size=1, max_size=2, unique=True)))
    lines = []
    for number in range(draw(st.integers(1, 4))):
        asked = ", ".join(draw(st.lists(conditions(fields), min_size=1, max_size=3)))
        priority = draw(st.integers(1, 6))
        lines.append(f"\n    - {{name: r{number}, priority: {priority}, conditions: [{asked}], target: small}}")
    routing = draw(st.sampled_from(("", "  defaultModel: small\n")))
    return document(
        "ModelOrchestrator", "auto", f"models: [{{name: small}}]\nrouting:\n{routing}  rules:{''.join(lines)}"
    )


def requests(of: Fleet) -> Iterator[Request]:
    """All that the fleet's only orchestrator chooses for and that differ in what its rules ask for."""
    (gateway,) = of.gateways
    assert gateway.orchestrator is not None
    asked = [facet_of(condition) for rule in gateway.orchestrator.rules for condition in rule.conditions]
    facets: tuple[Facet, ...] = tuple(dict.fromkeys(asked))
    if MODEL not in facets and any(str(field) in ("method", "path") for field, _ in facets):
        facets = (*facets, MODEL)
    for chosen in itertools.product(*(VALUES[str(field)] for field, _ in facets)):
        values = dict(zip(facets, chosen, strict=True))
        request = request_with(values)
        could_name_one = request.method == "POST" and request.path in OPENAI_PATHS
        has_no_body = request_with({f: v for f, v in values.items() if str(f[0]) not in OF_BODIES}) == request
        if (request.model or could_name_one) and (request.method == "POST" or has_no_body):
            yield request


def with_rule(of: Fleet, old: Rule, new: Rule) -> Fleet:
    (gateway,) = of.gateways
    assert gateway.orchestrator is not None
    listed = tuple(new if rule is old else rule for rule in gateway.orchestrator.rules)
    return replace(of, gateways=(replace(gateway, orchestrator=replace(gateway.orchestrator, rules=listed)),))


def takes(rule: Rule, request: Request) -> bool:
    return all(holds(condition, request) for condition in rule.conditions)


def decisions(of: Fleet, asked: list[Request]) -> list[str]:
    return [evaluate(of, request).rule for request in asked]


@settings(max_examples=150, deadline=None)
@given(orchestrators())
def test_the_proofs_say_what_trying_every_request_says(policy: str) -> None:
    of = fleet(model("small"), policy)
    found = list(rules.proofs(of))
    asked = list(requests(of))
    decided = decisions(of, asked)
    (gateway,) = of.gateways
    assert gateway.orchestrator is not None
    listed = gateway.orchestrator.rules

    at = {(f.diagnostic.code, f.diagnostic.position) for f in found}
    never = {rule.origin for rule in listed if not any(takes(rule, request) for request in asked)}
    assert {place for code, place in at if code == "P227"} == never

    pairs = [(a, b) for a, b in itertools.combinations(listed, 2) if a.priority == b.priority]
    shared = {(b.origin, a.name) for a, b in pairs if any(takes(a, r) and takes(b, r) for r in asked)}
    assert {place for code, place in at if code == "P421"} == {place for place, _ in shared}
    assert any(not d.targets for d in (evaluate(of, r) for r in asked)) == ("P416" in {code for code, _ in at})

    if shared:
        return  # what a rule decides then hangs on an order that nobody has chosen
    idle = {rule.origin for rule in listed if rule.name not in decided} - never
    assert {place for code, place in at if code == "P422"} == idle
    for rule in listed:
        if rule.origin in never | idle:
            continue
        for number, condition in enumerate(rule.conditions):
            others = (*rule.conditions[:number], *rule.conditions[number + 1 :])
            if ("P426", condition.origin) in at:
                assert all(takes(replace(rule, conditions=others), r) == takes(rule, r) for r in asked)
                continue
            for value, origin in zip(condition.values, condition.value_origins, strict=False):
                rest = replace(condition, values=tuple(v for v in condition.values if v != value))
                if rest.values:
                    changed = with_rule(of, rule, replace(rule, conditions=(*others, rest)))
                    assert (decisions(changed, asked) == decided) == (("P426", origin) in at)


def orchestrator(*listed: str) -> str:
    lines = "".join(f"\n    - {{{text}, target: small}}" for text in listed)
    return document(
        "ModelOrchestrator", "auto", f"models: [{{name: small}}]\nrouting:\n  defaultModel: small\n  rules:{lines}"
    )


def proven(*listed: str) -> list[tuple[str, str]]:
    found = rules.proofs(fleet(model("small"), orchestrator(*listed)))
    return [(finding.diagnostic.code, finding.diagnostic.message) for finding in found]


def team(operator: str, value: str) -> str:
    return f"{{field: header.x-team, operator: {operator}, value: '{value}'}}"


@pytest.mark.parametrize(
    ("above", "below", "taken"),
    [
        (team("regex", "a[0-9]+"), team("regex", "a[0-9]+"), "a request with x-team: a0"),
        (team("regex", "a[0-9]+"), team("eq", "a17"), "a request with x-team: a17"),
        (
            team("prefix", "a"),
            f"{team('prefix', 'a')}, {team('regex', '.*[0-9]')}",
            "",
        ),  # no text is known that has both
        (team("prefix", "a"), f"{team('prefix', 'ab')}, {team('regex', 'ab+')}", "a request with x-team: ab"),
        (team("regex", "a.*"), team("regex", "ab.*"), ""),  # true, and beyond what is proven
        (team("regex", "a[0-9]+"), team("eq", "b"), ""),
        (team("regex", ".*"), team("ne", "b"), ""),
    ],
)
def test_a_regular_expression_is_known_by_its_text_and_by_what_is_tried(above: str, below: str, taken: str) -> None:
    said = f"rule below is never reached: above takes {taken}"
    asked = (f"name: above, priority: 1, conditions: [{above}]", f"name: below, conditions: [{below}]")
    assert proven(*asked) == ([("P422", said)] if taken else [])


def test_two_regular_expressions_of_one_priority_are_ambiguous_when_a_text_shows_it() -> None:
    one, other = (
        f"name: {name}, conditions: [{team('regex', text)}]" for name, text in (("one", "a.*"), ("two", "ab"))
    )
    assert proven(one, other) == [("P421", "rules one, two share priority 0 and a request with x-team: ab")]


def pigeons(holes: int) -> tuple[str, ...]:
    """Each pigeon has a hole, no two the same; the last rule takes requests for which both hold, and there are none."""
    pairs = [(a, b, hole) for a in range(holes + 1) for b in range(a) for hole in range(holes)]
    both = "name: r{0}, priority: {0}, conditions: [{1}, {2}]"
    named = [
        f"{{field: header.p{n}, operator: in, value: [{', '.join(f'h{h}' for h in range(holes))}]}}"
        for n in range(holes + 1)
    ]
    shared = [
        both.format(number, *(f"{{field: header.p{n}, operator: eq, value: h{hole}}}" for n in (a, b)))
        for number, (a, b, hole) in enumerate(pairs, 1)
    ]
    return (*shared, f"name: last, priority: 0, conditions: [{', '.join(named)}]")


def test_what_is_hard_is_proven_within_the_limit_and_said_not_to_be_beyond_it() -> None:
    assert [code for code, _ in proven(*pigeons(4))] == ["P422"]
    said = "too many combinations of conditions: not proven that all of last is reached"
    assert proven(*pigeons(8)) == [("P427", said)]


def test_sixty_rules_over_six_fields_are_proven() -> None:
    chance = random.Random(1)
    fields = [field for field in CONDITIONS if field not in ("path", "method", "model")]
    texts = []
    for number in range(60):
        asked = []
        for field in chance.sample(fields, 4):
            operator, values = chance.choice(sorted(CONDITIONS[field].items()))
            value = list(values[:2]) if operator == "in" else chance.choice(values)
            asked.append(f"{{field: {field}, operator: {operator}, value: {json.dumps(value)}}}")
        texts.append(f"name: r{number}, priority: {number}, conditions: [{', '.join(asked)}]")
    codes = {code for code, _ in proven(*texts)}
    assert "P427" not in codes
    assert "P422" in codes
