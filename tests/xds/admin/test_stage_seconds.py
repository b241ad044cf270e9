"""The histogram of stages counts as Prometheus' own does."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Histogram, generate_latest

from xds.admin.stage_seconds import StageSeconds

BOUNDS = (0.001, 0.5, 1.0, 60.0)


def test_it_is_exposed_as_prometheus_own_histogram_is() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    made = StageSeconds(BOUNDS)
    ours.register(made)
    text = next(iter(made.collect())).documentation
    reference = Histogram("turnout_stage_seconds", text, ["stage"], buckets=BOUNDS, registry=theirs)
    for stage in ("load", "ack"):
        for seconds in (0.0, 0.001, 0.0011, 0.5, 0.7, 1.0, 60.0, 61.0):
            made.observe(stage, seconds)
            reference.labels(stage).observe(seconds)
    assert samples(ours) == samples(theirs)


def samples(registry: CollectorRegistry) -> list[str]:
    return [line for line in generate_latest(registry).decode().splitlines() if "_created" not in line]
