"""What prometheus-operator is to collect: engines, Turnout's own Envoys, and the control server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from compiler.emit.names import CONTROL_APP, CONTROL_METRICS, GATEWAY_APP, GATEWAY_METRICS
from compiler.emit.observability.recordings import INTERVAL
from compiler.emit.scrape import ENGINE_LABEL

ENGINE_SERIES = ("vllm:", "sglang:", "tgi_", "trtllm_", "nv_")
"""How the names begin. Beside them engines tell of Python and of their process, and Istio's proxy of all it does."""
ENVOY_SERIES = (
    "envoy_cluster_membership_healthy",
    "envoy_cluster_membership_total",
    "envoy_cluster_outlier_detection_ejections_active",
    "envoy_cluster_upstream_rq_active",
    "envoy_cluster_upstream_rq_completed",
    "envoy_cluster_upstream_rq_pending_overflow",
    "envoy_cluster_upstream_rq_retry",
    "envoy_cluster_upstream_rq_time_bucket",
    "envoy_cluster_upstream_rq_time_count",
    "envoy_cluster_upstream_rq_time_sum",
    "envoy_cluster_upstream_rq_xx",
    "envoy_control_plane_connected_state",
    "envoy_http_downstream_cx_active",
    "envoy_http_downstream_rq_active",
    "envoy_http_downstream_rq_xx",
    "envoy_server_live",
    "envoy_server_memory_allocated",
)
"""Those that are kept. An Envoy has some hundred for each cluster: a thousand models would be millions of series."""
ENVOY_FILTER = (
    r"^cluster\.[^.]+\.(membership_(healthy|total)|outlier_detection\.ejections_active|upstream_rq_"
    r"(active|completed|pending_overflow|retry|time|[1-5]xx))$"
    r"|^control_plane\.connected_state$|^http\..*\.(downstream_cx_active|downstream_rq_(active|[1-5]xx))$"
    r"|^server\.(live|memory_allocated)$"
)
"""The same by Envoy's own names, so that it need not write down the others."""

Relabeling = Mapping[str, Any]

_POD = "__meta_kubernetes_pod"
_OF_INSTANCE: tuple[Relabeling, ...] = (
    {"sourceLabels": [f"{_POD}_label_turnout_dev_model"], "targetLabel": "model"},
    {"sourceLabels": [f"{_POD}_label_turnout_dev_version"], "targetLabel": "version"},
    {"sourceLabels": [f"{_POD}_label_turnout_dev_tier"], "targetLabel": "tier"},
    {"sourceLabels": [f"{_POD}_label_turnout_dev_engine"], "targetLabel": "engine"},
    # Where the pod says it is to be asked; a proxy of Istio's that stands in front has put its own port and path there.
    {
        "sourceLabels": ["__address__", f"{_POD}_annotation_prometheus_io_port"],
        "separator": ";",
        "regex": r"(.+):[0-9]+;([0-9]+)",
        "replacement": "$1:$2",
        "targetLabel": "__address__",
    },
    {"sourceLabels": [f"{_POD}_annotation_prometheus_io_path"], "regex": "(.+)", "targetLabel": "__metrics_path__"},
)
_OF_CLUSTER: tuple[Relabeling, ...] = (
    {"action": "keep", "sourceLabels": ["__name__"], "regex": "|".join(ENVOY_SERIES)},
    # Where Envoys are told what to do, what they tell themselves, and where they send spans: no models.
    {"action": "drop", "sourceLabels": ["envoy_cluster_name"], "regex": "turnout_xds|turnout_admin|tracing-collector"},
    # Clusters are called <model>_<version>, with dashes for dots; one with stand-ins after the first.
    {
        "sourceLabels": ["envoy_cluster_name"],
        "regex": r"([^_+]+)_[^_+]+(?:_rest)?(?:\+.*)?",
        "replacement": "$1",
        "targetLabel": "model",
    },
    {
        "sourceLabels": ["envoy_cluster_name"],
        "regex": r"[^_+]+_([^_+]+)(?:_rest)?(?:\+.*)?",
        "replacement": "$1",
        "targetLabel": "version",
    },
)


def engines(namespaces: Iterable[str]) -> dict[str, Any]:
    """Spec of a PodMonitor: every instance once, whichever its engine."""
    endpoint = {
        "port": "http",
        "interval": INTERVAL,
        "relabelings": [*_OF_INSTANCE],
        "metricRelabelings": [
            {"action": "keep", "sourceLabels": ["__name__"], "regex": f"(?:{'|'.join(ENGINE_SERIES)}).*"}
        ],
    }
    return {
        "namespaceSelector": {"matchNames": list(namespaces)},
        "selector": {"matchExpressions": [{"key": ENGINE_LABEL, "operator": "Exists"}]},
        "podMetricsEndpoints": [endpoint],
    }


def envoys(namespaces: Iterable[str]) -> dict[str, Any]:
    """Spec of a PodMonitor."""
    endpoint = {
        "port": GATEWAY_METRICS,
        "path": "/stats/prometheus",
        "params": {"filter": [ENVOY_FILTER]},
        "interval": INTERVAL,
        "metricRelabelings": [*_OF_CLUSTER],
    }
    return {
        "namespaceSelector": {"matchNames": list(namespaces)},
        "selector": {"matchLabels": {"app.kubernetes.io/name": GATEWAY_APP}},
        "podMetricsEndpoints": [endpoint],
    }


def control_server(namespace: str) -> dict[str, Any]:
    """Spec of a ServiceMonitor."""
    return {
        "namespaceSelector": {"matchNames": [namespace]},
        "selector": {"matchLabels": {"app.kubernetes.io/name": CONTROL_APP}},
        "endpoints": [{"port": CONTROL_METRICS, "path": "/metrics", "interval": INTERVAL}],
    }
