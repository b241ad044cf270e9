"""The rules as Prometheus' own tool reads and runs them, on series that engines, exporters and servers would have."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.compiler.emit.fleets import rich_fleet
from tests.compiler.emit.test_observability import made

PROMTOOL = shutil.which("promtool")
pytestmark = pytest.mark.skipif(PROMTOOL is None, reason="no promtool: apt-get install prometheus")

INSTANCE = 'namespace="ai-inference",pod="a",model="llama-70b",version="1.0",tier="active"'
VLLM = f'{INSTANCE},engine="vllm"'
VERSION = 'namespace="ai-inference",model="llama-70b",version="1.0",engine="vllm"'
CLUSTER = 'pod="envoy",envoy_cluster_name="llama-70b_1-0",model="llama-70b",version="1-0"'

Series = dict[str, str]
"""Values every 15 s, in Prometheus' notation: `3x8` is nine times 3."""


def promtool(*words: str) -> str:
    assert PROMTOOL is not None
    run = subprocess.run([PROMTOOL, *words], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In one file: what prometheus-operator makes of the objects."""
    objects = made(rich_fleet())
    specs = [objects[f"PrometheusRule/turnout-{name}"].body["spec"] for name in ("recordings", "alerts")]
    path = tmp_path_factory.mktemp("rules") / "rules.yaml"
    path.write_text(json.dumps({"groups": [group for spec in specs for group in spec["groups"]]}))
    return path


def run(rules: Path, tmp_path: Path, series: Series, **tests: Any) -> None:
    given = [{"series": name, "values": values} for name, values in series.items()]
    file = tmp_path / "test.yaml"
    # Else what an alert sees of a recording may be an interval old, or not.
    order = [group["name"] for group in json.loads(rules.read_text())["groups"]]
    case = {"interval": "15s", "input_series": given, **tests}
    whole = {"rule_files": [str(rules)], "evaluation_interval": "15s", "group_eval_order": order, "tests": [case]}
    file.write_text(json.dumps(whole))
    promtool("test", "rules", str(file))


def value(query: str, at: str, *samples: tuple[str, float]) -> dict[str, Any]:
    return {"expr": query, "eval_time": at, "exp_samples": [{"labels": labels, "value": v} for labels, v in samples]}


def firing(name: str, at: str, *found: dict[str, str]) -> dict[str, Any]:
    """Annotations are left out: the names and labels decide who is called."""
    samples = [({"alertname": name, "alertstate": "firing", **labels}) for labels in found]
    written = ["ALERTS{" + ",".join(f'{k}="{v}"' for k, v in sample.items()) + "}" for sample in samples]
    return value(f'ALERTS{{alertname="{name}",alertstate="firing"}}', at, *((labels, 1) for labels in written))


def test_promtool_finds_nothing_wrong(rules: Path) -> None:
    promtool("check", "rules", "--lint=all", "--lint-fatal", str(rules))


def test_what_vllm_tells_has_the_common_names(rules: Path, tmp_path: Path) -> None:
    series = {
        f'vllm:request_success_total{{{VLLM},finished_reason="stop"}}': "0+30x40",
        f'vllm:request_success_total{{{VLLM},finished_reason="length"}}': "0+15x40",
        f"vllm:num_requests_waiting{{{VLLM}}}": "7x40",
        f"vllm:num_requests_running{{{VLLM}}}": "64x40",
        f"vllm:kv_cache_usage_perc{{{VLLM}}}": "0.25x40",
        f'vllm:e2e_request_latency_seconds_bucket{{{VLLM},le="1"}}': "0+0x40",
        f'vllm:e2e_request_latency_seconds_bucket{{{VLLM},le="2"}}': "0+10x40",
        f'vllm:e2e_request_latency_seconds_bucket{{{VLLM},le="+Inf"}}': "0+10x40",
        f"vllm:e2e_request_latency_seconds_count{{{VLLM}}}": "0+10x40",
        # What another job has collected from the same pod counts nowhere.
        'vllm:num_requests_waiting{pod="a",job="annotations"}': "7x40",
    }
    run(
        rules,
        tmp_path,
        series,
        promql_expr_test=[
            value("turnout_qps", "8m", (f"turnout_qps{{{VLLM}}}", 3)),
            value("turnout_queue_length", "8m", (f"turnout_queue_length{{{VLLM}}}", 7)),
            value("turnout_running_requests", "8m", (f"turnout_running_requests{{{VLLM}}}", 64)),
            value("turnout_kv_usage", "8m", (f"turnout_kv_usage{{{VLLM}}}", 25)),
            value("round(turnout_latency_ms)", "8m", (f"{{{VERSION}}}", 1950)),
        ],
    )


def test_a_percentile_of_no_requests_is_nought(rules: Path, tmp_path: Path) -> None:
    series = {
        f'vllm:e2e_request_latency_seconds_bucket{{{VLLM},le="+Inf"}}': "10x40",
        f'vllm:e2e_request_latency_seconds_bucket{{{VLLM},le="2"}}': "10x40",
        f"vllm:e2e_request_latency_seconds_count{{{VLLM}}}": "10x40",
    }
    told = (f"turnout_latency_ms{{{VERSION}}}", 0)
    run(rules, tmp_path, series, promql_expr_test=[value("turnout_latency_ms", "8m", told)])


def test_what_triton_has_worked_out_itself_is_the_worst_of_it(rules: Path, tmp_path: Path) -> None:
    def summary(pod: str) -> str:
        labels = f'namespace="x",pod="{pod}",model="m",version="1",tier="active",engine="triton",quantile="0.95"'
        return f"nv_inference_request_summary_us{{{labels}}}"

    series = {summary("a"): "2000x40", summary("b"): "9000x40"}
    told = ('turnout_latency_ms{namespace="x",model="m",version="1",engine="triton"}', 9)
    run(rules, tmp_path, series, promql_expr_test=[value("turnout_latency_ms", "8m", told)])


@pytest.mark.parametrize("prefix", ["", "exported_"])
def test_gpus_are_those_of_the_pod_that_works_on_them(prefix: str, rules: Path, tmp_path: Path) -> None:
    """Both as the exporter's monitor honours its labels, and as it does not."""

    def of(gpu: int, pod: str) -> str:
        own = 'namespace="gpu-operator",pod="dcgm-exporter-x",' if prefix else ""
        labels = f'gpu="{gpu}",{own}{prefix}namespace="ai-inference",{prefix}pod="{pod}"'
        return f"DCGM_FI_DEV_GPU_UTIL{{{labels}}}"

    series = {
        f'up{{{VLLM},job="ai-inference/turnout-engines"}}': "1x40",
        of(0, "a"): "90x40",
        of(1, "a"): "100x40",
        of(2, "somebody-elses"): "5x40",
    }
    told = (f"turnout_gpu_utilization{{{VLLM}}}", 95)
    run(rules, tmp_path, series, promql_expr_test=[value("turnout_gpu_utilization", "8m", told)])


def test_over_a_hundred_waiting_for_two_minutes_is_a_warning(rules: Path, tmp_path: Path) -> None:
    series = {f"vllm:num_requests_waiting{{{VLLM}}}": "0 101x40"}
    labels = {"severity": "warning", "namespace": "ai-inference", "model": "llama-70b"}
    run(
        rules,
        tmp_path,
        series,
        promql_expr_test=[
            firing("TurnoutHighQueueLength", "2m"),
            firing("TurnoutHighQueueLength", "2m30s", labels),
        ],
    )


def test_a_hundred_waiting_is_no_warning(rules: Path, tmp_path: Path) -> None:
    series = {f"vllm:num_requests_waiting{{{VLLM}}}": "100x40"}
    run(rules, tmp_path, series, promql_expr_test=[firing("TurnoutHighQueueLength", "9m")])


def test_a_busy_gpu_is_told_after_five_minutes_to_those_who_look(rules: Path, tmp_path: Path) -> None:
    series = {
        f'up{{{VLLM},job="ai-inference/turnout-engines"}}': "1x60",
        'DCGM_FI_DEV_GPU_UTIL{gpu="0",namespace="ai-inference",pod="a"}': "99x60",
    }
    labels = {"severity": "info", "namespace": "ai-inference", "model": "llama-70b", "version": "1.0"}
    tests = [
        firing("TurnoutHighGpuUtilization", "4m30s"),
        firing("TurnoutHighGpuUtilization", "6m", labels),
    ]
    run(rules, tmp_path, series, promql_expr_test=tests)


def test_ejections_and_a_model_without_instances_are_told(rules: Path, tmp_path: Path) -> None:
    series = {
        f"envoy_cluster_outlier_detection_ejections_active{{{CLUSTER}}}": "0 0 2x40",
        f"envoy_cluster_membership_healthy{{{CLUSTER}}}": "2 2 0x40",
        f"envoy_cluster_membership_total{{{CLUSTER}}}": "2x42",
        # The other Envoy's, and a cluster of no model.
        'envoy_cluster_membership_healthy{envoy_cluster_name="other"}': "0x40",
        'envoy_cluster_membership_total{envoy_cluster_name="other"}': "1x40",
    }
    version = {"model": "llama-70b", "version": "1-0"}
    tests = [
        firing("TurnoutNoHealthyInstance", "1m"),
        firing("TurnoutNoHealthyInstance", "3m", {"severity": "critical", **version}),
        firing("TurnoutInstanceEjected", "3m", {"severity": "warning", **version}),
    ]
    run(rules, tmp_path, series, promql_expr_test=tests)


def test_a_model_that_one_envoy_reaches_is_not_lost(rules: Path, tmp_path: Path) -> None:
    series = {
        f"envoy_cluster_membership_healthy{{{CLUSTER}}}": "0x40",
        f"envoy_cluster_membership_healthy{{{CLUSTER},zone='b'}}".replace("'", '"'): "1x40",
        f"envoy_cluster_membership_total{{{CLUSTER}}}": "2x40",
    }
    run(rules, tmp_path, series, promql_expr_test=[firing("TurnoutNoHealthyInstance", "9m")])


def test_refusals_of_envoys_and_those_who_lag_are_told(rules: Path, tmp_path: Path) -> None:
    series = {
        'turnout_nacks_total{variant="delta",type="cluster"}': "0 0 1x60",
        'turnout_nacks_total{variant="delta",type="route"}': "0x60",
        'turnout_envoys{state="synced"}': "9x60",
        'turnout_envoys{state="behind"}': "1x4 0x60",
        'turnout_envoys{state="refusing"}': "0 0 1x60",
        'turnout_build_info{version="1"}': "1x60",
    }
    tests = [
        firing("TurnoutConfigurationRefused", "1m", {"severity": "warning", "type": "cluster"}),
        firing("TurnoutEnvoysOutOfSync", "7m", {"severity": "warning", "state": "refusing"}),
        firing("TurnoutNoControlServer", "9m"),
    ]
    run(rules, tmp_path, series, promql_expr_test=tests)


def test_a_control_server_that_is_gone_and_replicas_that_disagree_are_told(rules: Path, tmp_path: Path) -> None:
    series = {
        'turnout_policy_info{digest="a",pod="x"}': "1x80",
        'turnout_policy_info{digest="b",pod="y"}': "1x80",
    }
    tests = [
        firing("TurnoutNoControlServer", "6m", {"severity": "critical"}),
        firing("TurnoutReplicasDisagree", "9m"),
        firing("TurnoutReplicasDisagree", "11m", {"severity": "warning"}),
    ]
    run(rules, tmp_path, series, promql_expr_test=tests)


def test_first_tokens_near_the_limit_of_a_try_are_critical(rules: Path, tmp_path: Path) -> None:
    """llama-70b begins a stream again after 60 s."""
    series = {
        f'vllm:time_to_first_token_seconds_bucket{{{VLLM},le="55"}}': "0+0x60",
        f'vllm:time_to_first_token_seconds_bucket{{{VLLM},le="60"}}': "0+10x60",
        f'vllm:time_to_first_token_seconds_bucket{{{VLLM},le="+Inf"}}': "0+10x60",
        f"vllm:time_to_first_token_seconds_count{{{VLLM}}}": "0+10x60",
    }
    of = {"namespace": "ai-inference", "model": "llama-70b", "version": "1.0", "engine": "vllm", "limit": "60s"}
    both = [{"severity": severity, **of} for severity in ("critical", "warning")]
    run(rules, tmp_path, series, promql_expr_test=[firing("TurnoutSlowFirstToken", "10m", *both)])


def test_an_outage_is_measured_against_what_is_promised(rules: Path, tmp_path: Path) -> None:
    """llama-70b, of which one version is still well, and later none: 30 s are promised."""
    other = CLUSTER.replace("1-0", "1-1")
    series = {
        f"envoy_cluster_membership_healthy{{{CLUSTER}}}": "0x40",
        f"envoy_cluster_membership_healthy{{{other}}}": "1x20 0x20",
    }
    late = {"model": "llama-70b", "limit": "30s"}
    tests = [
        firing("TurnoutOutageOverRto", "5m"),
        firing("TurnoutOutageOverRto", "5m30s", {"severity": "warning", **late}),
        firing("TurnoutOutageOverRto", "5m45s", {"severity": "warning", **late}, {"severity": "critical", **late}),
    ]
    run(rules, tmp_path, series, promql_expr_test=tests)


def test_an_outage_of_a_model_that_istio_alone_carries_is_told_by_its_instances(rules: Path, tmp_path: Path) -> None:
    """No Envoy of Turnout's knows it. Two minutes well, then one instance is left, then none."""
    other = VLLM.replace('pod="a"', 'pod="b"')
    series = {
        f"vllm:num_requests_waiting{{{VLLM}}}": "0x8 stale",
        f"vllm:num_requests_waiting{{{other}}}": "0x20 stale",
    }
    late = {"model": "llama-70b", "limit": "30s"}
    tests = [
        firing("TurnoutOutageOverRto", "5m"),
        firing("TurnoutOutageOverRto", "5m30s", {"severity": "warning", **late}),
        firing("TurnoutOutageOverRto", "5m45s", {"severity": "warning", **late}, {"severity": "critical", **late}),
    ]
    run(rules, tmp_path, series, promql_expr_test=tests)


def test_instances_that_tell_nothing_are_no_outage_where_an_envoy_reaches_them(rules: Path, tmp_path: Path) -> None:
    series = {
        f"vllm:num_requests_waiting{{{VLLM}}}": "0x8 stale",
        f"envoy_cluster_membership_healthy{{{CLUSTER}}}": "1x40",
    }
    run(rules, tmp_path, series, promql_expr_test=[firing("TurnoutOutageOverRto", "9m")])
