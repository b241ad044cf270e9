"""Counters and histograms that each response and each answer of each stream adds to, and that cost it next to nothing.

prometheus_client's own take 1 µs for a count and 3 µs for a value; a push to a stream and its answer are three of each.
These have no locks: they are of the event loop's thread alone.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

K = TypeVar("K", bound=Hashable)


class PlainCounter(Collector, Generic[K]):
    """A counter. All its keys are known from the start, so that each is exposed before it is counted."""

    def __init__(
        self,
        name: str,
        documentation: str,
        labels: Sequence[str],
        keys: Mapping[K, Sequence[str]],
        registry: CollectorRegistry,
    ) -> None:
        """`keys` are what it is counted by, each with its values for `labels`."""
        self._name, self._documentation, self._labels, self._keys = name, documentation, labels, keys
        self._counts = dict.fromkeys(keys, 0)
        registry.register(self)

    def add(self, key: K, number: int = 1) -> None:
        """Raises KeyError for a key that it was not made with."""
        self._counts[key] += number

    def collect(self) -> Iterator[CounterMetricFamily]:
        family = CounterMetricFamily(self._name, self._documentation, labels=self._labels)
        for key, values in self._keys.items():
            family.add_metric(values, self._counts[key])
        yield family


class PlainHistogram(Collector):
    """A histogram of seconds."""

    def __init__(
        self,
        name: str,
        documentation: str,
        labels: Sequence[str],
        bounds: Sequence[float],
        registry: CollectorRegistry,
    ) -> None:
        """`bounds` are the upper ones of the buckets, in seconds, from low to high."""
        self._name, self._documentation, self._labels, self._bounds = name, documentation, labels, bounds
        self._counts: dict[tuple[str, ...], list[int]] = defaultdict(lambda: [0] * (len(bounds) + 1))
        self._sums: dict[tuple[str, ...], float] = defaultdict(float)
        if not labels:
            self._counts[()]  # exposed before it is counted
        registry.register(self)

    def observe(self, seconds: float, *values: str) -> None:
        """`values` of the labels, one of each."""
        self._counts[values][bisect_left(self._bounds, seconds)] += 1
        self._sums[values] += seconds

    def collect(self) -> Iterator[HistogramMetricFamily]:
        family = HistogramMetricFamily(self._name, self._documentation, labels=self._labels)
        names = [*map(floatToGoString, self._bounds), "+Inf"]
        for values, counts in self._counts.items():
            buckets = list(zip(names, map(float, accumulate(counts)), strict=True))
            family.add_metric(values, buckets, self._sums[values])
        yield family
