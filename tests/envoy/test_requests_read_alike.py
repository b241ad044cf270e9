"""Requests at the edges of what a gateway reads: Envoy and `evaluate` read them alike, and none of them does harm."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compiler import regex
from compiler.evaluate import Stage, evaluate
from compiler.fleet import (
    Condition,
    Fallback,
    Field,
    Fleet,
    HashAlgorithm,
    HashKey,
    HashSource,
    Hop,
    LengthUnit,
    LoadBalancing,
    Member,
    Operator,
    Orchestrator,
    Rule,
    SlowStart,
    Strategy,
    Target,
)
from compiler.fleet.rules import Value
from compiler.request import MOST_CAPABILITIES, MalformedRequestError, Sent, read_request
from tests.envoy.served import Served, served
from tests.envoy.upstream import Upstream, upstreams
from tests.xds.translate.fleets import ORIGIN, endpoint, fleet, model, orchestrator, seconds, version

PATH = "/v1/completions"
JSON = ("content-type", "application/json")
NAMES = tuple(f"capability-{number}" for number in range(MOST_CAPABILITIES))


def asked(field: Field, operator: Operator, *values: Value, key: str = "") -> Rule:
    """A rule that leads to `hit`."""
    base = model("base")
    condition = Condition(field, key, operator, values, ORIGIN)
    return Rule("asked", 1, (condition,), (Target("hit", 100),), base.retries, base.timeouts, ORIGIN)


def two_models(server: Upstream, *rules: Rule, members: tuple[Member, ...] = ()) -> Fleet:
    hit, miss = (model(name, (version(endpoints=(endpoint(server.port),)),)) for name in ("hit", "miss"))
    chooser = Orchestrator("auto", rules, LengthUnit.CHARACTERS, (Target("miss", 100),), ORIGIN, members)
    return fleet(hit, miss, orchestrator=chooser)


@pytest.fixture
def server() -> Iterator[Upstream]:
    with upstreams("one") as servers:
        yield servers["one"]


def answering(envoy: Served, sent: Sent) -> str:
    """The model that answers; headers may be given more than once."""
    connection = http.client.HTTPConnection("127.0.0.1", envoy.port, timeout=30)
    connection.putrequest(sent.method, sent.path)
    for name, value in (*sent.headers, ("content-length", str(len(sent.body)))):
        connection.putheader(name, value)
    connection.endheaders(sent.body)
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    return answer.getheader("x-turnout-model", "")


def evaluated(of: Fleet, sent: Sent) -> str:
    (target,) = evaluate(of, read_request(sent)).targets
    return target.model.name


def post(document: Any, *headers: tuple[str, str]) -> Sent:
    return Sent("POST", PATH, (JSON, *headers), json.dumps(document).encode())


@pytest.mark.parametrize(
    ("operator", "values", "expected"),
    [
        (Operator.EQ, ("x",), "hit"),
        (Operator.EQ, ("y",), "hit"),
        (Operator.EQ, ("x,y",), "miss"),
        (Operator.NE, ("x",), "miss"),
        (Operator.NE, ("z",), "hit"),
        (Operator.IN, ("z", "y"), "hit"),
        (Operator.PREFIX, ("y",), "hit"),
        (Operator.CONTAINS, (",",), "miss"),
        (Operator.REGEX, ("x.*y",), "miss"),
    ],
)
def test_of_a_header_given_twice_one_value_is_enough(
    server: Upstream, tmp_path: Path, operator: Operator, values: tuple[str, ...], expected: str
) -> None:
    of = two_models(server, asked(Field.HEADER, operator, *values, key="x-team"))
    sent = post({}, ("x-team", "x"), ("x-team", "y"))
    with served(of, tmp_path) as envoy:
        assert (answering(envoy, sent), evaluated(of, sent)) == (expected, expected)


@pytest.mark.parametrize(
    ("operator", "values"),
    [
        (Operator.REGEX, (".*/embed.*",)),
        (Operator.CONTAINS, ("embed",)),
        (Operator.PREFIX, ("/v1/embed",)),
        (Operator.EQ, ("/v1/embeddings",)),
        (Operator.IN, ("/v1/embeddings", "/x")),
        (Operator.NE, (PATH,)),
    ],
)
def test_a_query_is_no_part_of_the_path(
    server: Upstream, tmp_path: Path, operator: Operator, values: tuple[str, ...]
) -> None:
    """A client does not choose its rule by a parameter."""
    of = two_models(server, asked(Field.PATH, operator, *values))
    with served(of, tmp_path) as envoy:
        for path, expected in ((f"{PATH}?x=/v1/embeddings", "miss"), ("/v1/embeddings?x=1", "hit")):
            sent = replace(post({}), path=path)
            assert (answering(envoy, sent), evaluated(of, sent)) == (expected, expected)
        sent = Sent("GET", "/v1/embeddings/x", (("model-name", "auto"),), b"")
        assert answering(envoy, sent) == evaluated(of, sent)


@pytest.mark.parametrize("text", ["x" * 300 + "needle", "a\nneedle", "x" * 257 + "needle", "needle\x7f"])
def test_a_metadata_entry_that_fits_no_header_counts_as_absent(server: Upstream, tmp_path: Path, text: str) -> None:
    of = two_models(server, asked(Field.METADATA, Operator.CONTAINS, "needle", key="team"))
    with served(of, tmp_path) as envoy:
        for metadata, expected in (({"team": text}, "miss"), ({"team": "a needle"}, "hit")):
            sent = post({"metadata": metadata})
            assert (answering(envoy, sent), evaluated(of, sent)) == (expected, expected)


def test_a_request_may_ask_for_so_many_capabilities_and_no_more(server: Upstream, tmp_path: Path) -> None:
    """The set of one member is a regular expression of all its names; Envoy's own limit of those is 100."""
    of = two_models(server, members=(Member("hit", tuple(sorted(NAMES)), ORIGIN),))
    with served(of, tmp_path) as envoy:
        for most in (post({"capabilities": NAMES}), post({}, ("x-capability", ", ".join(NAMES)))):
            assert (answering(envoy, most), evaluated(of, most)) == ("hit", "hit")
        for over in (
            post({"capabilities": [*NAMES, "more"]}),
            post({"capabilities": NAMES}, ("x-capability", "more")),
            post({"capabilities": [",".join([*NAMES, "more"])]}),
            post({"capabilities": ["x"] * 65}),
        ):
            with pytest.raises(MalformedRequestError, match="more than 64 capabilities"):
                read_request(over)
            answer = envoy.request("POST", PATH, over.body, dict(over.headers))
            assert (answer.status, answer.error["code"]) == (400, "too_many_capabilities")
        long = post({"capabilities": ["x" * 41]})
        assert (answering(envoy, long), evaluated(of, long)) == ("miss", "miss")


