"""The rules by which prometheus-adapter answers what HorizontalPodAutoscalers ask for.

https://github.com/kubernetes-sigs/prometheus-adapter/blob/master/docs/config.md
"""

from __future__ import annotations

from typing import Any

from compiler.emit.autoscaling.scaling import SERIES
from compiler.emit.object import Object, Owner, Wave, metadata
from compiler.fleet import Metric, Platform
from compiler.yaml_text import yaml_text

_NAMESPACE = {"namespace": {"resource": "namespace"}}
_POD = {"pod": {"resource": "pod"}}


def adapter_rules(platform: Platform, metrics: tuple[Metric, ...]) -> Object:
    """A ConfigMap whose `config.yaml` is the adapter's own file."""
    rules = [_of_pods(SERIES[metric]) for metric in metrics if metric is not Metric.LATENCY]
    external = [_of_versions(SERIES[metric]) for metric in metrics if metric is Metric.LATENCY]
    text = yaml_text({"rules": rules, **({"externalRules": external} if external else {})})
    owner = Owner("turnout", platform.namespace, (), ())
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        # Before the autoscalers, which find no metric until the adapter has read it.
        "metadata": metadata("turnout-prometheus-adapter", owner, platform.origin, Wave.CONTROL),
        "data": {"config.yaml": text},
    }
    return Object("observability/prometheus-adapter.yaml", body, platform.origin)


def _of_pods(series: str) -> dict[str, Any]:
    return {
        "seriesQuery": f'{series}{{namespace!="",pod!=""}}',
        "resources": {"overrides": {**_NAMESPACE, **_POD}},
        "metricsQuery": f"sum by (<<.GroupBy>>) ({series}{{<<.LabelMatchers>>}})",
    }


def _of_versions(series: str) -> dict[str, Any]:
    """The autoscaler selects by model and version; the adapter adds its namespace."""
    return {
        "seriesQuery": f'{series}{{namespace!="",model!=""}}',
        "resources": {"overrides": _NAMESPACE},
        "metricsQuery": f"max({series}{{<<.LabelMatchers>>}})",
    }
