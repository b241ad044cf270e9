"""How many instances a version has: what is measured, how many there may be, and how fast that changes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from compiler.diagnostics import Position


class Autoscaler(StrEnum):
    HPA = "hpa"
    KEDA = "keda"


class Metric(StrEnum):
    QPS = "qps"
    LATENCY = "latency"
    """95th percentile of whole answers, in milliseconds."""
    GPU_UTILIZATION = "gpu_utilization"
    """Percent, as are uses."""
    QUEUE_LENGTH = "queue_length"
    RUNNING_REQUESTS = "running_requests"
    KV_USAGE = "kv_usage"


@dataclass(frozen=True, slots=True)
class MetricTarget:
    metric: Metric
    target: float
    """For each instance; for latency, of all together."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast instances are added, or taken away."""

    stabilization_window: timedelta
    """How long a wish must last; at most an hour."""
    pods: int
    """Instances at a time."""
    period: timedelta
    """Between two steps; at most half an hour."""


@dataclass(frozen=True, slots=True)
class Autoscaling:
    min_replicas: int
    max_replicas: int
    metrics: tuple[MetricTarget, ...]
    """The one that asks for most instances decides; at least one."""
    scale_up: Pace
    scale_down: Pace
    origin: Position
    by: Autoscaler = Autoscaler.HPA
    """The platform's."""