def test_a_million_capabilities_cost_no_more_than_the_body_that_holds_them(server: Upstream, tmp_path: Path) -> None:
    """Against the same bytes as a prompt, in the same run."""
    with served(two_models(server), tmp_path) as envoy:
        words = [f"c{number}" for number in range(250_000)]
        costs = {}
        for key in ("capabilities", "stop"):
            body = json.dumps({key: words}).encode()
            before = envoy.envoy.cpu_seconds()
            for _ in range(5):
                envoy.request("POST", PATH, body, dict([JSON]))
            costs[key] = envoy.envoy.cpu_seconds() - before
        assert costs["capabilities"] < 3 * costs["stop"] + 0.1, costs


PATTERNS = (
    r"\w+", ".*", "a{,5}", "[[:alpha:]]+", "(?i)ABC", "[a-z]{1,64}@example[.]com", "(a|b)*c", r"\d{3}-\d{4}", "x?y+",
    "(?P<year>[0-9]+)-x", r"[^\s]+", "((ab){2,3}){2}", r"\pL+", "a.c", "..", "x{1000}", r"^a\b.*\z$", r"\Qa-\Ec",
)  # fmt: skip
TEXTS = ("abc", "ABC", "aaa", "a{,5}", "me@example.com", "ababc", "123-4567", "yyy", "2026-x", "abababab", "a-c", "axc")
WIDE_TEXTS = ("日本", "日", "é", "\u0663\u0663\u0663-1234", "\ud83d")
"""A header of a client would not have them, metadata may: three digits that are not ASCII's, half a surrogate pair."""


