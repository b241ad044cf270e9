"""Copies of requests, delays and errors on purpose, and the three errors of a model that cannot answer, on Envoy."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import openai
import pytest

from compiler.fleet import ColdStart, Condition, Fault, Field, LengthUnit, Mirror, Operator, Orchestrator, Rule, Target
from tests.envoy.envoy_process import wait_until
from tests.envoy.served import served
from tests.envoy.upstream import upstreams
from tests.xds.translate.fleets import ORIGIN, endpoint, fleet, model, seconds, version

REQUESTS = 1_000
CODES = {"no_healthy_instance": "1", "model_not_ready": "90", "model_not_found": None}
"""Retry-After by code."""


def near(count: int, share: float) -> bool:
    """Of `REQUESTS`, within five standard deviations."""
    return abs(count - REQUESTS * share) <= 5 * math.sqrt(REQUESTS * share * (1 - share))


def test_a_mirror_copies_its_percent_by_the_weights_of_who_gets_the_copies(tmp_path: Path) -> None:
    with upstreams("chat", "shadow-1", "shadow-2") as servers:
        one = version("1", 75, (endpoint(servers["shadow-1"].port),))
        two = version("2", 25, (endpoint(servers["shadow-2"].port),))
        chat = model("chat", (version(endpoints=(endpoint(servers["chat"].port),)),), mirror=Mirror("shadow", None, 40))
        with served(fleet(chat, model("shadow", (one, two))), tmp_path) as envoy:
            answers = [envoy.ask({"model": "chat", "prompt": "é"}) for _ in range(REQUESTS)]
            assert {(answer.status, answer.upstream) for answer in answers} == {(200, "chat")}

            def arrived() -> bool:
                sent = envoy.envoy.stats(r"^cluster.shadow_.\.upstream_rq_total$")
                return sum(sent.values()) == sum(len(servers[f"shadow-{n}"].received) for n in (1, 2))

            wait_until(arrived, what="all copies have arrived")
        copies = {n: servers[f"shadow-{n}"].received for n in (1, 2)}
        assert near(len(copies[1]), 0.30), len(copies[1])
        assert near(len(copies[2]), 0.10), len(copies[2])
        copy, original = copies[1][0], servers["chat"].received[0]
        assert (copy.path, copy.body, copy.headers["host"]) == (original.path, original.body, original.headers["host"])


def test_nobody_waits_for_a_mirror_and_nobody_minds_when_it_is_gone(tmp_path: Path) -> None:
    with upstreams("chat", "shadow") as servers:
        chat = model("chat", (version(endpoints=(endpoint(servers["chat"].port),)),), mirror=Mirror("shadow", "1", 100))
        shadow = model("shadow", (version(endpoints=(endpoint(servers["shadow"].port),)),))
        with served(fleet(chat, shadow), tmp_path) as envoy:
            servers["shadow"].first_byte_delay = 25
            assert [envoy.ask({"model": "chat"}).status for _ in range(20)] == [200] * 20
            wait_until(lambda: len(servers["shadow"].received) == 20, what="the copies have been sent")
            servers["shadow"].reset = True
            assert [envoy.ask({"model": "chat"}).status for _ in range(20)] == [200] * 20


def test_a_drill_delays_and_fails_its_percent_of_the_requests_of_its_rule_alone(tmp_path: Path) -> None:
    with upstreams("chat") as servers:
        chat = model("chat", (version(endpoints=(endpoint(servers["chat"].port),)),))
        drill = Rule(
            name="drill",
            priority=1,
            conditions=(Condition(Field.HEADER, "x-drill", Operator.EQ, ("yes",), ORIGIN),),
            targets=(Target("chat", 100),),
            retries=chat.retries,
            timeouts=chat.timeouts,
            origin=ORIGIN,
            fault=Fault(10, seconds(0.05), 20, 503),
        )
        chooser = Orchestrator("auto", (drill,), LengthUnit.CHARACTERS, (Target("chat", 100),), ORIGIN)
        with served(fleet(chat, orchestrator=chooser), tmp_path) as envoy:
            outcomes: Counter[str] = Counter()
            for _ in range(REQUESTS):
                answer = envoy.ask({}, x_drill="yes")
                outcomes[answer.error["code"] if answer.status == 503 else "well"] += 1
            assert near(outcomes["injected_fault"], 0.20), outcomes
            assert outcomes["injected_fault"] + outcomes["well"] == REQUESTS
            assert {envoy.ask({}).status for _ in range(100)} == {200}
            ((_, aborts),) = envoy.envoy.stats(r"fault\.aborts_injected$").items()
            ((_, delays),) = envoy.envoy.stats(r"fault\.delays_injected$").items()
            assert aborts == outcomes["injected_fault"]
            assert near(delays, 0.10), delays


@pytest.mark.parametrize("body", [{"model": "gone"}, {"model": "gone", "stream": True}])
def test_a_drill_has_the_status_that_policy_gives_it(body: dict[str, object], tmp_path: Path) -> None:
    gone = model("gone", fault=Fault(0, seconds(0), 100, 429))
    with served(fleet(gone), tmp_path) as envoy:
        answer = envoy.ask(body)
        assert (answer.status, answer.error["code"]) == (429, "injected_fault")


def test_not_found_not_ready_and_nothing_healthy_are_three_errors(tmp_path: Path) -> None:
    with upstreams("sick") as servers:
        servers["sick"].health = 503
        sick = model("sick", (version(endpoints=(endpoint(servers["sick"].port),)),))
        loading = model("loading", (version(endpoints=(), cold_start=ColdStart(seconds(89.5))),))
        with served(fleet(sick, loading), tmp_path) as envoy:
            found = {}
            for name in ("sick", "loading", "nobody"):
                for stream in (False, True):
                    answer = envoy.ask({"model": name, "stream": stream})
                    assert answer.headers["content-type"] == "application/json"
                    found[answer.error["code"]] = answer.headers.get("retry-after")
                    assert answer.status == (404 if name == "nobody" else 503)
            assert found == CODES


def test_openais_client_reads_the_errors_as_its_own(tmp_path: Path) -> None:
    with upstreams("chat") as servers:
        servers["chat"].health = 503
        chat = model("chat", (version(endpoints=(endpoint(servers["chat"].port),)),))
        with served(fleet(chat), tmp_path) as envoy:
            client = openai.OpenAI(base_url=f"http://127.0.0.1:{envoy.port}/v1", api_key="x", max_retries=0)
            with pytest.raises(openai.InternalServerError) as raised:
                client.chat.completions.create(model="chat", messages=[{"role": "user", "content": "?"}])
            assert raised.value.code == "no_healthy_instance"
            assert raised.value.response.headers["retry-after"] == "1"
            with pytest.raises(openai.NotFoundError, match="does not exist"):
                client.chat.completions.create(model="gpt-4", messages=[{"role": "user", "content": "?"}])
