"""What Flagger judges by: queries of its own where it has them, else MetricTemplates.

https://docs.flagger.app/usage/metrics
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from compiler.emit.durations import duration
from compiler.fleet import Framework, Model, Rollout, RolloutMetric, slug

_OWN = {"success-rate": "request-success-rate", "duration": "request-duration"}
"""Flagger's names for what Istio's proxies tell: answers below 500 in percent, the 99th percentile in milliseconds."""
_SHORTEST_WINDOW = timedelta(minutes=1)
"""A rate needs some scrapes."""
_PODS = 'namespace="{{ namespace }}", pod=~"{{ target }}-[0-9a-z]+-[0-9a-z]+"'
"""Those on trial: what stands is called `<target>-primary-…`."""


def _p95(histogram: str) -> str:
    """Milliseconds, of seconds."""
    return f"1000 * histogram_quantile(0.95, sum by (le) (rate({histogram}_bucket{{{_PODS}}}[{{{{ interval }}}}])))"


def _fullest(gauge: str) -> str:
    """Percent, of a gauge that is 1 when all is used."""
    return f"100 * max(max_over_time({gauge}{{{_PODS}}}[{{{{ interval }}}}]))"


QUERIES: Mapping[Framework, Mapping[str, str]] = {
    # https://docs.vllm.ai/en/stable/usage/metrics/
    Framework.VLLM: {
        "ttft": _p95("vllm:time_to_first_token_seconds"),
        "queue-wait": _p95("vllm:request_queue_time_seconds"),
        "kv-usage": _fullest("vllm:kv_cache_usage_perc"),
    },
    # https://docs.sglang.io/references/production_metrics.html
    Framework.SGLANG: {
        "ttft": _p95("sglang:time_to_first_token_seconds"),
        "queue-wait": _p95("sglang:queue_time_seconds"),
        "kv-usage": _fullest("sglang:token_usage"),
    },
    # https://huggingface.co/docs/text-generation-inference/reference/metrics
    Framework.TGI: {"queue-wait": _p95("tgi_request_queue_duration")},
    # https://github.com/NVIDIA/TensorRT-LLM/blob/main/tensorrt_llm/metrics/collector.py
    Framework.TENSORRT_LLM: {
        "ttft": _p95("trtllm_time_to_first_token_seconds"),
        "queue-wait": _p95("trtllm_request_queue_time_seconds"),
        "kv-usage": _fullest("trtllm_kv_cache_utilization"),
    },
    Framework.TRITON: {},
}


def query(model: Model, metric: RolloutMetric) -> str | None:
    """In PromQL with Flagger's variables; None where the engine that is rolled out tells nothing of the kind."""
    if metric.query is not None:
        return metric.query
    return next((QUERIES[version.engine.framework].get(metric.name) for version in model.deployed), None)


def templates(rollout: Rollout) -> tuple[RolloutMetric, ...]:
    return tuple(metric for metric in rollout.analysis.metrics if metric.name not in _OWN)


def template_name(model: Model, metric: RolloutMetric) -> str:
    return f"{slug(model.name)}-{slug(metric.name)}"


def template_spec(model: Model, metric: RolloutMetric, prometheus: str | None) -> dict[str, Any]:
    address = {"address": prometheus} if prometheus is not None else {}
    return {"provider": {"type": "prometheus", **address}, "query": query(model, metric) or ""}


def checks(model: Model, rollout: Rollout) -> list[dict[str, Any]]:
    """The `metrics` of a Canary's analysis."""
    return [_check(model, metric, rollout.interval) for metric in rollout.analysis.metrics]


def _check(model: Model, metric: RolloutMetric, interval: timedelta) -> dict[str, Any]:
    own = _OWN.get(metric.name)
    check: dict[str, Any] = {
        "name": own or metric.name,
        "interval": duration(max(interval, _SHORTEST_WINDOW)),
        "thresholdRange": {
            side: int(bound) if bound == int(bound) else bound
            for side, bound in (("min", metric.min), ("max", metric.max))
            if bound is not None
        },
    }
    if own is None:
        check["templateRef"] = {"name": template_name(model, metric), "namespace": model.namespace}
    return check
