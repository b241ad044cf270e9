"""A rollout as policy would write it, with nothing left to a default: what people and programs are told of it."""

from __future__ import annotations

from typing import Any

from compiler.fleet import Analysis, Rollout, RolloutEngine
from compiler.kinds.measures import duration_text


def rollout_spec(rollout: Rollout) -> dict[str, Any]:
    """In the schema's order."""
    sticky = rollout.sticky_by
    # Flagger leaves it to the instances.
    drains = rollout.engine is RolloutEngine.TURNOUT
    return {
        "model": rollout.model,
        "from": rollout.from_version,
        "to": rollout.to_version,
        "strategy": str(rollout.strategy),
        "steps": list(rollout.steps),
        "interval": duration_text(rollout.interval),
        "pauseAfter": list(rollout.pause_after),
        "shadowPercent": rollout.shadow_percent,
        **({"stickyBy": {str(sticky.source): sticky.name}} if sticky is not None else {}),
        "readyTimeout": duration_text(rollout.ready_timeout),
        **({"drainTimeout": duration_text(rollout.drain_timeout)} if drains else {}),
        "analysis": _analysis(rollout.analysis),
        "engine": str(rollout.engine),
    }


def _analysis(analysis: Analysis) -> dict[str, Any]:
    metrics = [
        {
            key: value
            for key, value in (("name", m.name), ("min", m.min), ("max", m.max), ("query", m.query))
            if value is not None
        }
        for m in analysis.metrics
    ]
    return {
        "source": str(analysis.source),
        "threshold": analysis.threshold,
        "confidence": analysis.confidence,
        **({"metrics": metrics} if metrics else {}),
        **({"webhook": {"url": analysis.webhook}} if analysis.webhook is not None else {}),
    }
