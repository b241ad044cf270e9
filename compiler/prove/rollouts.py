"""Whether a rollout gets where it is to get, and whether its steps have requests enough for a verdict."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import timedelta

from compiler.diagnostics import Diagnostic, warning
from compiler.fleet import Fleet, Model, Rollout, RolloutEngine, RolloutMetric, RolloutStrategy
from compiler.kept import Kept
from compiler.kinds.measures import duration_text

_QUANTILES = {"duration": 0.99, "ttft": 0.95, "queue-wait": 0.95}
"""Of which the bound is judged."""
_WHOLE = 100


def findings(fleet: Fleet, kept: Kept) -> Iterator[Diagnostic]:
    return iter(kept.chained(_of_model, fleet.models))


def _of_model(model: Model) -> tuple[Diagnostic, ...]:
    rollout = model.rollout
    if rollout is None or rollout.from_version == rollout.to_version:
        return ()
    return (*_end(rollout), *_shadow(model, rollout), *_data(model, rollout))


def _end(rollout: Rollout) -> Iterator[Diagnostic]:
    """Flagger goes on to the end after the last step."""
    last = rollout.steps[-1]
    if last < _WHOLE and rollout.engine is RolloutEngine.TURNOUT and rollout.strategy is RolloutStrategy.CANARY:
        said = f"steps end at {last} %: it stays there until promoted"
        yield warning("P433", rollout.origin, said, f"[{', '.join(map(str, (*rollout.steps, _WHOLE)))}]")


def _shadow(model: Model, rollout: Rollout) -> Iterator[Diagnostic]:
    if rollout.shadow_percent and model.expected_qps is not None:
        added = model.expected_qps * rollout.shadow_percent / _WHOLE
        said = f"mirroring adds {added:g} requests/s to {model.name} {rollout.to_version}"
        yield warning("P436", rollout.origin, said)


def _data(model: Model, rollout: Rollout) -> Iterator[Diagnostic]:
    """Of the metric that needs most, at the step that has least."""
    counted = [(needed(metric, rollout.analysis.confidence), metric) for metric in rollout.analysis.metrics]
    known = [(count, metric) for count, metric in counted if count is not None]
    share = rollout.shadow_percent if rollout.strategy is RolloutStrategy.BLUE_GREEN else rollout.steps[0]
    if not known or not share:
        return
    most, metric = max(known, key=lambda pair: pair[0])
    if math.isinf(most):
        said = f"no number of requests shows that {metric.name} is {metric.min:g} %"
        yield warning("P434", metric.origin, said, "min: 99.9")
    elif model.expected_qps is None:
        said = f"{model.name}: whether a step of its rollout has requests enough needs expectedQps"
        yield warning("P407", metric.origin, said, "expectedQps: {typical: …}")
    else:
        rate = model.expected_qps * share / _WHOLE
        requests = rate * rollout.interval.total_seconds()
        if requests < most:
            seen = f"{model.expected_qps:g} × {share} % × {duration_text(rollout.interval)} = {requests:.4g} requests"
            lasts = _lasts(most, rate)
            said = f"{seen}; {metric.name} needs ≈ {most:.0f}: {lasts}"
            yield warning("P434", metric.origin, said, f"interval: {lasts}" if rate else "expectedQps: {typical: …}")


def _lasts(requests: float, rate: float) -> str:
    if not rate:
        return "never"
    return duration_text(timedelta(seconds=math.ceil(requests / rate)))


def needed(metric: RolloutMetric, confidence: float) -> float | None:
    """Requests without a fault that show, at `confidence` percent, that the bound holds; None where they do not count.

    With fewer, a version that is out of bounds would come through without one too often: bound ** n > 1 - confidence.
    """
    if metric.name == "success-rate":
        good = (metric.min or 0) / _WHOLE
    elif metric.name in _QUANTILES and metric.max is not None:
        good = _QUANTILES[metric.name]
    else:
        return None
    if good >= 1:
        return math.inf
    return math.ceil(math.log(1 - confidence / _WHOLE) / math.log(good)) if good > 0 else 1
