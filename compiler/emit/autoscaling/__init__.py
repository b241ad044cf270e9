"""What writes replicas by load: for each version that policy scales an autoscaler, and the metrics that it reads.

Metrics are the recorded `turnout_*`, which are called the same for every engine. A HorizontalPodAutoscaler gets them
from prometheus-adapter, whose rules are rendered with it; KEDA asks Prometheus itself.
"""

from __future__ import annotations

from collections.abc import Iterator

from compiler.diagnostics import Diagnostic
from compiler.emit.autoscaling.adapter import adapter_rules
from compiler.emit.autoscaling.hpa import horizontal_pod_autoscaler
from compiler.emit.autoscaling.keda import scaled_object
from compiler.emit.object import Object
from compiler.fleet import Autoscaler, Fleet, Metric, Model
from compiler.kept import Kept


def objects(fleet: Fleet, kept: Kept) -> Iterator[Object]:
    scaled = tuple(model for model in fleet.models if any(version.autoscaling for version in model.deployed))
    if not scaled:
        return
    platform = kept.same("platform of autoscalers", fleet.platform)
    if platform.autoscaler is Autoscaler.KEDA:
        made = kept.chained(_by_keda, scaled, kept.same("address of metrics", platform.prometheus or ""))
    else:
        made = kept.chained(_by_hpa, scaled)
        metrics = kept.same("metrics of autoscalers", _metrics(scaled))
        yield kept.of(adapter_rules, platform, metrics)
    yield from made


def diagnostics(fleet: Fleet, kept: Kept) -> Iterator[Diagnostic]:
    return iter(())


def _by_hpa(model: Model) -> tuple[Object, ...]:
    return tuple(
        horizontal_pod_autoscaler(model, version, version.autoscaling)
        for version in model.deployed
        if version.autoscaling is not None
    )


def _by_keda(model: Model, address: str) -> tuple[Object, ...]:
    return tuple(
        scaled_object(model, version, version.autoscaling, address)
        for version in model.deployed
        if version.autoscaling is not None
    )


def _metrics(scaled: tuple[Model, ...]) -> tuple[Metric, ...]:
    """In use."""
    used = {
        target.metric
        for model in scaled
        for version in model.deployed
        if version.autoscaling is not None
        for target in version.autoscaling.metrics
    }
    return tuple(metric for metric in Metric if metric in used)
