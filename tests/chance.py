"""Fleets and requests from a seed, drawn from few words so that they often meet."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

from compiler.fleet import (
    Condition,
    Endpoint,
    Fallback,
    Field,
    Fleet,
    HealthCheck,
    Hop,
    LengthUnit,
    Member,
    Model,
    OnExplicitModel,
    Operator,
    Orchestrator,
    Rule,
    Target,
    Tier,
)
from compiler.fleet.rules import OPERATORS, TYPES, FieldType, Value
from compiler.request import Sent
from tests.xds.translate.fleets import ORIGIN, fleet, model, seconds, version

CHAT = "/v1/chat/completions"
WORDS = ("chat", "code", "chat-code", "cod", "a.b", "x|y", "pro", "free", "enterprise", "POST", "日")
HEADERS = ("x-team", "x-user-tier", "x-region")
CAPABILITIES = ("chat", "code", "vision", "chat-code")
TEXTS = ("", "hello", "héllo", "日本語のテキスト", "👍🏽", 'quote " and \\ and \n', "a" * 40)
PATHS = (
    CHAT, CHAT, CHAT, "/v1/completions", "/v1/embeddings?a=chat", f"{CHAT}?code", "/other", "/v1/models/m1/predict",
)  # fmt: skip
NAMES = ("auto", "m0", "m1", "m2", "alias-0", "nobody", "", None)


class Chance:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def fleet(self, well: int, sick: int) -> Fleet:
        """`well` and `sick` are ports, of an instance that passes its health check and one that does not."""
        models = [self.model(f"m{n}", well, sick) for n in range(self.random.randint(2, 5))]
        names = [m.name for m in models]
        rules = tuple(self.rule(n, names) for n in range(self.random.randint(1, 8)))
        unit = self.random.choice(list(LengthUnit))
        default = self.targets(names) if self.random.random() < 0.7 else ()
        members = self.members(names)
        return fleet(
            *models, orchestrator=Orchestrator("auto", rules, unit, default, ORIGIN, members, self.fallback(names))
        )

    def model(self, name: str, well: int, sick: int) -> Model:
        weights = self.random.choice(((100,), (60, 40), (1, 99), (30, 0, 70)))
        versions = tuple(
            version(
                str(number),
                weight=weight,
                endpoints=self.endpoints(well, sick),
                health_check=HealthCheck("/health", seconds(60), seconds(5), 1, 1),
            )
            for number, weight in enumerate(weights, 1)
        )
        aliases = (f"alias-{name[1:]}",) if self.random.random() < 0.5 else ()
        return replace(model(name, versions), aliases=aliases)

    def endpoints(self, well: int, sick: int) -> tuple[Endpoint, ...]:
        """None for a version that has not been started."""
        ports = self.random.choices(((well,), (sick,), ()), (8, 1, 1))[0]
        return tuple(Endpoint("127.0.0.1", port, "", Tier.ACTIVE, 1) for port in ports)

    def members(self, names: list[str]) -> tuple[Member, ...]:
        chosen = self.random.sample(names, self.random.randint(0, len(names)))
        able = ((name, self.random.sample(CAPABILITIES, self.random.randint(1, 3))) for name in chosen)
        return tuple(Member(name, tuple(sorted(capabilities)), ORIGIN) for name, capabilities in able)

    def fallback(self, names: list[str]) -> Fallback:
        chosen = self.random.sample(names, self.random.randint(0, min(3, len(names))))
        hops = tuple(
            Hop(name, tuple(self.random.sample([n for n in names if n != name], 1)), ORIGIN) for name in chosen
        )
        return Fallback(hops, self.random.choice(list(OnExplicitModel)))

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
            document["model"] = self.random.choice(NAMES)
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
        if self.random.random() < 0.1:
            headers["model-name"] = self.random.choice(("auto", "m0", "m1", "nobody"))
        path = self.random.choice(PATHS)
        ascii_only = self.random.random() < 0.5
        body = json.dumps(document, ensure_ascii=ascii_only).encode()
        return Sent("POST", path, (*headers.items(), ("content-type", "application/json")), body)

    def content(self) -> Any:
        if self.random.random() < 0.6:
            return self.random.choice((*TEXTS, None))
        return [{"type": "text", "text": self.random.choice(TEXTS)} for _ in range(2)] + [{"type": "image_url"}]
