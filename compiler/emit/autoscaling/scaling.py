"""What both autoscalers are told alike: names, behaviour, numbers."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from compiler.emit.durations import whole_seconds
from compiler.emit.names import deployment_name, model_owner, tier_labels, version_annotations
from compiler.emit.object import Wave, metadata
from compiler.fleet import Autoscaling, Metric, Model, Pace, Tier, Version, slug

SERIES: Mapping[Metric, str] = {
    Metric.QPS: "turnout_qps",
    Metric.LATENCY: "turnout_latency_ms",
    Metric.GPU_UTILIZATION: "turnout_gpu_utilization",
    Metric.QUEUE_LENGTH: "turnout_queue_length",
    Metric.RUNNING_REQUESTS: "turnout_running_requests",
    Metric.KV_USAGE: "turnout_kv_usage",
}
"""As the recording rules name them: by instance, but latency by version."""


def autoscaler_metadata(model: Model, version: Version, scaling: Autoscaling) -> dict[str, Any]:
    return metadata(
        deployment_name(model, version, Tier.ACTIVE),
        model_owner(model),
        scaling.origin,
        Wave.OBSERVATION,
        tier_labels(model, version, Tier.ACTIVE),
        version_annotations(version),
    )


def series_labels(model: Model, version: Version) -> dict[str, str]:
    """Of the series of a version, as the monitor of engines takes them from its pods."""
    return {"model": slug(model.name), "version": version.name}


def behaviour(scaling: Autoscaling) -> dict[str, Any]:
    return {"scaleUp": _rules(scaling.scale_up), "scaleDown": _rules(scaling.scale_down)}


def _rules(pace: Pace) -> dict[str, Any]:
    return {
        "stabilizationWindowSeconds": whole_seconds(pace.stabilization_window) if pace.stabilization_window else 0,
        "selectPolicy": "Max",
        "policies": [{"type": "Pods", "value": pace.pods, "periodSeconds": whole_seconds(pace.period)}],
    }


def thousandths(target: float) -> int:
    """Kubernetes' quantities of metrics know nothing finer."""
    return int((Decimal(repr(target)) * 1000).to_integral_value())
