"""The Grafana dashboard: one for all models, with a variable that chooses among them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from compiler.yaml_text import yaml_text

SOURCE_UID = "turnout-prometheus"
WIDTH, HEIGHT = 8, 8
"""Of a panel; a row has 24 columns."""

_OF = '{model=~"$model"}'
_FAILED = (
    'sum by (model, version) (rate(envoy_cluster_upstream_rq_xx{model=~"$model", envoy_response_code_class="5"}'
    "[$__rate_interval]))"
)
_COMPLETED = f"sum by (model, version) (rate(envoy_cluster_upstream_rq_completed{_OF}[$__rate_interval]))"


class Panel(NamedTuple):
    title: str
    description: str
    unit: str
    """Grafana's name of it."""
    queries: tuple[tuple[str, str], ...]
    """PromQL, and how a series is called."""


def _by_version(name: str, expression: str) -> tuple[str, str]:
    return f"{expression} by (model, version) ({name}{_OF})", "{{model}} {{version}}"


_MODELS = (
    Panel(
        "Requests",
        "Answered by engines, a second.",
        "reqps",
        (_by_version("turnout_qps", "sum"),),
    ),
    Panel(
        "Failing requests",
        "Answers of instances with 5xx, of all, as Turnout's Envoys see them; tries that were repeated are among them.",
        "percentunit",
        (
            (
                f"{_FAILED} / {_COMPLETED}",
                "{{model}} {{version}}",
            ),
        ),
    ),
    Panel("First token, p95", "Of all instances of a version.", "ms", (_by_version("turnout_ttft_ms", "max"),)),
    Panel("Whole answer, p95", "Of all instances of a version.", "ms", (_by_version("turnout_latency_ms", "max"),)),
    Panel("Wait in the queue, p95", "Before its prompt is read.", "ms", (_by_version("turnout_queue_wait_ms", "max"),)),
    Panel(
        "Waiting and running",
        "Requests in engines.",
        "short",
        (
            (f"sum by (model) (turnout_queue_length{_OF})", "{{model}} waiting"),
            (f"sum by (model) (turnout_running_requests{_OF})", "{{model}} running"),
        ),
    ),
    Panel("KV cache", "The fullest instance.", "percent", (_by_version("turnout_kv_usage", "max"),)),
    Panel("GPUs", "How busy, on average. Busy is good.", "percent", (_by_version("turnout_gpu_utilization", "avg"),)),
    Panel(
        "Instances",
        "As engines are collected, and as Envoys find them healthy.",
        "short",
        (
            (f"count by (model, tier) (turnout_instance{_OF})", "{{model}} {{tier}}"),
            (f"max by (model, version) (envoy_cluster_membership_healthy{_OF})", "{{model}} {{version}} healthy"),
        ),
    ),
    Panel(
        "Weights",
        "Percent of a model's requests: by policy, and live where somebody has set others.",
        "percent",
        (
            (f"max by (model, version) (turnout_policy_weight{_OF})", "{{model}} {{version}} policy"),
            (f"max by (model, version) (turnout_live_weight{_OF})", "{{model}} {{version}} live"),
        ),
    ),
    Panel(
        "Ejected instances",
        "At the Envoy that has ejected most.",
        "short",
        (_by_version("envoy_cluster_outlier_detection_ejections_active", "max"),),
    ),
    Panel(
        "Retries and full pools",
        "A second: tries after the first, and requests that found no room.",
        "reqps",
        (
            (f"sum by (model) (rate(envoy_cluster_upstream_rq_retry{_OF}[$__rate_interval]))", "{{model}} retries"),
            (
                f"sum by (model) (rate(envoy_cluster_upstream_rq_pending_overflow{_OF}[$__rate_interval]))",
                "{{model}} no room",
            ),
        ),
    ),
)

_CONTROL = (
    Panel(
        "Envoys", "By how they stand to what policy says.", "short", (("sum by (state) (turnout_envoys)", "{{state}}"),)
    ),
    Panel(
        "Refused",
        "Configuration that Envoys have refused, in five minutes.",
        "short",
        (("sum by (type) (increase(turnout_nacks_total[5m]))", "{{type}}"),),
    ),
    Panel(
        "From save to the last Envoy, p95",
        "Of edits in the last hour.",
        "s",
        (("histogram_quantile(0.95, sum by (le) (rate(turnout_convergence_seconds_bucket[1h])))", "p95"),),
    ),
    Panel(
        "Stages of a push, p95",
        "Where the time goes, of edits in the last hour.",
        "s",
        (("histogram_quantile(0.95, sum by (le, stage) (rate(turnout_stage_seconds_bucket[1h])))", "{{stage}}"),),
    ),
)


ROWS = (("Models", _MODELS), ("Control server", _CONTROL))


def dashboard() -> str:
    """JSON that Grafana takes, the same on every machine."""
    body = {
        "uid": "turnout-models",
        "title": "Turnout: models",
        "tags": ["turnout"],
        "timezone": "browser",
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [_source(), _model()]},
        "panels": list(_placed()),
    }
    return json.dumps(body, indent=1) + "\n"


def datasource(address: str) -> str:
    """YAML that Grafana's sidecar for data sources takes."""
    source = {"name": "Turnout", "uid": SOURCE_UID, "type": "prometheus", "access": "proxy", "url": address}
    return yaml_text({"apiVersion": 1, "datasources": [source]})


def _source() -> dict[str, Any]:
    return {
        "name": "source",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "current": {"text": "Turnout", "value": SOURCE_UID},
    }


def _model() -> dict[str, Any]:
    query = "label_values(turnout_instance, model)"
    return {
        "name": "model",
        "label": "Model",
        "type": "query",
        "datasource": {"type": "prometheus", "uid": "${source}"},
        "definition": query,
        "query": {"query": query, "refId": "models"},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".+",
        "current": {"text": "All", "value": "$__all"},
    }


def _placed() -> Iterator[dict[str, Any]]:
    """Rows, and below each its panels, three beside each other."""
    top, number = 0, 0
    for title, among in ROWS:
        number += 1
        yield {"id": number, "type": "row", "title": title, "panels": [], "gridPos": _at(0, top, 24, 1)}
        for position, panel in enumerate(among):
            number += 1
            left, line = position % 3, position // 3
            yield _panel(number, panel, _at(left * WIDTH, top + 1 + line * HEIGHT, WIDTH, HEIGHT))
        top += 1 + -(-len(among) // 3) * HEIGHT


def _at(x: int, y: int, width: int, height: int) -> dict[str, int]:
    return {"x": x, "y": y, "w": width, "h": height}


def _panel(number: int, panel: Panel, at: dict[str, int]) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${source}"}
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.description,
        "datasource": source,
        "gridPos": at,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": list(_targets(panel.queries, source)),
    }


def _targets(queries: Iterable[tuple[str, str]], source: dict[str, str]) -> Iterator[dict[str, Any]]:
    for letter, (query, legend) in zip("ABCD", queries, strict=False):
        yield {"refId": letter, "datasource": source, "expr": query, "legendFormat": legend}
