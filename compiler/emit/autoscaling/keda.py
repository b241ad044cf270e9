"""KEDA's ScaledObjects: it makes the HorizontalPodAutoscaler itself, and can go down to none."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from compiler.emit.autoscaling.scaling import SERIES, autoscaler_metadata, behaviour, series_labels, thousandths
from compiler.emit.durations import whole_seconds
from compiler.emit.names import deployment_name, model_file
from compiler.emit.object import Object
from compiler.fleet import Autoscaling, Metric, MetricTarget, Model, Tier, Version

_POLLING = 15
"""Seconds, as the HorizontalPodAutoscaler looks too."""


def scaled_object(model: Model, version: Version, scaling: Autoscaling, address: str) -> Object:
    """`address`: of Prometheus."""
    tiers = (Tier.ACTIVE,) if scaling.min_replicas else (Tier.ACTIVE, Tier.HOT)
    body = {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": autoscaler_metadata(model, version, scaling),
        "spec": {
            "scaleTargetRef": {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "name": deployment_name(model, version, Tier.ACTIVE),
            },
            "pollingInterval": _POLLING,
            **_down_to_none(scaling),
            "minReplicaCount": scaling.min_replicas,
            "maxReplicaCount": scaling.max_replicas,
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": behaviour(scaling)}},
            "triggers": [_trigger(model, version, target, tiers, address) for target in scaling.metrics],
        },
    }
    return Object(model_file(model), body, scaling.origin)


def _down_to_none(scaling: Autoscaling) -> dict[str, int]:
    """The last instance is KEDA's own to take away."""
    return {} if scaling.min_replicas else {"cooldownPeriod": whole_seconds(scaling.scale_down.stabilization_window)}


def _trigger(
    model: Model, version: Version, target: MetricTarget, tiers: tuple[Tier, ...], address: str
) -> dict[str, Any]:
    """Of `tiers`: with no active instance it is what hot standbys are busy with that starts one."""
    latency = target.metric is Metric.LATENCY
    labels = {"namespace": model.namespace, **series_labels(model, version)}
    matchers = [f'{label}="{value}"' for label, value in labels.items()]
    if not latency:
        matchers.append(f'tier=~"{"|".join(tiers)}"' if len(tiers) > 1 else f'tier="{tiers[0]}"')
    return {
        "type": "prometheus",
        # An average is KEDA's to make, of the sum. Latencies do not add up.
        "metricType": "Value" if latency else "AverageValue",
        "metadata": {
            "serverAddress": address,
            "query": f"{'max' if latency else 'sum'}({SERIES[target.metric]}{{{', '.join(matchers)}}})",
            "threshold": f"{(Decimal(thousandths(target.target)) / 1000).normalize():f}",
            # By default no answer counts as 0: whenever Prometheus is lost, busy instances would be taken away.
            "ignoreNullValues": "false",
        },
    }
