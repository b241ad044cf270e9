"""Autoscaling: a version's effective settings as a part of the fleet, and whether they can work."""

from __future__ import annotations

from compiler.decode import Policy
from compiler.diagnostics import Diagnostic, error
from compiler.fleet import Autoscaler, Autoscaling, Framework, Metric, MetricTarget, Pace
from compiler.kinds import InferenceModel
from compiler.kinds.inference_model import AutoscalingSpec, InferenceModelSpec, ScaleDownSpec, ScaleUpSpec
from compiler.link.platform import Settings

_LOC = ("spec", "autoscaling")
_PERCENT = (Metric.GPU_UTILIZATION, Metric.KV_USAGE)
_UNTOLD = {
    Framework.TGI: (Metric.KV_USAGE,),
    Framework.TRITON: (Metric.RUNNING_REQUESTS, Metric.KV_USAGE),
}
"""What an engine tells nobody."""


def autoscaling(policy: Policy[InferenceModel], spec: InferenceModelSpec, by: Autoscaler) -> Autoscaling | None:
    """`None` also where it is switched off, or has no end: that is an error already."""
    scaling = spec.autoscaling
    if scaling is None or not scaling.enabled or scaling.min_replicas is None or scaling.max_replicas is None:
        return None
    return Autoscaling(
        min_replicas=scaling.min_replicas,
        max_replicas=scaling.max_replicas,
        metrics=tuple(MetricTarget(Metric(metric.name), float(metric.target)) for metric in scaling.metrics),
        scale_up=_pace(scaling.scale_up),
        scale_down=_pace(scaling.scale_down),
        origin=policy.key(*_LOC),
        by=by,
    )


def _pace(spec: ScaleUpSpec | ScaleDownSpec) -> Pace:
    return Pace(spec.stabilization_window, spec.pods, spec.period)


def check_autoscaling(
    policy: Policy[InferenceModel], spec: InferenceModelSpec, platform: Settings, found: list[Diagnostic]
) -> None:
    scaling = spec.autoscaling
    if scaling is None or not scaling.enabled:
        return
    _check_metrics(policy, scaling, Framework(spec.framework), found)
    _check_replicas(policy, spec, scaling, platform, found)
    if platform.prometheus is None:
        said = "'Platform.prometheus' is missing: autoscaling reads its metrics there"
        found.append(
            error("P113", policy.key(*_LOC), said, "prometheus: {address: http://prometheus.monitoring.svc:9090}")
        )


def _check_replicas(
    policy: Policy[InferenceModel],
    spec: InferenceModelSpec,
    scaling: AutoscalingSpec,
    platform: Settings,
    found: list[Diagnostic],
) -> None:
    least, most = scaling.min_replicas, scaling.max_replicas
    place = policy.at(*_LOC, "minReplicas")
    if policy.wrote("spec", "replicas") and policy.wrote(*_LOC, "minReplicas") and spec.replicas != least:
        said = f"replicas {spec.replicas}, minReplicas {least} ({place})"
        found.append(error("P206", policy.at("spec", "replicas"), said, "leave replicas out"))
    if least == 0 and platform.autoscaler is not Autoscaler.KEDA:
        hint = "minReplicas: 1, or Platform's autoscaler: keda"
        found.append(error("P309", place, "minReplicas 0 needs keda", hint))
    if most is None:
        said = "'spec.autoscaling.maxReplicas' is missing"
        found.append(error("P113", policy.at(*_LOC), said, "as many as there are GPUs for"))
    elif least is not None and most < least:
        said = f"spec.autoscaling.maxReplicas: {most} is out of range: at least minReplicas, {least}"
        found.append(error("P104", policy.either(_LOC, "maxReplicas", "minReplicas"), said, f"maxReplicas: {least}"))


def _check_metrics(
    policy: Policy[InferenceModel], scaling: AutoscalingSpec, engine: Framework, found: list[Diagnostic]
) -> None:
    named: set[Metric] = set()
    for index, spec in enumerate(scaling.metrics):
        metric, loc = Metric(spec.name), (*_LOC, "metrics", index)
        if metric in named:
            found.append(error("P204", policy.at(*loc, "name"), f"metric {metric} twice", "one target for each"))
        named.add(metric)
        if metric in _PERCENT and spec.target > 100:
            said = (
                f"spec.autoscaling.metrics[{index}].target: {spec.target:g} is out of range: {metric} is at most 100 %"
            )
            found.append(error("P104", policy.at(*loc, "target"), said))
        if metric in _UNTOLD.get(engine, ()):
            told = ", ".join(other for other in Metric if other not in _UNTOLD[engine])
            found.append(error("P307", policy.at(*loc, "name"), f"{engine} has no metric {metric}", f"one of {told}"))
