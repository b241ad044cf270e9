"""Traces to a collector that is there, that is not well, and that is not there at all."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest

from tests.envoy.upstream import Upstream, upstreams
from tests.features.served import asynchronous, until
from xds.otlp.exporter import WAITING, Exporter
from xds.otlp.settings import Settings
from xds.spans import Span, Trace

TRACE = Trace(Span("policy change", 1.0, 2.0), (Span("load", 1.0, 1.5),))


def to(collector: Upstream, **headers: str) -> Settings:
    return Settings(f"http://127.0.0.1:{collector.port}/v1/traces", headers, {"service.name": "turnout"})


@asynchronous
async def test_what_waits_is_sent_before_the_end() -> None:
    with upstreams("collector") as servers:
        async with Exporter(to(servers["collector"]), lost=pytest.fail) as exporter:
            for _ in range(3):
                exporter.send(TRACE)
        bodies = [json.loads(request.body) for request in servers["collector"].received]
    spans = [span for body in bodies for span in body["resourceSpans"][0]["scopeSpans"][0]["spans"]]
    assert [span["name"] for span in spans] == ["policy change", "load"] * 3
    assert len({span["traceId"] for span in spans}) == 3


@asynchronous
async def test_a_collector_that_refuses_is_told_of_once_and_so_is_that_it_is_well_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    lost: list[int] = []

    async def lost_so_far(number: int) -> None:
        async def there() -> bool | None:
            return sum(lost) == number or None

        await until(there)

    with upstreams("collector") as servers:
        collector = servers["collector"]
        collector.status = 503
        async with Exporter(to(collector), lost.append) as exporter:
            for number in (1, 2):
                exporter.send(TRACE)
                await lost_so_far(number)
            collector.status = 200
            exporter.send(TRACE)
    assert sum(lost) == 2
    url = f"http://127.0.0.1:{collector.port}/v1/traces"
    told = [record.getMessage() for record in caplog.records if record.name.startswith("xds.")]
    assert told == [f"traces cannot be sent to={url} problem=status 503", f"traces are sent again to={url}"]


@asynchronous
async def test_a_header_that_cannot_be_sent_loses_traces_and_is_not_repeated(caplog: pytest.LogCaptureFixture) -> None:
    lost: list[int] = []
    with upstreams("collector") as servers:
        async with Exporter(to(servers["collector"], key="s3cret\r\nx: y"), lost.append) as exporter:
            exporter.send(TRACE)
    assert lost == [1]
    assert "s3cret" not in caplog.text


def test_more_than_can_wait_is_lost() -> None:
    lost: list[int] = []

    async def run() -> None:
        exporter = Exporter(Settings("http://127.0.0.1:9"), lost.append)
        for _ in range(WAITING + 2):
            exporter.send(TRACE)

    asyncio.run(run())
    assert lost == [1, 1]
