"""A fleet's workloads: for each model a ServiceAccount, for each version a Service, for each tier a Deployment and what
may be taken of it at a time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from compiler.catalogue import SLEEPING_ENGINES
from compiler.diagnostics import Diagnostic
from compiler.emit import engines
from compiler.emit.disruption import disruption_budget
from compiler.emit.names import (
    APP,
    SERVICE_PORT,
    app_labels,
    deployment_name,
    model_file,
    model_labels,
    model_owner,
    service_name,
    tier_labels,
    tier_origin,
    version_annotations,
    version_labels,
)
from compiler.emit.object import Handover, Object, Wave, Writer, metadata
from compiler.emit.pods import pod_template, start_budget
from compiler.fleet import Autoscaler, Fleet, Model, Tier, Version, slug
from compiler.kept import Kept
from compiler.ownership import conflicts

_IMAGE_PULL = timedelta(minutes=10)
_REPLICAS = "/spec/replicas"
_FLAGGER = "flagger"
_SCALERS = {Autoscaler.HPA: "kube-controller-manager", Autoscaler.KEDA: "keda, kube-controller-manager"}
"""By their field managers. KEDA leaves it to a HorizontalPodAutoscaler of its own, but to go up from none, down to it,
and up to the fewest."""
_LEAST_TO_BUDGET = 2
"""Instances that run: with one, a drained node takes it, budget or not."""


def objects(fleet: Fleet, kept: Kept) -> Iterator[Object]:
    return iter(kept.chained(_of_model, fleet.models))


def _of_model(model: Model) -> tuple[Object, ...]:
    return tuple(_model_objects(model))


def _model_objects(model: Model) -> Iterator[Object]:
    yield _service_account(model)
    for version in model.deployed:
        yield _apex_service(model, version) if model.is_flaggers else _service(model, version)
        for tier in (tier for tier in Tier if _has(version, tier)):
            yield _deployment(model, version, tier)
            if _running(version, tier) >= _LEAST_TO_BUDGET:
                yield disruption_budget(model, version, tier)


def diagnostics(fleet: Fleet, kept: Kept) -> Iterator[Diagnostic]:
    return iter(kept.chained(_model_diagnostics, fleet.models))


def _model_diagnostics(model: Model) -> tuple[Diagnostic, ...]:
    lacking = (finding for version in model.versions for finding in engines.diagnostics(model, version))
    return (*lacking, *conflicts(handing_over(model)))


def handing_over(model: Model) -> Iterator[Object]:
    """Those of its objects of which another writes a field, without their pods' templates, labels and annotations, of
    which nobody does.

    To make all of all of them would take a check a third longer.
    """
    for version in model.deployed:
        if model.is_flaggers:
            yield _apex_service(model, version)
        for tier in Tier:
            if _has(version, tier) and _writers(model, version, tier):
                names = {"name": deployment_name(model, version, tier), "namespace": model.namespace}
                yield _without_pods(model, version, tier, names, _labels(model, version, tier))


def _service_account(model: Model) -> Object:
    body = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(slug(model.name), model_owner(model), model.origin, Wave.ACCESS, model_labels(model)),
        "automountServiceAccountToken": False,
    }
    return Object(model_file(model), body, model.origin)


def _service(model: Model, version: Version) -> Object:
    labels = version_labels(model, version)
    body = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(
            service_name(model, version),
            model_owner(model),
            version.origin,
            Wave.WORKLOAD,
            labels,
            version_annotations(version),
        ),
        "spec": {
            "selector": labels,
            # Istio takes the protocol from the port's name.
            "ports": [{"name": "http", "port": SERVICE_PORT, "targetPort": "http"}],
        },
    }
    return Object(model_file(model), body, version.origin)


def _apex_service(model: Model, version: Version) -> Object:
    """Leads to what runs until Flagger has taken over, and then to what it has made of that: no request is lost."""
    body = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(slug(model.name), model_owner(model), version.origin, Wave.WORKLOAD, model_labels(model)),
        "spec": {
            "selector": {APP: slug(model.name)},
            "ports": [{"name": "http", "port": SERVICE_PORT, "targetPort": "http"}],
        },
    }
    return Object(model_file(model), body, version.origin, _flaggers(model, "/spec/selector", _FLAGGER))


def _flaggers(model: Model, field: str, manager: str) -> tuple[Handover, ...]:
    """`field`, handed over to Flagger where it moves the model: the manifest says what it begins with."""
    if model.rollout is None or not model.is_flaggers:
        return ()
    return (Handover(field, Writer.FLAGGER, manager, model.rollout.engine_origin, initial=True),)


def _deployment(model: Model, version: Version, tier: Tier) -> Object:
    labels = _labels(model, version, tier)
    named = metadata(
        deployment_name(model, version, tier),
        model_owner(model),
        tier_origin(version, tier),
        Wave.WORKLOAD,
        labels,
        {**version_annotations(version), **_standby_note(version, tier)},
    )
    bare = _without_pods(model, version, tier, named, labels)
    bare.body["spec"]["template"] = pod_template(model, version, tier)
    return bare


def _labels(model: Model, version: Version, tier: Tier) -> dict[str, str]:
    return {**app_labels(model), **tier_labels(model, version, tier)}


def _without_pods(model: Model, version: Version, tier: Tier, named: dict[str, Any], labels: dict[str, str]) -> Object:
    """`named` is its metadata."""
    spec = _spec_without_pods(model, version, tier, labels)
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": named, "spec": spec}
    return Object(model_file(model), body, tier_origin(version, tier), _writers(model, version, tier))


def _writers(model: Model, version: Version, tier: Tier) -> tuple[Handover, ...]:
    # The autoscaler has its turn while Flagger lets the Deployment run.
    scaling = version.autoscaling
    manager = _FLAGGER if scaling is None else f"{_FLAGGER}, {_SCALERS[scaling.by]}"
    return _flaggers(model, _REPLICAS, manager) or _handovers(version, tier)


def _handovers(version: Version, tier: Tier) -> tuple[Handover, ...]:
    """How many instances run is for git to say, unless load or a promotion decides it."""
    if tier is Tier.ACTIVE and version.autoscaling is not None:
        scaling = version.autoscaling
        return (Handover(_REPLICAS, Writer.AUTOSCALER, _SCALERS[scaling.by], scaling.origin),)
    if _waits(version, tier):
        return (Handover(_REPLICAS, Writer.STANDBY, "turnout-standby", version.standby_origin, initial=True),)
    return ()


def _spec_without_pods(model: Model, version: Version, tier: Tier, labels: dict[str, str]) -> dict[str, Any]:
    # By default a Deployment has failed after ten minutes, which a large image and a slow load outlast.
    deadline = start_budget(version) + _IMAGE_PULL
    return {
        **_replicas(version, tier),
        "progressDeadlineSeconds": deadline // timedelta(seconds=1),
        # A selector cannot be changed, and the version of what Flagger moves does.
        "selector": {"matchLabels": {APP: labels[APP]} if model.is_flaggers else labels},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
    }


def _replicas(version: Version, tier: Tier) -> dict[str, int]:
    """Left out where an autoscaler says it: each sync would undo what it has done. A waiting tier has to begin at 0."""
    scaled = tier is Tier.ACTIVE and version.autoscaling is not None
    return {} if scaled else {"replicas": _running(version, tier)}


def _count(version: Version, tier: Tier) -> int:
    counts = {
        Tier.ACTIVE: version.replicas,
        Tier.HOT: version.hot,
        Tier.WARM: version.warm,
        Tier.COLD: version.cold,
    }
    return counts[tier]


def _has(version: Version, tier: Tier) -> bool:
    return tier is Tier.ACTIVE or _count(version, tier) > 0


def _running(version: Version, tier: Tier) -> int:
    """Instances that run before any promotion; a warm one only where its engine can sleep."""
    sleeps = version.engine.framework in SLEEPING_ENGINES
    runs = tier in (Tier.ACTIVE, Tier.HOT) or (tier is Tier.WARM and sleeps)
    return _count(version, tier) if runs else 0


def _waits(version: Version, tier: Tier) -> bool:
    """Whether a standby tier keeps none running until it is promoted."""
    return tier is not Tier.ACTIVE and _running(version, tier) == 0


def _standby_note(version: Version, tier: Tier) -> dict[str, str]:
    """How many instances a promotion starts."""
    return {"turnout.dev/standby-replicas": str(_count(version, tier))} if _waits(version, tier) else {}
