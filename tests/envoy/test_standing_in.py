"""Who answers on a real Envoy when the model that was chosen cannot, and who never does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from compiler.fleet import (
    ConnectionPool,
    Fallback,
    Fleet,
    HealthCheck,
    Hop,
    LengthUnit,
    Member,
    OnExplicitModel,
    Orchestrator,
    Target,
    Tier,
)
from tests.envoy.served import Answer, Served, served
from tests.envoy.upstream import Upstream, upstreams
from tests.xds.translate.fleets import ORIGIN, endpoint, fleet, model, orchestrator, seconds, version

PROBE = HealthCheck("/health", seconds(0.2), seconds(0.2), 1, 1)
SERVERS = ("large-1", "large-2", "small")
CHAIN = (Hop("large", (), ORIGIN), Hop("small", ("large",), ORIGIN))
FALLBACK = Fallback(CHAIN)


def of(servers: dict[str, Upstream], fallback: Fallback) -> Fleet:
    """`large` with two instances and `small` with one; both can chat, `large` can code."""
    ports = {name: server.port for name, server in servers.items()}
    large = (version(endpoints=(endpoint(ports["large-1"]), endpoint(ports["large-2"])), health_check=PROBE),)
    small = (version(endpoints=(endpoint(ports["small"]),), health_check=PROBE),)
    members = (Member("small", ("chat",), ORIGIN), Member("large", ("chat", "code"), ORIGIN))
    chooser = Orchestrator("auto", (), LengthUnit.CHARACTERS, (Target("large", 100),), ORIGIN, members, fallback)
    return fleet(model("large", large), model("small", small), orchestrator=chooser)


@contextmanager
def running(tmp_path: Path, fallback: Fallback = FALLBACK) -> Iterator[tuple[Served, dict[str, Upstream]]]:
    with upstreams(*SERVERS) as servers, served(of(servers, fallback), tmp_path) as envoy:
        yield envoy, servers


def lose(envoy: Served, servers: dict[str, Upstream], *names: str) -> None:
    for name in names:
        servers[name].health = 503
    for cluster, members in (("large_1", SERVERS[:2]), ("small_1", SERVERS[2:])):
        envoy.wait_for_health(cluster, [servers[name].port for name in members if servers[name].health == 200])


def answerer(answer: Answer) -> str:
    assert answer.status == 200, answer
    return answer.headers["x-turnout-model"]


def test_the_next_hop_answers_when_nothing_of_the_chosen_model_is_healthy_and_says_so(tmp_path: Path) -> None:
    with running(tmp_path) as (envoy, servers):
        assert answerer(envoy.ask({})) == "large"
        lose(envoy, servers, "large-1")
        assert {envoy.ask({}).upstream for _ in range(20)} == {"large-2"}
        lose(envoy, servers, "large-2")
        assert {answerer(envoy.ask({"model": "auto"})) for _ in range(10)} == {"small"}
        lose(envoy, servers, "small")
        last = envoy.ask({})
        assert (last.status, last.error["code"], last.headers["retry-after"]) == (503, "no_healthy_instance", "1")


def test_a_model_with_tiers_is_asked_as_long_as_any_instance_of_any_tier_is_healthy(tmp_path: Path) -> None:
    with upstreams("active-1", "active-2", "hot-1", "hot-2", "spare") as servers:
        tiers = [endpoint(servers[n].port, Tier.ACTIVE if "active" in n else Tier.HOT) for n in list(servers)[:4]]
        chat = model("chat", (version(endpoints=tuple(tiers), health_check=PROBE),))
        spare = model("spare", (version(endpoints=(endpoint(servers["spare"].port),), health_check=PROBE),))
        chooser = replace(orchestrator("auto", ("chat", 100)), fallback=Fallback((Hop("spare", (), ORIGIN),)))
        with served(fleet(chat, spare, orchestrator=chooser), tmp_path) as envoy:
            for lost, answering in (
                ("active-1", {"active-2", "hot-1", "hot-2"}),
                ("hot-1", {"active-2", "hot-2"}),
                ("active-2", {"hot-2"}),
                ("hot-2", {"spare"}),
            ):
                servers[lost].health = 503
                well = [server.port for name, server in servers.items() if server.health == 200 and name != "spare"]
                for cluster in ("chat_1", "chat_1_rest"):
                    envoy.wait_for_health(cluster, well)
                assert {envoy.ask({}).upstream for _ in range(40)} == answering


def test_one_bad_instance_is_no_reason_for_another_model_to_answer(tmp_path: Path) -> None:
    with running(tmp_path) as (envoy, servers):
        servers["large-1"].status = 503
        assert {answerer(envoy.ask({})) for _ in range(30)} == {"large"}


def test_no_request_is_lost_when_a_model_dies_at_work(tmp_path: Path) -> None:
    """Before any health check or ejection knows of it."""
    with running(tmp_path) as (envoy, servers):
        servers["large-1"].reset = servers["large-2"].reset = True
        assert {answerer(envoy.ask({})) for _ in range(10)} == {"small"}


@pytest.mark.parametrize(
    ("explicit", "named_large", "named_small", "unknown"),
    [
        (OnExplicitModel.NEVER, 503, 503, 404),
        (OnExplicitModel.ON_UNAVAILABLE, 200, 503, 404),
        (OnExplicitModel.ALWAYS, 200, 200, 200),
    ],
)
def test_a_client_that_names_its_model_gets_another_only_where_policy_says_so(
    explicit: OnExplicitModel, named_large: int, named_small: int, unknown: int, tmp_path: Path
) -> None:
    with running(tmp_path, Fallback(CHAIN, explicit)) as (envoy, servers):
        lose(envoy, servers, "large-1", "large-2")
        assert envoy.ask({"model": "large"}).status == named_large
        assert envoy.ask({"model": "nobody"}).status == unknown
        assert envoy.ask({"model": "small"}).status == 200
    with running(tmp_path, Fallback(CHAIN, explicit)) as (envoy, servers):
        lose(envoy, servers, "small")
        assert envoy.ask({"model": "small"}).status == named_small
        assert envoy.ask({"model": "large"}).status == 200


def test_an_engine_is_not_asked_for_a_name_that_nobody_has(tmp_path: Path) -> None:
    """It would answer 404; the orchestrator's name it was started with."""
    with running(tmp_path, Fallback(CHAIN, OnExplicitModel.ALWAYS)) as (envoy, servers):
        for body in ('{"model": "no-\\u00e9body", "prompt": "é"}', '{"a": [{"model": "x"}], "model" : "gpt-5"}'):
            assert answerer(envoy.ask(body.encode())) == "large"
        assert answerer(envoy.ask(b'{"model": "small", "prompt": "as it is"}')) == "small"
        assert answerer(envoy.ask({"prompt": "x"}, model_name="nobody")) == "large"
        received = [request for name in SERVERS for request in servers[name].received]
        assert sorted(request.body.decode() for request in received) == sorted(
            [
                '{"model": "auto", "prompt": "é"}',
                '{"a": [{"model": "x"}], "model" : "auto"}',
                '{"model": "small", "prompt": "as it is"}',
                '{"prompt": "x"}',
            ]
        )


