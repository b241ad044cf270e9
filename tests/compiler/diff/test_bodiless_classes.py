"""The classes of requests at hosts that the Gateway API carries, or is to carry, against `evaluate`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from compiler.diff.classes import request_classes
from compiler.diff.naming import By
from compiler.diff.words import differences, title
from compiler.fleet import Carrier, Condition, Fallback, Field, Fleet, Host, Operator
from compiler.request import MODEL_NAME_HEADER, MalformedRequestError, Request, Sent, read_request
from tests.chance import CHAT, Chance
from tests.compiler.diff.decided import decides
from tests.compiler.diff.test_classes import EDITS, orchestrator, with_gateway, with_orchestrator
from tests.xds.translate.fleets import ORIGIN

SEEDS = range(200)
SAMPLES = 60
HOSTS = ("a.example.com", "*.example.com", "*")
SAMPLED_HOSTS = ("a.example.com", "b.example.com", "elsewhere.org")
PATHS = (CHAT, "/v1", "/v1/embeddings", "/other", "/v1/models", *(
    f"/v1/models/{name}/predict" for name in ("m0", "m1", "m2", "m3", "auto", "alias-0", "nobody", "m%30")
))  # fmt: skip
NAMES = ("m0", "m1", "m2", "m3", "auto", "alias-0", "nobody", "")


def carried(chance: Chance, fleet: Fleet) -> Fleet:
    """By whomever; of what the Gateway API cannot express policy has nothing, as P301 sees to it."""
    hosts = tuple(Host(name, chance.random.choice((Carrier.GATEWAY_API, Carrier.ENVOY))) for name in HOSTS)
    return expressible(chance, with_gateway(fleet, hosts=hosts))


def expressible(chance: Chance, fleet: Fleet) -> Fleet:
    if fleet.gateways[0].orchestrator is None:
        return fleet
    rules = [
        replace(rule, conditions=tuple(c if is_expressible(c) else condition(chance) for c in rule.conditions))
        for rule in orchestrator(fleet).rules
    ]
    return with_orchestrator(fleet, rules=tuple(rules), members=(), fallback=Fallback())


def is_expressible(of: Condition) -> bool:
    by_segments = of.field is Field.PATH and of.operator is Operator.PREFIX and str(of.values[0]).endswith("/")
    in_head = of.field in (Field.MODEL, Field.HEADER, Field.USER_TIER, Field.METHOD, Field.PATH)
    return by_segments or (in_head and of.operator in (Operator.EQ, Operator.IN))


def condition(chance: Chance) -> Condition:
    field, key, values = chance.random.choice((
        (Field.HEADER, "x-team", ("chat", "code")),
        (Field.USER_TIER, "", ("pro", "free")),
        (Field.METHOD, "", ("POST", "GET")),
        (Field.PATH, "", (CHAT, "/v1", "/v1/models")),
        (Field.MODEL, "", ("auto", "m0")),
        (Field.PATH, "", ("/v1/", "/v1/chat/", "/")),
    ))  # fmt: skip
    operator = Operator.PREFIX if values[0].endswith("/") else Operator.EQ
    return Condition(field, key, operator, (chance.random.choice(values),), ORIGIN)


def edited(chance: Chance, fleet: Fleet, seed: int) -> Fleet:
    """Each edit in turn; every fourth time the hosts get other carriers, too."""
    after = expressible(chance, EDITS[seed % len(EDITS)](chance, fleet))
    return carried(chance, after) if seed % 4 == 0 else after


def sampled(chance: Chance) -> Iterator[Request]:
    for _ in range(SAMPLES):
        sent = chance.request()
        headers = [*sent.headers, ("host", chance.random.choice(SAMPLED_HOSTS))]
        if chance.random.random() < 0.5:
            headers.append((MODEL_NAME_HEADER, chance.random.choice(NAMES)))
        path = chance.random.choice((sent.path, *PATHS))
        try:
            yield read_request(Sent(chance.random.choice(("POST", "POST", "GET")), path, tuple(headers), sent.body))
        except MalformedRequestError:
            continue


def around(of: Request, chance: Chance) -> Iterator[Request]:
    """Requests that differ from one of a class in one thing, read as a client would send them."""
    name = chance.random.choice(NAMES)
    team = chance.random.choice(("chat", "code"))
    yield sent_with(of, of.path, of.headers)
    yield sent_with(of, of.path, {**of.headers, MODEL_NAME_HEADER: name})
    yield sent_with(of, of.path, {n: v for n, v in of.headers.items() if n != MODEL_NAME_HEADER})
    yield sent_with(of, f"/v1/models/{name}/predict", of.headers)
    yield sent_with(of, of.path, {**of.headers, "x-team": team})
    yield sent_with(replace(of, method="GET"), "/v1/models", of.headers)


def sent_with(of: Request, path: str, headers: object) -> Request:
    assert isinstance(headers, dict)
    body = {"stream": of.stream} if of.model is None else {"model": of.model, "stream": of.stream}
    given = (("host", of.host), *((name, value) for name, value in headers.items() if value))
    return read_request(Sent(of.method, path, given, json.dumps(body).encode()))


@pytest.mark.parametrize("seed", SEEDS)
def test_the_classes_are_those_of_which_requests_are_decided_otherwise(seed: int) -> None:
    chance = Chance(seed)
    before = carried(chance, chance.fleet(1, 2))
    after = edited(chance, before, seed)
    found = request_classes(before, after)
    assert found.left_out == 0
    shown = [each.witness for each in found.found if each.witness is not None]
    for each in found.found:
        assert each.witness is not None, each
        assert each.matches(each.witness), each
        assert differences(each)
    for request in (*sampled(chance), *shown, *(near for one in shown[:20] for near in around(one, chance))):
        of = [title(each) for each in found.found if each.matches(request)]
        assert len(of) == (decides(before, request) != decides(after, request)), (request, of)


@pytest.mark.parametrize("seed", range(0, 200, 10))
def test_a_fleet_that_stays_as_it_is_changes_no_class(seed: int) -> None:
    before, after = (carried(chance, chance.fleet(1, 2)) for chance in (Chance(seed), Chance(seed)))
    assert request_classes(before, after).found == ()


def test_the_edits_come_to_every_way_to_name_a_model() -> None:
    """Else the property says nothing of it."""
    ways = set()
    for seed in SEEDS:
        chance = Chance(seed)
        before = carried(chance, chance.fleet(1, 2))
        ways |= {each.naming.by for each in request_classes(before, edited(chance, before, seed)).found}
    assert ways == set(By)
