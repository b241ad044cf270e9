"""HorizontalPodAutoscalers, by metrics of pods: a metric of type Resource can be of cpu and memory alone."""

from __future__ import annotations

from typing import Any

from compiler.emit.autoscaling.scaling import SERIES, autoscaler_metadata, behaviour, series_labels, thousandths
from compiler.emit.names import deployment_name, model_file
from compiler.emit.object import Object
from compiler.fleet import Autoscaling, Metric, MetricTarget, Model, Tier, Version
from compiler.quantity import cores_text


def horizontal_pod_autoscaler(model: Model, version: Version, scaling: Autoscaling) -> Object:
    body = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": autoscaler_metadata(model, version, scaling),
        "spec": {
            "scaleTargetRef": {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "name": deployment_name(model, version, Tier.ACTIVE),
            },
            "minReplicas": scaling.min_replicas,
            "maxReplicas": scaling.max_replicas,
            "metrics": [_metric(model, version, target) for target in scaling.metrics],
            "behavior": behaviour(scaling),
        },
    }
    return Object(model_file(model), body, scaling.origin)


def _metric(model: Model, version: Version, target: MetricTarget) -> dict[str, Any]:
    name, quantity = SERIES[target.metric], cores_text(thousandths(target.target))
    if target.metric is Metric.LATENCY:
        # Latencies of instances do not add up, so it is not of pods and not an average.
        selector = {"matchLabels": series_labels(model, version)}
        source = {"metric": {"name": name, "selector": selector}, "target": {"type": "Value", "value": quantity}}
        return {"type": "External", "external": source}
    goal = {"type": "AverageValue", "averageValue": quantity}
    return {"type": "Pods", "pods": {"metric": {"name": name}, "target": goal}}
