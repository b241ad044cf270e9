"""Spans of a real Envoy arrive at a collector and say what became of the request; tracing changes beside streams."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from compiler.diagnostics import Position
from compiler.fleet import Fleet, OtlpProtocol, Platform, Rule, Target, Tier, Tracing
from demo.policies import save
from demo.processes import poll
from demo.stack import fetch
from demo.traffic import Load, chat
from tests.envoy.collector import Collector, Span, collector
from tests.envoy.envoy_process import wait_until
from tests.envoy.live import live
from tests.envoy.served import Served, served
from tests.envoy.upstream import Upstream, upstreams
from tests.xds.translate.fleets import endpoint, fleet, model, orchestrator, version
from xds.translate.tracing import COLLECTOR

ORIGIN = Position("policies/platform.yaml", 5, 12)
UPDATED = "listener_manager.listener_in_place_updated"
ENOUGH = 5
"""Spans that Envoy sends at once. With fewer it waits for five seconds."""
ASKED = {"model": "auto", "messages": [{"role": "user", "content": "hello"}]}


def of_chat(server: Upstream, tier: Tier = Tier.ACTIVE) -> Fleet:
    chat = model("chat", (version("1.0", endpoints=(replace(endpoint(server.port), tier=tier),)),))
    rule = Rule("all", 1, (), (Target("chat", 100),), chat.retries, chat.timeouts, ORIGIN)
    return fleet(chat, orchestrator=replace(orchestrator("auto", ("chat", 100)), rules=(rule,)))


def traced(of: Fleet, to: Collector, protocol: OtlpProtocol, percent: float) -> Fleet:
    return replace(of, platform=Platform(tracing=Tracing(protocol, "127.0.0.1", to.port, percent, ORIGIN)))


@contextmanager
def in_service(of: Fleet, server: Upstream, folder: Path) -> Iterator[Served]:
    with served(of, folder) as running:
        running.wait_for_health("chat_1-0", [server.port])
        yield running


def span_of(request_id: str, spans: Collector) -> Span:
    def found() -> list[Span]:
        return [span for span in spans.spans if span.attributes["guid:x-request-id"] == request_id]

    wait_until(lambda: bool(found()), what=f"a span of {request_id}", timeout=15, detail=lambda: str(spans.spans))
    [span] = found()
    return span


@pytest.mark.parametrize("protocol", OtlpProtocol)
def test_a_span_says_which_rule_and_which_version_of_which_model(protocol: OtlpProtocol, tmp_path: Path) -> None:
    request_id = str(uuid4())
    with upstreams("chat") as servers, collector(protocol) as spans:
        of = traced(of_chat(servers["chat"], Tier.HOT), spans, protocol, 100)
        with in_service(of, servers["chat"], tmp_path) as running:
            assert running.ask(ASKED, x_request_id=request_id).status == 200
            for _ in range(ENOUGH - 1):
                assert running.ask(ASKED).status == 200
            span = span_of(request_id, spans)
        headers = servers["chat"].received[0].headers
    assert {key: value for key, value in span.attributes.items() if key.startswith("turnout.")} == {
        "turnout.rule": "orchestrator/auto/rule/all",
        "turnout.model": "chat",
        "turnout.version": "1.0",
        "turnout.tier": "hot",
        "turnout.prompt_length": "5",
    }
    assert span.attributes["http.status_code"] == "200"
    assert span.resource["service.name"] == "turnout-default"
    assert span.resource["service.namespace"] == "ai-inference"
    # The engine may go on with the trace, and finds the client's id as it was.
    assert "traceparent" in headers
    assert headers["x-request-id"] == request_id


def test_the_percentage_changes_without_a_new_listener(tmp_path: Path) -> None:
    before, after = str(uuid4()), str(uuid4())
    with upstreams("chat") as servers, collector(OtlpProtocol.HTTP) as spans:
        of = of_chat(servers["chat"])
        with in_service(traced(of, spans, OtlpProtocol.HTTP, 0), servers["chat"], tmp_path) as running:
            assert running.ask(ASKED, x_request_id=before).status == 200
            running.change_to(traced(of, spans, OtlpProtocol.HTTP, 100))
            wait_until(lambda: "tracing.random_sampling" in running.envoy.get("/runtime"), what="the new layer")

            def sampled() -> bool:
                return running.ask(ASKED, x_request_id=after).status == 200 and bool(spans.spans)

            wait_until(sampled, what="spans", timeout=15)
            changes = running.envoy.stats("listener_manager.(listener_modified|listener_in_place_updated)")
    assert set(changes.values()) == {0}
    assert {span.attributes["guid:x-request-id"] for span in spans.spans} == {after}


def test_a_caller_may_keep_out_of_it_and_an_id_that_is_no_uuid_is_never_chosen(tmp_path: Path) -> None:
    sampled, unsampled = (f"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flag}" for flag in ("01", "00"))
    asked = [str(uuid4()) for _ in range(ENOUGH)]
    with upstreams("chat") as servers, collector(OtlpProtocol.HTTP) as spans:
        of = of_chat(servers["chat"])
        with in_service(traced(of, spans, OtlpProtocol.HTTP, 100), servers["chat"], tmp_path) as running:
            for request_id in asked:
                assert running.ask(ASKED, x_request_id=str(uuid4()), traceparent=unsampled).status == 200
                assert running.ask(ASKED, x_request_id="no-uuid", traceparent=sampled).status == 200
                assert running.ask(ASKED, x_request_id=request_id, traceparent=sampled).status == 200
            wait_until(lambda: len(spans.spans) >= ENOUGH, what="spans", timeout=15)
        last = servers["chat"].received[-1].headers["traceparent"]
    assert [span.attributes["guid:x-request-id"] for span in spans.spans] == asked
    assert last.split("-")[1] == sampled.split("-")[1]


def test_a_stream_goes_on_while_tracing_is_turned_on_and_off(tmp_path: Path) -> None:
    with upstreams("chat") as servers, collector(OtlpProtocol.HTTP) as spans:
        server = servers["chat"]
        server.gaps = (0.0,) + (0.2,) * 10
        of = of_chat(server)
        with in_service(of, server, tmp_path) as running:
            connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=30)
            connection.request("POST", "/v1/chat/completions", json.dumps({**ASKED, "stream": True}))
            stream = connection.getresponse()
            assert stream.readline() == b"data: chat 0\n"
            for number, wanted in enumerate((traced(of, spans, OtlpProtocol.HTTP, 100), of), 1):
                running.change_to(wanted)
                wait_until(lambda n=number: running.envoy.stats(UPDATED)[UPDATED] == n, what="the new listener")
            assert stream.read().endswith(b"data: chat 10\n\n")
            connection.close()


def test_requests_are_served_where_there_is_no_collector(tmp_path: Path) -> None:
    with upstreams("chat") as servers:
        nobody = Tracing(OtlpProtocol.GRPC, "collector.invalid", 4317, 100, ORIGIN)
        of = replace(of_chat(servers["chat"]), platform=Platform(tracing=nobody))
        with in_service(of, servers["chat"], tmp_path) as running:
            assert running.ask(ASKED).status == 200


@pytest.mark.parametrize("variant", ["delta", "sotw"])
def test_an_edit_turns_it_on_and_off_at_a_running_envoy(variant: str, tmp_path: Path) -> None:
    with live(tmp_path, variant) as running, collector(OtlpProtocol.GRPC) as spans:
        policy = running.policies.folder / "fleet.yaml"
        plain = policy.read_text()
        before = running.status()["policy"]["digest"]
        tracing = f'tracing: {{otlp: "grpc://127.0.0.1:{spans.port}", percent: 100}}'
        save(policy, plain.replace("\nspec:\n", f"\nspec:\n  {tracing}\n", 1))
        running.wait_for_edit(before)
        with Load(running.envoy.url, 1, chat("split"), limit=ENOUGH) as load:
            assert poll(lambda: load.count >= ENOUGH, 20)
        assert poll(lambda: bool(spans.spans), 20)
        assert {span.attributes["turnout.model"] for span in spans.spans} == {"split"}
        before = running.status()["policy"]["digest"]
        save(policy, plain)
        running.wait_for_edit(before)
        assert COLLECTOR not in fetch(f"{running.envoy.admin}/clusters").decode()
