"""Faults planted in sound orchestrators: each is found, where it was planted, and nothing else is.

The sound ones are written by hand or drawn by chance; each plant adds one fault to any of them.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from compiler.evaluate import evaluate, holds
from compiler.fleet import Fleet, Rule
from compiler.pipeline import compile_policies
from compiler.prove import rules
from compiler.prove.witness import Finding
from compiler.request import Request
from tests.compiler.policies import document, fleet, linked, model

ROOT = Path(__file__).parents[2]
CODES = {"P219", "P227", "P416", "P421", "P422", "P423", "P426", "P427"}
MODELS = tuple(model(name, "capabilities: [chat, code, vision, tools]") for name in ("small", "large"))

Ask = tuple[str, str, object]
"""Field, operator, value."""


@dataclass(frozen=True)
class Line:
    """A rule as policy writes it, on one line."""

    name: str
    priority: int
    asks: tuple[Ask, ...]

    def __str__(self) -> str:
        asked = (f"{{field: {f}, operator: {op}, value: {json.dumps(value)}}}" for f, op, value in self.asks)
        return f"{{name: {self.name}, priority: {self.priority}, target: small, conditions: [{', '.join(asked)}]}}"


@dataclass(frozen=True)
class Sound:
    lines: tuple[Line, ...]
    """By priority, the highest first, in steps of ten."""
    default: bool = True
    chain: str = "[{model: large, equivalentTo: [small]}]"

    def with_line(self, asks: tuple[Ask, ...], priority: int) -> Sound:
        return replace(self, lines=(*self.lines, Line("planted", priority, asks)))

    def policy(self) -> str:
        listed = "".join(f"\n    - {line}" for line in self.lines)
        chain = f"\n  fallback: {{onExplicitModel: onUnavailable, chain: {self.chain}}}" if self.chain else ""
        default = "\n  defaultModel: small" if self.default else ""
        routing = f"routing:\n  promptLengthUnit: characters{default}{chain}\n  rules:{listed or ' []'}"
        return document("ModelOrchestrator", "auto", f"models: [{{name: small}}, {{name: large}}]\n{routing}")


def sound(*asks: tuple[Ask, ...], default: bool = True) -> Sound:
    lines = (Line(f"r{number}", 10 * (len(asks) - number), asked) for number, asked in enumerate(asks))
    return Sound(tuple(lines), default)


PRO: Ask = ("user_tier", "eq", "pro")
TEAMS: Ask = ("header.x-team", "in", ["red", "blue"])
BY_HAND = (
    sound((("user_tier", "in", ["pro", "enterprise"]),), (("capability", "contains", "code"),), (TEAMS,)),
    sound((PRO, ("prompt_length", "gt", 2000)), (PRO,), (("prompt_length", "gt", 2000),), (("stream", "eq", True),)),
    sound((("capability", "in", ["code", "vision"]), ("stream", "eq", True)), (("metadata.team", "eq", "red"), PRO)),
    sound((("path", "prefix", "/v1/chat"), ("max_tokens", "le", 100)), (("header.x-team", "regex", "red-[0-9]+"),)),
    sound((("stream", "eq", True),), (("header.x-team", "eq", "red"),), (), default=False),
)


def drawn(seed: int) -> Sound:
    """Conditions by chance, until nothing is found in them."""
    chance = random.Random(seed)
    choices: tuple[Callable[[], Ask], ...] = (
        lambda: ("user_tier", "eq", chance.choice(["free", "pro", "enterprise"])),
        lambda: ("user_tier", "in", chance.sample(["free", "pro", "enterprise"], 2)),
        lambda: ("prompt_length", chance.choice(["gt", "le"]), chance.randrange(100, 900, 100)),
        lambda: ("max_tokens", chance.choice(["ge", "lt"]), chance.randrange(100, 900, 100)),
        lambda: ("capability", "contains", chance.choice(["chat", "code", "vision"])),
        lambda: ("header.x-team", chance.choice(["eq", "prefix", "contains"]), chance.choice(["red", "blue", "green"])),
        lambda: ("metadata.team", "in", chance.sample(["red", "blue", "green"], 2)),
        lambda: ("stream", "eq", chance.choice([True, False])),
    )
    for _ in range(1000):
        count = chance.randint(2, 6)
        made = sound(*(tuple(pick() for pick in chance.sample(choices, chance.randint(1, 3))) for _ in range(count)))
        if not told(made):
            return made
    raise AssertionError("nothing sound in a thousand")


def told(of: Sound) -> list[Finding]:
    return list(rules.proofs(fleet(*MODELS, of.policy())))


SOUND = (*BY_HAND, *(drawn(seed) for seed in range(25)))
SEEN = pytest.mark.parametrize("of", SOUND, ids=[f"sound-{number}" for number in range(len(SOUND))])


def planted(of: Sound, code: str) -> tuple[Fleet, Rule, Finding]:
    """The one finding, which is `code` on the planted line: the fleet, the planted rule, and it."""
    policy = of.policy()
    whole = fleet(*MODELS, policy)
    (found,) = rules.proofs(whole)
    lines = "---\n".join((*MODELS, policy)).splitlines()
    (line,) = (number for number, text in enumerate(lines, 1) if "name: planted" in text)
    assert (found.diagnostic.code, found.diagnostic.position.line) == (code, line)
    (rule,) = (rule for rule in rules_of(whole) if rule.name == "planted")
    return whole, rule, found


def rules_of(of: Fleet) -> tuple[Rule, ...]:
    (gateway,) = of.gateways
    assert gateway.orchestrator is not None
    return gateway.orchestrator.rules


def takes(rule: Rule, request: Request | None) -> bool:
    assert request is not None
    return all(holds(condition, request) for condition in rule.conditions)


def decider(of: Fleet, found: Finding) -> str:
    """The rule that decides the witness; it is the one that the message names."""
    assert found.witness is not None
    by = evaluate(of, found.witness).rule
    assert f"{by} takes " in found.diagnostic.message
    return by


@SEEN
def test_nothing_is_found_in_what_is_sound(of: Sound) -> None:
    _, found = linked(*MODELS, of.policy())
    assert [d for d in found if d.code in CODES] == []
    assert told(of) == []


@SEEN
def test_a_copy_below_its_original_is_never_reached(of: Sound) -> None:
    for line in of.lines:
        whole, rule, found = planted(of.with_line(line.asks, line.priority - 5), "P422")
        assert takes(rule, found.witness)
        assert decider(whole, found) != "planted"


@SEEN
def test_a_rule_below_a_wider_one_is_never_reached(of: Sound) -> None:
    for line in of.lines:
        narrower = (*line.asks, ("header.x-narrow", "eq", "yes"))
        whole, rule, found = planted(of.with_line(narrower, line.priority - 5), "P422")
        assert takes(rule, found.witness)
        assert decider(whole, found) != "planted"


@SEEN
def test_a_copy_of_the_same_priority_is_ambiguous(of: Sound) -> None:
    for line in of.lines:
        whole, rule, found = planted(of.with_line(line.asks, line.priority), "P421")
        (original,) = (other for other in rules_of(whole) if other.name == line.name)
        assert takes(rule, found.witness)
        assert takes(original, found.witness)


@SEEN
def test_a_value_that_a_rule_above_takes_never_decides(of: Sound) -> None:
    """A rule for one team takes it from a list of a rule below; the other team of the list is left to that."""
    top, last = 10 * len(of.lines) + 10, -10
    asks: tuple[Ask, ...] = (("header.x-other", "in", ["taken", "left"]),)
    above = replace(of, lines=(Line("above", top, (("header.x-other", "eq", "taken"),)), *of.lines))
    if not of.default:
        last = 15  # below an unconditional rule nothing is left
    whole, rule, found = planted(above.with_line(asks, last), "P426")
    assert takes(rule, found.witness)
    assert decider(whole, found) == "above"
    assert found.diagnostic.message.startswith("header.x-other taken of rule planted never decides")
    (condition,) = rule.conditions
    assert found.diagnostic.position == condition.value_origins[0]


CLASHES: tuple[tuple[Ask, ...], ...] = (
    (("header.x-clash", "eq", "a"), ("header.x-clash", "eq", "b")),
    (("header.x-clash", "in", ["a"]), ("header.x-clash", "ne", "a")),
    (("header.x-clash", "prefix", "a"), ("header.x-clash", "prefix", "b")),
    (("metadata.clash", "eq", "ab"), ("metadata.clash", "contains", "c")),
    (("metadata.clash", "in", ["a", "b"]), ("metadata.clash", "ne", "a"), ("metadata.clash", "ne", "b")),
    (("header.x-clash", "eq", "a1"), ("header.x-clash", "regex", "[a-z]+")),
)


@pytest.mark.parametrize("clash", CLASHES, ids=[" and ".join(op for _, op, _ in clash) for clash in CLASHES])
@SEEN
def test_conditions_that_exclude_each_other_are_named(of: Sound, clash: tuple[Ask, ...]) -> None:
    for line in of.lines[:2]:
        _, rule, found = planted(of.with_line((*line.asks, *clash), line.priority + 5), "P227")
        clashing = [c for c in rule.conditions if c.key in ("x-clash", "clash")]
        assert found.diagnostic.message.startswith(" and ".join(map(str, clashing)))


@SEEN
def test_without_its_default_it_leaves_a_request_without_an_answer(of: Sound) -> None:
    without = replace(of, default=False, chain="")
    whole = fleet(*MODELS, without.policy())
    codes = [found.diagnostic.code for found in rules.proofs(whole)]
    if all(evaluate(whole, request).targets for request in (Request(), Request(stream=True))):
        assert codes == []  # its rules take every request: those that ask least for anything are among them
        return
    (found,) = rules.proofs(whole)
    (gateway,) = whole.gateways
    assert codes == ["P416"]
    assert gateway.orchestrator is not None
    assert found.diagnostic.position == gateway.orchestrator.origin
    assert found.witness is not None
    assert not evaluate(whole, found.witness).targets


@SEEN
def test_a_fallback_chain_answers_what_nothing_else_does(of: Sound) -> None:
    assert told(replace(of, default=False)) == []


CHAINS = (
    "[{model: large}, {model: small}, {model: large}]",
    "[{model: large}, {model: large}]",
    "[{model: small}, {model: large, equivalentTo: [large]}]",
)


@pytest.mark.parametrize("chain", CHAINS)
@SEEN
def test_a_fallback_chain_that_turns_back_is_found(of: Sound, chain: str) -> None:
    policy = replace(of, chain=chain).policy()
    whole, found = linked(*MODELS, policy)
    assert whole is None
    lines = "---\n".join((*MODELS, policy)).splitlines()
    (line,) = (number for number, text in enumerate(lines, 1) if "chain:" in text)
    assert [(d.code, d.position.line) for d in found if d.code in CODES] == [("P219", line)]


@pytest.mark.parametrize("folder", ["policies", "tests/golden/sample-fleet/policies"])
def test_nothing_is_found_in_the_samples(folder: str) -> None:
    compiled = compile_policies(ROOT / folder)
    assert compiled.fleet is not None
    assert any(gateway.orchestrator is not None for gateway in compiled.fleet.gateways)
    assert [d for d in compiled.diagnostics if d.code in CODES] == []
