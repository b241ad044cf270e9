"""Recording rules: what each engine calls its own way, under names that autoscalers, alerts and dashboards share.

By instance (`turnout_qps`, `turnout_queue_length`, …) where instances add up, by version where they do not: a
percentile of percentiles is none. Only series that our own monitor has collected count, which have the label `engine`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from compiler.fleet import Framework

INTERVAL = "15s"
"""Of scrapes, and of these rules."""
BY_INSTANCE = "namespace, pod, model, version, tier, engine"
BY_VERSION = "namespace, model, version"

Expression = Callable[[str], str]
"""Of PromQL, for the matcher that selects an engine's series."""


def groups(engines: Iterable[Framework]) -> Iterator[dict[str, Any]]:
    yield _group("turnout-instances", _INSTANCES, {})
    for engine in engines:
        selector = f'{{engine="{engine}"}}'
        records = {name: of(selector) for name, of in _ENGINES[engine].items()}
        # So that no two rules can record the same series.
        yield _group(f"turnout-{engine}", records, {"labels": {"engine": str(engine)}})


def _group(name: str, records: Mapping[str, str], more: Mapping[str, Any]) -> dict[str, Any]:
    rules = [{"record": record, "expr": expression, **more} for record, expression in records.items()]
    return {"name": name, "interval": INTERVAL, "rules": rules}


def _rate(counter: str) -> Expression:
    """A second, over the last minute: four scrapes, so that an autoscaler sees a rise soon."""
    return lambda selector: f"sum by ({BY_INSTANCE}) (rate({counter}{selector}[1m]))"


def _sum(gauge: str) -> Expression:
    """Some engines have a series for each rank or adapter."""
    return lambda selector: f"sum by ({BY_INSTANCE}) ({gauge}{selector})"


def _percent(gauge: str) -> Expression:
    """Of a gauge that is 1 when all is used. The fullest rank is the one that makes requests wait."""
    return lambda selector: f"100 * max by ({BY_INSTANCE}) ({gauge}{selector})"


def _p95(histogram: str) -> Expression:
    """Milliseconds, of seconds. 0 where nobody has asked: NaN would stop an autoscaler on its way down."""
    return lambda selector: (
        f"1000 * (histogram_quantile(0.95, sum by ({BY_VERSION}, le) (rate({histogram}_bucket{selector}[5m]))) >= 0)"
        f" or 0 * sum by ({BY_VERSION}) (rate({histogram}_count{selector}[5m]))"
    )


def _worst_p95(summary: str) -> Expression:
    """Milliseconds, of microseconds. Quantiles that an instance has worked out itself do not add up: the worst one."""
    return lambda selector: f'max by ({BY_VERSION}) ({summary}{{quantile="0.95", {selector[1:-1]}}} >= 0) / 1000'


def _vllm_kv(selector: str) -> str:
    # It was gpu_cache_usage_perc before 0.10.
    return f'100 * max by ({BY_INSTANCE}) ({{__name__=~"vllm:(kv|gpu)_cache_usage_perc", {selector[1:-1]}}})'


_INSTANCES = {
    "turnout_instance": f'group by ({BY_INSTANCE}) (up{{engine!="", model!=""}})',
    # The exporter's own pod is what these are of, unless its monitor honours labels: then theirs are called exported_*.
    "turnout_gpu_utilization": (
        'avg by (namespace, pod) (label_replace(label_replace(DCGM_FI_DEV_GPU_UTIL{exported_pod!=""}, '
        '"pod", "$1", "exported_pod", "(.*)"), "namespace", "$1", "exported_namespace", "(.*)") '
        'or DCGM_FI_DEV_GPU_UTIL{exported_pod="", pod!=""}) '
        "* on (namespace, pod) group_left (model, version, tier, engine) turnout_instance"
    ),
}

_ENGINES: Mapping[Framework, Mapping[str, Expression]] = {
    # https://docs.vllm.ai/en/stable/usage/metrics/
    Framework.VLLM: {
        "turnout_qps": _rate("vllm:request_success_total"),
        "turnout_queue_length": _sum("vllm:num_requests_waiting"),
        "turnout_running_requests": _sum("vllm:num_requests_running"),
        "turnout_kv_usage": _vllm_kv,
        "turnout_latency_ms": _p95("vllm:e2e_request_latency_seconds"),
        "turnout_ttft_ms": _p95("vllm:time_to_first_token_seconds"),
        "turnout_queue_wait_ms": _p95("vllm:request_queue_time_seconds"),
    },
    # https://docs.sglang.io/references/production_metrics.html
    Framework.SGLANG: {
        "turnout_qps": _rate("sglang:num_requests_total"),
        "turnout_queue_length": _sum("sglang:num_queue_reqs"),
        "turnout_running_requests": _sum("sglang:num_running_reqs"),
        "turnout_kv_usage": _percent("sglang:token_usage"),
        "turnout_latency_ms": _p95("sglang:e2e_request_latency_seconds"),
        "turnout_ttft_ms": _p95("sglang:time_to_first_token_seconds"),
        "turnout_queue_wait_ms": _p95("sglang:queue_time_seconds"),
    },
    # https://huggingface.co/docs/text-generation-inference/reference/metrics: no first token, no cache.
    Framework.TGI: {
        "turnout_qps": _rate("tgi_request_success"),
        "turnout_queue_length": _sum("tgi_queue_size"),
        "turnout_running_requests": _sum("tgi_batch_current_size"),
        "turnout_latency_ms": _p95("tgi_request_duration"),
        "turnout_queue_wait_ms": _p95("tgi_request_queue_duration"),
    },
    # https://github.com/NVIDIA/TensorRT-LLM/blob/main/tensorrt_llm/metrics/collector.py
    Framework.TENSORRT_LLM: {
        "turnout_qps": _rate("trtllm_request_success_total"),
        "turnout_queue_length": _sum("trtllm_num_requests_waiting"),
        "turnout_running_requests": _sum("trtllm_num_requests_running"),
        "turnout_kv_usage": _percent("trtllm_kv_cache_utilization"),
        "turnout_latency_ms": _p95("trtllm_e2e_request_latency_seconds"),
        "turnout_ttft_ms": _p95("trtllm_time_to_first_token_seconds"),
        "turnout_queue_wait_ms": _p95("trtllm_request_queue_time_seconds"),
    },
    # It tells nothing of what runs, of first tokens and of caches.
    Framework.TRITON: {
        "turnout_qps": _rate("nv_inference_request_success"),
        "turnout_queue_length": _sum("nv_inference_pending_request_count"),
        "turnout_latency_ms": _worst_p95("nv_inference_request_summary_us"),
        "turnout_queue_wait_ms": _worst_p95("nv_inference_queue_summary_us"),
    },
}