def test_the_smallest_model_that_can_answers_and_when_it_is_gone_a_larger_one(tmp_path: Path) -> None:
    with running(tmp_path, Fallback()) as (envoy, servers):
        assert answerer(envoy.ask({"capabilities": ["chat"]})) == "small"
        assert answerer(envoy.ask({}, x_capability="code, chat")) == "large"
        lose(envoy, servers, "small")
        assert answerer(envoy.ask({"capabilities": ["chat"]})) == "large"


def test_the_limits_of_a_version_hold_where_others_stand_in_for_it(tmp_path: Path) -> None:
    with upstreams("chat", "spare") as servers:
        limits = ConnectionPool(2, 1, 2, 0, seconds(1))
        chat = model("chat", (version(endpoints=(endpoint(servers["chat"].port),), connection_pool=limits),))
        spare = model("spare", (version(endpoints=(endpoint(servers["spare"].port),)),))
        chooser = replace(orchestrator("auto", ("chat", 100)), fallback=Fallback((Hop("spare", (), ORIGIN),)))
        servers["chat"].first_byte_delay = 1
        with served(fleet(chat, spare, orchestrator=chooser), tmp_path) as envoy, ThreadPoolExecutor(10) as pool:
            answers = list(pool.map(lambda _: envoy.ask({}), range(10)))
        assert len(servers["chat"].received) <= 3
        assert not servers["spare"].received
        assert {answer.error["code"] for answer in answers if answer.status == 503} == {"overloaded"}


def test_a_stream_that_has_begun_is_not_begun_again_by_another_model(tmp_path: Path) -> None:
    with running(tmp_path) as (envoy, servers):
        for name in SERVERS[:2]:
            servers[name].gaps = (0.0, 0.0)
            servers[name].cut_after = 1
        answer = envoy.ask({"stream": True})
        assert answer.status == 200
        assert b"large" in answer.body
        assert b"small" not in answer.body
        assert not servers["small"].received


def test_shares_of_a_split_each_have_their_own_hops(tmp_path: Path) -> None:
    with upstreams("one", "two", "spare") as servers:
        first, second = (
            version(name, weight=50, endpoints=(endpoint(servers[server].port),), health_check=PROBE)
            for name, server in (("1", "one"), ("2", "two"))
        )
        chat = model("chat", (first, second))
        spare = model("spare", (version(endpoints=(endpoint(servers["spare"].port),), health_check=PROBE),))
        chooser = replace(orchestrator("auto", ("chat", 100)), fallback=Fallback((Hop("spare", (), ORIGIN),)))
        with served(fleet(chat, spare, orchestrator=chooser), tmp_path) as envoy:
            servers["two"].health = 503
            envoy.wait_for_health("chat_2", [])
            counts = Counter(envoy.ask({}).upstream for _ in range(200))
            assert set(counts) == {"one", "spare"}
            assert abs(counts["one"] - 100) < 4 * 50**0.5
