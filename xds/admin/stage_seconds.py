"""How long the stages of pushes take, as a histogram that costs a stream next to nothing."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class StageSeconds(Collector):
    """prometheus_client's own takes 3 µs for a value, which, for every response and answer of a thousand streams, is a
    fiftieth of what a change costs. This one has no lock: it is of the event loop's thread alone."""

    def __init__(self, bounds: Sequence[float]) -> None:
        """`bounds` are the upper ones of the buckets, in seconds, from low to high."""
        self._bounds = bounds
        self._counts: dict[str, list[int]] = defaultdict(lambda: [0] * (len(bounds) + 1))
        self._sums: dict[str, float] = defaultdict(float)

    def observe(self, stage: str, seconds: float) -> None:
        self._counts[stage][bisect_left(self._bounds, seconds)] += 1
        self._sums[stage] += seconds

    def collect(self) -> Iterator[HistogramMetricFamily]:
        family = HistogramMetricFamily(
            "turnout_stage_seconds",
            "Time of each stage of a push; send: until the transport takes a response; ack: from there to its answer",
            labels=["stage"],
        )
        names = [*map(floatToGoString, self._bounds), "+Inf"]
        for stage, counts in self._counts.items():
            buckets = list(zip(names, map(float, accumulate(counts)), strict=True))
            family.add_metric([stage], buckets, self._sums[stage])
        yield family
