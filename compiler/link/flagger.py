"""What a rollout asks for that Flagger cannot do. What gateways and engines have to do with it, the emitter says."""

from __future__ import annotations

from datetime import timedelta

from compiler.decode import Policy
from compiler.diagnostics import Diagnostic, error, warning
from compiler.fleet import AnalysisSource, HashAlgorithm, HashSource, Model, Rollout, RolloutStrategy
from compiler.kinds import InferenceModel
from compiler.kinds import Rollout as RolloutKind
from compiler.kinds.measures import duration_text

SHORTEST_INTERVAL = timedelta(seconds=10)
"""Shorter ones Flagger takes for this. https://docs.flagger.app/usage/how-it-works"""
_ISTIOS_MIN_PERCENT = 10
_POOL = ("spec", "traffic", "connectionPool")
FLAGGERS_OWN = ("success-rate", "duration")
"""Of these Flagger has queries of its own, and an address to send them to."""


def check_flagger(
    policy: Policy[RolloutKind],
    written: Policy[InferenceModel],
    model: Model,
    rollout: Rollout,
    prometheus: str | None,
    found: list[Diagnostic],
) -> None:
    _check_strategy(policy, model, rollout, found)
    _check_timing(policy, rollout, found)
    _check_analysis(policy, rollout, prometheus, found)
    _check_traffic(written, model, rollout, found)


def _cannot(policy: Policy[RolloutKind] | Policy[InferenceModel], field: str, what: str, way_out: str) -> Diagnostic:
    place = policy.at("spec", *field.split("."))
    return error("P301", place, f"Flagger cannot express {what}", way_out)


def _check_strategy(policy: Policy[RolloutKind], model: Model, rollout: Rollout, found: list[Diagnostic]) -> None:
    if rollout.strategy is RolloutStrategy.ROLLING:
        found.append(_cannot(policy, "strategy", "strategy: rolling", "canary or blueGreen"))
    if rollout.pause_after:
        found.append(_cannot(policy, "pauseAfter", "pauseAfter: its gates know no steps", "engine: turnout"))
    if rollout.sticky_by is not None:
        said = "Istio keeps no cohorts in a split"
        found.append(error("P308", policy.at("spec", "stickyBy"), said, "engine: turnout on Turnout's own Envoys"))
    unseen = rollout.strategy is RolloutStrategy.BLUE_GREEN and not rollout.shadow_percent
    if unseen and rollout.analysis.metrics:
        metric = rollout.analysis.metrics[0].name
        said = f"a verdict by {metric} before blueGreen switches: {rollout.to_version} has had no request"
        found.append(_cannot(policy, "strategy", said, "shadowPercent: 100, or source: webhook"))
    if rollout.shadow_percent and model.mirror is not None:
        said = f"shadowPercent beside the mirror of {model.name} ({model.mirror.origin})"
        found.append(_cannot(policy, "shadowPercent", said, "one of the two"))


def _check_timing(policy: Policy[RolloutKind], rollout: Rollout, found: list[Diagnostic]) -> None:
    shortest = f"whole seconds, {duration_text(SHORTEST_INTERVAL)} or more"
    if rollout.interval < SHORTEST_INTERVAL or rollout.interval % timedelta(seconds=1):
        found.append(_cannot(policy, "interval", f"interval {duration_text(rollout.interval)}", shortest))
    if policy.wrote("spec", "readyTimeout") and rollout.ready_timeout % timedelta(seconds=1):
        shown = f"readyTimeout {duration_text(rollout.ready_timeout)}"
        found.append(_cannot(policy, "readyTimeout", shown, "whole seconds"))
    if policy.wrote("spec", "drainTimeout"):
        way_out = "leave it out: instances end what they have begun (timeouts.stream.total)"
        found.append(_cannot(policy, "drainTimeout", "drainTimeout", way_out))


def _check_analysis(
    policy: Policy[RolloutKind], rollout: Rollout, prometheus: str | None, found: list[Diagnostic]
) -> None:
    if rollout.analysis.source is AnalysisSource.LRS:
        found.append(_cannot(policy, "analysis.source", "source: lrs", "source: prometheus"))
    for metric in rollout.analysis.metrics:
        if prometheus is None and metric.name not in FLAGGERS_OWN:
            said = f"'spec.prometheus' of Platform is missing: metric {metric.name} is read there"
            found.append(error("P113", metric.origin, said, "prometheus: {address: http://…}"))


def _check_traffic(written: Policy[InferenceModel], model: Model, rollout: Rollout, found: list[Diagnostic]) -> None:
    """Flagger writes the DestinationRules, and knows fewer settings than Istio."""
    balancing, by = model.load_balancing, f"for {model.name} ({rollout.engine_origin})"
    key, loc = balancing.hash_key, "traffic.loadBalancing"
    if key is not None and balancing.algorithm is HashAlgorithm.MAGLEV:
        found.append(_cannot(written, f"{loc}.algorithm", f"algorithm: maglev {by}", "algorithm: ringHash"))
    if key is not None and key.source is HashSource.QUERY_PARAMETER:
        found.append(_cannot(written, f"{loc}.hashKey", f"hashKey.queryParameter {by}", "a header or a cookie"))
    if balancing.slow_start.window and balancing.slow_start.min_percent != _ISTIOS_MIN_PERCENT:
        found.append(
            _cannot(written, f"{loc}.slowStart.minPercent", f"minPercent {by}", f"{_ISTIOS_MIN_PERCENT}, Istio's own")
        )
    for field, own in (("maxConnections", "no limit"), ("connectTimeout", "10s")):
        if written.wrote(*_POOL, field):
            said = f"Flagger cannot express connectionPool.{field} {by}: Istio's own holds, {own}"
            found.append(warning("P301", written.at(*_POOL, field), said, "http2MaxRequests limits what is at work"))
