"""What is counted without locks is exposed as Prometheus' own exposes it."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from xds.admin.plain_metrics import PlainCounter, PlainHistogram

BOUNDS = (0.001, 0.5, 1.0, 60.0)
SECONDS = (0.0, 0.001, 0.0011, 0.5, 0.7, 1.0, 60.0, 61.0)


def test_a_counter() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    made = PlainCounter(
        "pushes", "Responses sent", ["variant", "type"], {1: ("delta", "route"), 2: ("sotw", "route")}, ours
    )
    reference = Counter("pushes", "Responses sent", ["variant", "type"], registry=theirs)
    children = {1: reference.labels("delta", "route"), 2: reference.labels("sotw", "route")}
    assert samples(ours) == samples(theirs)
    for number in (1, 40):
        made.add(1, number)
        children[1].inc(number)
    assert samples(ours) == samples(theirs)
    with pytest.raises(KeyError):
        made.add(3)


def test_a_histogram_with_a_label() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    made = PlainHistogram("stage_seconds", "Time of each stage", ("stage",), BOUNDS, ours)
    reference = Histogram("stage_seconds", "Time of each stage", ["stage"], buckets=BOUNDS, registry=theirs)
    for stage in ("load", "ack"):
        for seconds in SECONDS:
            made.observe(seconds, stage)
            reference.labels(stage).observe(seconds)
    assert samples(ours) == samples(theirs)


def test_a_histogram_without_labels() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    made = PlainHistogram("push_seconds", "From a save to a response", (), BOUNDS, ours)
    reference = Histogram("push_seconds", "From a save to a response", buckets=BOUNDS, registry=theirs)
    assert samples(ours) == samples(theirs)
    for seconds in SECONDS:
        made.observe(seconds)
        reference.observe(seconds)
    assert samples(ours) == samples(theirs)


def samples(registry: CollectorRegistry) -> list[str]:
    return [line for line in generate_latest(registry).decode().splitlines() if "_created" not in line]