def test_each_pattern_that_is_accepted_means_the_same_to_envoy(server: Upstream, tmp_path: Path) -> None:
    assert not any(map(regex.problem, PATTERNS))
    rules = tuple(
        replace(rule, name=f"rule-{n}", priority=-n, conditions=(*rule.conditions, *numbered.conditions))
        for n, pattern in enumerate(PATTERNS)
        for rule in [asked(Field.METADATA, Operator.REGEX, pattern, key="text")]
        for numbered in [asked(Field.HEADER, Operator.EQ, str(n), key="x-n")]
    )
    of = two_models(server, *rules)
    with served(of, tmp_path) as envoy:
        found = {
            (pattern, text): (answering(envoy, sent), evaluated(of, sent))
            for number, pattern in enumerate(PATTERNS)
            for text in (*TEXTS, *WIDE_TEXTS)
            for sent in [post({"metadata": {"text": text}}, ("x-n", str(number)))]
        }
    assert {key: pair for key, pair in found.items() if pair[0] != pair[1]} == {}
    assert found[r"\w+", "abc"] == ("hit", "hit")
    assert found[r"\w+", "日本"] == ("miss", "miss")


def test_a_long_list_of_values_is_no_reason_for_envoy_to_refuse_the_routes(server: Upstream, tmp_path: Path) -> None:
    teams = tuple(f"team-of-people-number-{number}" for number in range(300))
    of = two_models(server, asked(Field.HEADER, Operator.IN, *teams, key="x-team"))
    with served(of, tmp_path) as envoy:
        assert answering(envoy, post({}, ("x-team", teams[-1]))) == "hit"
        assert answering(envoy, post({}, ("x-team", "team"))) == "miss"


def test_the_list_of_models_is_answered_whatever_the_request_names(server: Upstream, tmp_path: Path) -> None:
    of = two_models(server)
    listing = Sent("GET", "/v1/models?x=1", (("model-name", "hit"),), b"")
    with served(of, tmp_path) as envoy:
        assert envoy.request("GET", listing.path, headers=dict(listing.headers)).json["object"] == "list"
        assert envoy.request("POST", "/v1/models", b"{", {"model-name": "hit"}).status == 404
    decision = evaluate(of, read_request(listing))
    assert (decision.stage, decision.refusal, decision.targets) == (Stage.MODELS, None, ())
    posted = evaluate(of, read_request(replace(listing, method="POST", body=b"{")))
    assert posted.refusal == "model_not_found"


def hashed(source: HashSource, name: str) -> LoadBalancing:
    key = HashKey(source, name)
    return LoadBalancing(Strategy.CONSISTENT_HASH, key, HashAlgorithm.MAGLEV, SlowStart(seconds(0), 10))


@pytest.mark.parametrize("hop", [hashed(HashSource.COOKIE, "user"), hashed(HashSource.HEADER, "x-user")])
def test_a_hop_with_a_key_of_its_own_moves_nobody_off_the_instance(hop: LoadBalancing, tmp_path: Path) -> None:
    with upstreams("a", "b", "c", "hop") as servers:
        instances = tuple(endpoint(servers[name].port) for name in ("a", "b", "c"))
        chosen = model("chosen", (version(endpoints=instances),), load_balancing=hashed(HashSource.HEADER, "x-session"))
        other = model("other", (version(endpoints=(endpoint(servers["hop"].port),)),), load_balancing=hop)
        chooser = replace(orchestrator("auto", ("chosen", 100)), fallback=Fallback((Hop("other", (), ORIGIN),)))
        with served(fleet(chosen, other, orchestrator=chooser), tmp_path) as envoy:
            found = {
                envoy.ask({}, x_session="one", x_user=f"user-{n}", cookie=f"user=u{n}").upstream for n in range(30)
            }
        assert len(found) == 1
