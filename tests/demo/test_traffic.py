"""The load generator counts what became of every request, against a real server that dies at work."""

from __future__ import annotations

import json
import urllib.request

from demo.policies import Instance
from demo.processes import free_port
from demo.stack import Stack
from demo.traffic import Load, chat, send


def new_instance() -> tuple[Instance, str]:
    instance = Instance("mistral-7b", "1", "active", "az-1", "127.0.0.1", free_port())
    return instance, f"http://{instance.address}:{instance.port}"


def test_a_counted_number_of_requests_is_sent_and_told_by_instance(url: str) -> None:
    tally = send(url, 50, chat("llama-70b"), chat("llama-70b", stream=True), clients=7)
    assert len(tally.answers) == 50
    assert tally.by("model", "version", "tier", "zone") == {("llama-70b", "1.1", "hot", "az-3"): 50}
    assert not tally.failures


def test_an_error_is_a_lost_request_with_its_reason(stack: Stack) -> None:
    instance, url = new_instance()
    stack.start_instances([instance])
    control = urllib.request.Request(f"{url}/control", json.dumps({"status": 503}).encode(), method="POST")
    urllib.request.urlopen(control, timeout=5).close()
    tally = send(url, 5, chat("mistral-7b"))
    assert len(tally.lost) == 5
    assert not tally.cut
    assert all(reason.startswith("503") and "told to fail" in reason for reason in tally.failures)


def test_a_server_killed_at_work_loses_requests_and_cuts_streams(stack: Stack) -> None:
    instance, url = new_instance()
    forever = ("--answer-time", "60s", "--token-interval", "100ms", "--tokens", "600")
    server = stack.start_instances([instance], *forever)[instance]
    with Load(url, 4, chat("mistral-7b"), chat("mistral-7b", stream=True)) as load:
        load.wait_for_begun(2)
        server.kill()
    tally = load.tally()
    assert len(tally.cut) == 2
    assert all(answer.begun and answer.status == 200 for answer in tally.cut)
    assert tally.lost
    assert all(answer.status == 0 for answer in tally.lost)


def test_a_load_can_wait_for_an_answer_of_a_kind(url: str) -> None:
    with Load(url, 2, chat("llama-70b")) as load:
        answer = load.wait_for_answer(lambda a: a.tier == "hot", "from a hot instance")
        load.wait_for(10)
    assert answer.version == "1.1"
    assert load.count > 10
    assert len(load.tally().since(answer.ended).answers) < load.count
