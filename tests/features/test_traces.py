"""A change as a trace, from the file to the last Envoy."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from typing import Any

import pytest

from demo.processes import free_port
from tests.envoy.envoy_process import wait_until
from tests.envoy.upstream import upstreams
from tests.features.ads import ENDPOINT, RUNTIME, stream
from tests.features.served import DEADLINE, Folder, asynchronous, model, served, until
from tests.features.test_bursts import SPLIT
from tests.features.test_serve import turnout_serve, until_it_says
from xds.spans import Trace
from xds.stream.state import Variant

COMPILER = ["load", "decode", "link", "prove", "emit"]


async def next_of(traces: list[Trace]) -> Trace:
    async def there() -> Trace | None:
        return traces.pop(0) if traces else None

    return await until(there)


@asynchronous
async def test_a_policy_change_is_one_trace_that_ends_with_the_last_answer(folder: Folder) -> None:
    traces: list[Trace] = []
    async with served(folder.path, trace=traces.append) as server, AsyncExitStack() as streams:
        first = await next_of(traces)
        assert first.root.attributes["turnout.streams"] == 0
        assert [part.name for part in first.parts] == [*COMPILER, "translate"]
        quick, slow = [
            await streams.enter_async_context(stream(server.xds, Variant.DELTA, name)) for name in ("quick", "slow")
        ]
        for envoy in (quick, slow):
            await envoy.synced()
        folder.write("models", model("chat", 9002) + "---\n" + model("embed"))
        held = await slow.read()
        await quick.accepted()
        await quick.quiet()
        assert traces == []
        await slow.accept(held)
        trace = await next_of(traces)
    root = trace.root
    assert root.name == "policy change"
    assert [part.name for part in trace.parts] == [*COMPILER, "translate", "push endpoint"]
    wanted: dict[str, object] = {
        "turnout.outcome": "converged",
        "turnout.files_changed": 1,
        "turnout.files": "models.yaml",
        "turnout.models": 2,
        "turnout.errors": 0,
        "turnout.streams": 2,
        "turnout.streams_behind": 0,
        "turnout.responses": 2,
        "turnout.last_node": "slow",
    }
    assert wanted.items() <= root.attributes.items()
    assert trace.parts[-1].attributes["turnout.bytes"] == 2 * len(held.raw)
    moments = [moment for part in trace.parts for moment in (part.began, part.ended)]
    assert moments == sorted(moments)
    assert (root.began <= moments[0], root.ended >= moments[-1]) == (True, True)
    assert root.error == ""


@asynchronous
async def test_a_broken_edit_is_a_trace_with_its_first_error(folder: Folder) -> None:
    traces: list[Trace] = []
    async with served(folder.path, trace=traces.append):
        await next_of(traces)
        folder.write("models", model("chat") + "  weight: 1\n")
        trace = await next_of(traces)
    assert trace.root.error == "1 errors"
    assert trace.root.attributes["turnout.outcome"] == "broken"
    assert str(trace.root.attributes["turnout.first_error"]).startswith("policies/models.yaml:8:3: P")
    assert [part.name for part in trace.parts] == ["load", "decode", "link"]


@asynchronous
async def test_a_change_that_another_one_overtakes_says_so_and_a_refusal_is_an_error(folder: Folder) -> None:
    traces: list[Trace] = []
    async with served(folder.path, trace=traces.append) as server, stream(server.xds, Variant.DELTA) as envoy:
        await envoy.synced()
        await next_of(traces)
        folder.write("models", model("chat", 9002) + "---\n" + model("embed"))
        first = await envoy.read()
        folder.write("models", model("chat", 9003) + "---\n" + model("embed"))
        overtaken = await next_of(traces)
        assert overtaken.root.attributes["turnout.outcome"] == "superseded"
        assert overtaken.root.attributes["turnout.streams_behind"] == 1
        answer = await envoy.read()
        assert answer.type is ENDPOINT
        await envoy.accept(first)
        await envoy.refuse(answer, "no")
        refused = await next_of(traces)
    assert refused.root.error == "1 responses refused"
    assert refused.parts[-1].error == "1 responses refused"


@asynchronous
async def test_live_weights_are_a_trace_too(folder: Folder) -> None:
    folder.write("models", SPLIT)
    traces: list[Trace] = []
    async with served(folder.path, trace=traces.append) as server, stream(server.xds, Variant.DELTA) as envoy:
        await envoy.ask(RUNTIME, "turnout")
        await envoy.accepted()
        await next_of(traces)
        await server.set_weights("split", {"1": 40, "2": 60})
        await envoy.accepted()
        trace = await next_of(traces)
    assert trace.root.name == "live weights"
    assert [part.name for part in trace.parts] == ["push runtime"]
    assert trace.root.attributes["turnout.live_models"] == 1


def spans(body: bytes) -> list[dict[str, Any]]:
    (of_resource,) = json.loads(body)["resourceSpans"]
    assert {"key": "service.name", "value": {"stringValue": "turnout"}} in of_resource["resource"]["attributes"]
    (scope,) = of_resource["scopeSpans"]
    found: list[dict[str, Any]] = scope["spans"]
    return found


def test_traces_go_to_the_collector_of_opentelemetrys_variables(folder: Folder) -> None:
    with upstreams("collector") as servers:
        collector = servers["collector"]
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://user:pa55@127.0.0.1:{collector.port}",
            "OTEL_EXPORTER_OTLP_HEADERS": "x-key=Bearer%20s3cret",
        }
        with turnout_serve(folder, environment=variables) as process:
            until_it_says(process, "policy loaded")
            wait_until(lambda: bool(collector.received), what="a trace", timeout=DEADLINE)
            process.terminate()
            said = process.communicate(timeout=DEADLINE)[1]
    (request,) = collector.received
    assert (request.method, request.path) == ("POST", "/v1/traces")
    assert request.headers["content-type"] == "application/json"
    assert request.headers["x-key"] == "Bearer s3cret"
    root, *parts = spans(request.body)
    assert root["name"] == "policy change"
    assert "parentSpanId" not in root
    assert {part["parentSpanId"] for part in parts} == {root["spanId"]}
    assert len({span["spanId"] for span in (root, *parts)}) == len(parts) + 1
    assert {span["traceId"] for span in parts} == {root["traceId"]}
    assert "s3cret" not in said


def test_a_collector_that_is_not_there_is_told_of_once_and_holds_nothing_up(folder: Folder) -> None:
    variables = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"http://user:pa55@127.0.0.1:{free_port()}/v1/traces"}
    with turnout_serve(folder, environment=variables) as process:
        until_it_says(process, r"WARNING traces cannot be sent to=http://127\.0\.0\.1:\d+/v1/traces problem=")
        folder.models("chat")
        until_it_says(process, "policy loaded digest=.* models=1")
        process.terminate()
        said = process.communicate(timeout=DEADLINE)[1]
        assert process.returncode == 0
    assert "traces" not in said
    assert "pa55" not in said


@pytest.mark.parametrize(
    "variables",
    [
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "user:pa55@collector:4317"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
    ],
)
def test_a_setting_that_cannot_be_done_is_an_error_with_a_reason(folder: Folder, variables: dict[str, str]) -> None:
    with turnout_serve(folder, environment=variables) as process:
        said = process.communicate(timeout=DEADLINE)[1]
        assert process.returncode == 1
    assert "turnout serve: OTEL_EXPORTER_OTLP_" in said
    assert "pa55" not in said
    assert "Traceback" not in said
