"""Rules on a real Envoy mean what `evaluate` says they mean."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from compiler.evaluate import evaluate
from compiler.fleet import (
    Condition,
    Endpoint,
    Field,
    Fleet,
    LengthUnit,
    Model,
    Operator,
    Orchestrator,
    Rule,
    Target,
    Tier,
)
from compiler.fleet.rules import OPERATORS, TYPES, FieldType, Value
from compiler.request import Sent, read_request
from tests.envoy.served import Served, served
from tests.envoy.upstream import upstreams
from tests.xds.translate.fleets import ORIGIN, fleet, model, version

FLEETS, REQUESTS = 50, 200
CHAT = "/v1/chat/completions"
WORDS = ("chat", "code", "chat-code", "cod", "a.b", "x|y", "pro", "free", "enterprise", "POST", "日")
HEADERS = ("x-team", "x-user-tier", "x-region")
CAPABILITIES = ("chat", "code", "vision", "chat-code")
TEXTS = ("", "hello", "héllo", "日本語のテキスト", "👍🏽", 'quote " and \\ and \n', "a" * 40)


def decided(of: Fleet, sent: Sent) -> set[tuple[str, str]]:
    """Model and version of every answer that `evaluate` allows; empty for none."""
    request = read_request(sent, of.gateways[0].length_unit)
    return {(chosen.model, chosen.version) for chosen in evaluate(of, request, of.gateways[0]).targets}


def seen(running: Served, sent: Sent) -> set[tuple[str, str]]:
    answer = running.request(sent.method, sent.path, sent.body, dict(sent.headers))
    if answer.status == 404:
        assert answer.error["code"] == "model_not_found"
        return set()
    assert answer.status == 200, answer
    return {(answer.headers["x-turnout-model"], answer.headers["x-turnout-version"])}


class Chance:
    """Fleets and requests from a seed, drawn from few words so that they often meet."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def fleet(self, port: int) -> Fleet:
        models = [self.model(f"m{n}", port) for n in range(self.random.randint(2, 5))]
        names = [m.name for m in models]
        rules = tuple(self.rule(n, names) for n in range(self.random.randint(1, 8)))
        unit = self.random.choice(list(LengthUnit))
        default = self.targets(names) if self.random.random() < 0.7 else ()
        return fleet(*models, orchestrator=Orchestrator("auto", rules, unit, default, ORIGIN))

    def model(self, name: str, port: int) -> Model:
        endpoints = (Endpoint("127.0.0.1", port, "", Tier.ACTIVE, 1),)
        first = self.random.choice((100, 60, 1))
        versions = [version("1", endpoints=endpoints, weight=first)]
        if first < 100:
            versions.append(version("2", endpoints=endpoints, weight=100 - first))
        return model(name, tuple(versions))

    def targets(self, names: list[str]) -> tuple[Target, ...]:
        chosen = self.random.sample(names, self.random.choice((1, 1, 2)))
        return tuple(Target(name, 100 // len(chosen)) for name in chosen)

    def rule(self, number: int, names: list[str]) -> Rule:
        conditions = tuple(self.condition() for _ in range(self.random.choice((0, 1, 1, 1, 2, 3))))
        base = model("base")
        return Rule(f"rule-{number}", -number, conditions, self.targets(names), base.retries, base.timeouts, ORIGIN)

    def condition(self) -> Condition:
        field = self.random.choice(list(Field))
        operator = self.random.choice(OPERATORS[TYPES[field]])
        count = self.random.randint(1, 3) if operator is Operator.IN else 1
        values = tuple(self.value(field, operator) for _ in range(count))
        key = {Field.HEADER: self.random.choice(HEADERS), Field.METADATA: self.random.choice(("team", "tier"))}
        return Condition(field, key.get(field, ""), operator, values, ORIGIN)

    def value(self, field: Field, operator: Operator) -> Value:
        match TYPES[field]:
            case FieldType.INTEGER:
                return self.random.choice((0, 1, 2, 5, 16, 40, 41, 100))
            case FieldType.BOOLEAN:
                return self.random.random() < 0.5
            case FieldType.SET:
                return self.random.choice(CAPABILITIES)
        if operator is Operator.REGEX:
            return self.random.choice(("c.*", "chat|code", "[a-z.]+", "pro(vision)?", "/v1/(chat/)?completions"))
        if field is Field.PATH:
            return self.random.choice((CHAT, "/v1/completions", "/v1", "chat", "/v1/models"))
        if field is Field.METHOD:
            return self.random.choice(("POST", "GET"))
        return self.random.choice(tuple(word for word in WORDS if word.isascii()))

    def request(self) -> Sent:
        document: dict[str, Any] = {}
        if self.random.random() < 0.4:
            document["model"] = self.random.choice(("auto", "m0", "m1", "nobody", "", None))
        if self.random.random() < 0.8:
            count = self.random.randint(0, 3)
            document["messages"] = [{"role": "user", "content": self.content()} for _ in range(count)]
        else:
            document[self.random.choice(("prompt", "input"))] = self.random.choice((*TEXTS, list(TEXTS), [1, 2, 3]))
        if self.random.random() < 0.4:
            key = self.random.choice(("max_tokens", "max_completion_tokens"))
            document[key] = self.random.choice((1, 5, 40, 2.5, None))
        if self.random.random() < 0.4:
            document["capabilities"] = self.random.sample(CAPABILITIES, self.random.randint(0, 3))
        if self.random.random() < 0.4:
            document["metadata"] = {key: self.random.choice((*WORDS, 5)) for key in ("team", "tier", "other")}
        if self.random.random() < 0.5:
            document["stream"] = self.random.choice((True, False, "true", None))
        headers = {name: self.random.choice(WORDS[:-1]) for name in HEADERS if self.random.random() < 0.4}
        if self.random.random() < 0.3:
            headers["x-capability"] = ",".join(self.random.sample(CAPABILITIES, 2))
        path = self.random.choice((CHAT, CHAT, "/v1/completions", "/v1/embeddings?a=chat", f"{CHAT}?code", "/other"))
        ascii_only = self.random.random() < 0.5
        body = json.dumps(document, ensure_ascii=ascii_only).encode()
        return Sent("POST", path, (*headers.items(), ("content-type", "application/json")), body)

    def content(self) -> Any:
        if self.random.random() < 0.6:
            return self.random.choice((*TEXTS, None))
        return [{"type": "text", "text": self.random.choice(TEXTS)} for _ in range(2)] + [{"type": "image_url"}]


def disagreements(of: Fleet, requests: Iterable[Sent], folder: Path) -> list[str]:
    sent = list(requests)
    with served(of, folder) as running, ThreadPoolExecutor(4) as pool:
        answers = pool.map(lambda one: seen(running, one), sent)
        expected = [decided(of, one) for one in sent]
        return [
            f"{one}\nenvoy {answer}, evaluate {want}"
            for one, answer, want in zip(sent, answers, expected, strict=True)
            if (not answer) != (not want) or not answer <= want
        ]


@pytest.mark.parametrize("seed", range(FLEETS))
def test_a_real_envoy_chooses_what_evaluate_allows(seed: int, tmp_path: Path) -> None:
    chance = Chance(seed)
    with upstreams("all") as servers:
        of = chance.fleet(servers["all"].port)
        found = disagreements(of, [chance.request() for _ in range(REQUESTS)], tmp_path)
    assert not found, f"{len(found)} of {REQUESTS}\n{of.gateways[0].orchestrator}\n" + "\n".join(found[:3])


BODIES: tuple[dict[str, Any], ...] = (
    {},
    {"model": "auto"},
    {"prompt": "12345", "max_tokens": 4},
    {"prompt": "123456", "max_tokens": 5},
    {"prompt": "1234567", "max_tokens": 6, "stream": True},
    {"messages": [{"content": [{"type": "text", "text": "日本"}, {"type": "text", "text": "\U0001f44d 5"}]}]},
    {"prompt": "\u00e9" * 6, "capabilities": ["chat", "code"], "metadata": {"team": "chat"}},
    {"capabilities": ["chat-code"], "metadata": {"team": "chat-code"}},
)
SAMPLES: dict[FieldType, tuple[Value, ...]] = {
    FieldType.TEXT: ("chat", "chat-code"),
    FieldType.INTEGER: (5, 6, 4),
    FieldType.SET: ("chat", "vision"),
    FieldType.BOOLEAN: (True,),
}
TEXT_SAMPLES: dict[Field, tuple[str, ...]] = {
    Field.PATH: (CHAT, "/v1/completions"),
    Field.METHOD: ("POST", "GET"),
    Field.MODEL: ("auto", "other"),
}


def cells() -> Iterator[Condition]:
    """Every operator of every field, with values at, under and over what the requests have."""
    for asked in Field:
        key = {Field.HEADER: "x-team", Field.METADATA: "team"}.get(asked, "")
        samples = TEXT_SAMPLES.get(asked, SAMPLES[TYPES[asked]])
        for operator in OPERATORS[TYPES[asked]]:
            chosen = [samples] if operator is Operator.IN else [(sample,) for sample in samples]
            for values in (*chosen, (False,)) if TYPES[asked] is FieldType.BOOLEAN else chosen:
                yield Condition(asked, key, operator, values, ORIGIN)


@pytest.mark.parametrize("unit", list(LengthUnit))
def test_every_operator_of_every_field_means_the_same_to_envoy(unit: LengthUnit, tmp_path: Path) -> None:
    """One rule a cell, told apart by a header; what it does not match goes to the default."""
    base = model("base")
    with upstreams("all") as servers:
        endpoints = (Endpoint("127.0.0.1", servers["all"].port, "", Tier.ACTIVE, 1),)
        hit, miss = (model(name, (version("1", endpoints=endpoints),)) for name in ("hit", "miss"))
        rules = tuple(
            Rule(
                name=f"cell-{number}",
                priority=-number,
                conditions=(Condition(Field.HEADER, "x-cell", Operator.EQ, (str(number),), ORIGIN), cell),
                targets=(Target("hit", 100),),
                retries=base.retries,
                timeouts=base.timeouts,
                origin=ORIGIN,
            )
            for number, cell in enumerate(cells())
        )
        of = fleet(hit, miss, orchestrator=Orchestrator("auto", rules, unit, (Target("miss", 100),), ORIGIN))
        requests = [
            Sent("POST", path, (("x-cell", str(number)), *headers, ("content-type", "application/json")), body)
            for number in range(len(rules))
            for path, headers, body in shapes()
        ]
        found = disagreements(of, requests, tmp_path)
        hits = sum(decided(of, request) == {("hit", "1")} for request in requests)
    assert not found, f"{len(found)} of {len(requests)}\n" + "\n".join(found[:3])
    assert hits > len(rules), "cells that match nothing show nothing"


def shapes() -> Iterator[tuple[str, tuple[tuple[str, str], ...], bytes]]:
    team = (("x-team", "chat"), ("x-user-tier", "chat-code"))
    for number, body in enumerate(BODIES):
        path = f"{CHAT}?q=/v1/completions" if number % 2 else CHAT
        yield (
            path,
            team if number % 3 else (),
            json.dumps(body, ensure_ascii=number % 2 == 0).encode("utf-8", "surrogatepass"),
        )
