"""What is collected, recorded, told and shown; and that every name in it exists."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from compiler.emit import observability
from compiler.emit.object import Object
from compiler.emit.observability.monitors import ENGINE_SERIES, ENVOY_SERIES
from compiler.emit.observability.recordings import groups
from compiler.emit.scrape import SCRAPES
from compiler.fleet import Carrier, Fleet, Framework, Host, Platform
from compiler.kept import Kept
from compiler.promql import Answer, answer
from tests.compiler.emit.fleets import engine, fleet, gateway, model, rich_fleet, version
from xds.admin.metrics import Metrics

SUFFIXES = {"counter": ("_total",), "info": ("_info",), "histogram": ("_bucket", "_count", "_sum"), "gauge": ("",)}
COMMON = {"turnout_qps", "turnout_queue_length", "turnout_latency_ms", "turnout_queue_wait_ms"}
MODEL = {*COMMON, "turnout_running_requests", "turnout_kv_usage", "turnout_ttft_ms"}


def made(of: Fleet, kept: Kept | None = None) -> dict[str, Object]:
    """By kind and name."""
    found = observability.objects(of, kept or Kept())
    return {f"{item.body['kind']}/{item.body['metadata']['name']}": item for item in found}


def rules(of: Fleet, name: str) -> list[Mapping[str, Any]]:
    spec = made(of)[f"PrometheusRule/{name}"].body["spec"]
    return [rule for group in spec["groups"] for rule in group["rules"]]


def panels(of: Fleet) -> list[Mapping[str, Any]]:
    dashboard = json.loads(made(of)["ConfigMap/turnout-dashboard"].body["data"]["turnout-models.json"])
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def queries(of: Fleet) -> Iterator[str]:
    """Every piece of PromQL; Grafana's variables as it would fill them in."""
    yield from (rule["expr"] for name in ("turnout-recordings", "turnout-alerts") for rule in rules(of, name))
    for panel in panels(of):
        for target in panel["targets"]:
            yield target["expr"].replace("$model", "a|b").replace("$__rate_interval", "1m")


def names(query: str) -> set[str]:
    """Of the metrics that a query reads."""
    found: set[str] = set()

    def visit(node: promql_parser.Expr) -> bool:
        if isinstance(node, promql_parser.VectorSelector) and node.name is not None:
            found.add(node.name)
        return True

    promql_parser.walk(promql_parser.parse(query), visit)
    return found


def everything_read() -> set[str]:
    return {name for query in queries(rich_fleet()) for name in names(query)}


def recorded() -> set[str]:
    return {rule["record"] for rule in rules(rich_fleet(), "turnout-recordings")}


def test_every_query_is_promql() -> None:
    found = {query: answer(query) for query in queries(rich_fleet())}  # raises where it is none
    assert {query: kind for query, kind in found.items() if kind is not Answer.VECTOR} == {}
    assert len(found) > 60


def test_every_metric_of_the_control_server_that_is_read_is_one_that_it_tells() -> None:
    text = Metrics().exposition().decode()
    told = {
        f"{family.name}{suffix}"
        for family in text_string_to_metric_families(text)
        for suffix in SUFFIXES[family.type if not family.name.endswith("_info") else "gauge"]
    }
    read = {name for name in everything_read() if name.startswith("turnout_")} - recorded()
    assert len(read) > 5
    assert read - told == set()


def test_every_metric_of_envoy_that_is_read_is_kept_when_it_is_collected() -> None:
    read = {name for name in everything_read() if name.startswith("envoy_")}
    assert len(read) > 5
    assert read - set(ENVOY_SERIES) == set()


def test_every_other_metric_is_an_engines_or_the_gpu_exporters_or_recorded() -> None:
    others = {n for n in everything_read() if not n.startswith(("envoy_", "turnout_", *ENGINE_SERIES))}
    assert others == {"up", "DCGM_FI_DEV_GPU_UTIL"}


def test_every_record_is_shown_or_alerted_on() -> None:
    assert recorded() - everything_read() == set()


@pytest.mark.parametrize(
    ("framework", "records"),
    [
        (Framework.VLLM, MODEL),
        (Framework.SGLANG, MODEL),
        (Framework.TENSORRT_LLM, MODEL),
        (Framework.TGI, COMMON | {"turnout_running_requests"}),
        (Framework.TRITON, COMMON),
    ],
)
def test_each_engine_has_what_it_can_tell(framework: Framework, records: set[str]) -> None:
    _, own = groups([framework])
    assert {rule["record"] for rule in own["rules"]} == records
    assert all(f'engine="{framework}"' in rule["expr"] for rule in own["rules"])


def test_rules_are_of_the_engines_that_the_fleet_has() -> None:
    of = replace(fleet(model()), platform=rich_fleet().platform)
    found = made(of)["PrometheusRule/turnout-recordings"].body["spec"]["groups"]
    assert [group["name"] for group in found] == ["turnout-instances", "turnout-vllm"]


def test_a_pod_says_which_engine_it_is_and_where_to_ask_it(objects: tuple[Object, ...]) -> None:
    deployments = [
        item.body for item in objects if item.key.startswith("apps/v1/Deployment") and "models/" in item.file
    ]
    seen = set()
    for deployment in deployments:
        told = deployment["spec"]["template"]["metadata"]
        framework = Framework(told["labels"]["turnout.dev/engine"])
        annotations = told["annotations"]
        asked = int(annotations["prometheus.io/port"]), annotations["prometheus.io/path"]
        assert asked == SCRAPES[framework]
        seen.add(framework)
        assert "turnout.dev/engine" not in deployment["spec"]["selector"]["matchLabels"]
    assert seen == set(Framework)


def relabelled(relabelings: list[Mapping[str, Any]], labels: dict[str, str]) -> dict[str, str] | None:
    """As Prometheus does it; None where the series or target is dropped."""
    for rule in relabelings:
        value = rule.get("separator", ";").join(labels.get(name, "") for name in rule["sourceLabels"])
        found = re.fullmatch(rule.get("regex", "(.*)"), value)
        match rule.get("action", "replace"):
            case "keep" if found is None:
                return None
            case "drop" if found is not None:
                return None
            case "replace" if found is not None:
                template = re.sub(r"\$(\d)", r"\\\1", rule.get("replacement", "$1"))
                labels = {**labels, rule["targetLabel"]: found.expand(template)}
    return labels


def target(**annotations: str) -> dict[str, str]:
    labels = {"model": "llama-70b", "version": "1.0", "tier": "hot", "engine": "vllm"}
    return {
        "__address__": "[fd00::7]:8000",
        "__metrics_path__": "/metrics",
        **{f"__meta_kubernetes_pod_label_turnout_dev_{key}": value for key, value in labels.items()},
        **{f"__meta_kubernetes_pod_annotation_prometheus_io_{key}": value for key, value in annotations.items()},
    }


@pytest.mark.parametrize(
    ("annotations", "address", "path"),
    [
        ({"port": "8002", "path": "/metrics"}, "[fd00::7]:8002", "/metrics"),
        ({"port": "15020", "path": "/stats/prometheus"}, "[fd00::7]:15020", "/stats/prometheus"),
        ({}, "[fd00::7]:8000", "/metrics"),
    ],
)
def test_an_instance_is_asked_where_its_pod_says(annotations: dict[str, str], address: str, path: str) -> None:
    [endpoint] = made(rich_fleet())["PodMonitor/turnout-engines"].body["spec"]["podMetricsEndpoints"]
    found = relabelled(endpoint["relabelings"], target(**annotations))
    assert found is not None
    assert (found["__address__"], found["__metrics_path__"]) == (address, path)
    assert (found["model"], found["version"], found["tier"], found["engine"]) == ("llama-70b", "1.0", "hot", "vllm")


@pytest.mark.parametrize(
    ("cluster", "model_and_version"),
    [
        ("llama-70b_1-0", ("llama-70b", "1-0")),
        ("llama-70b_1-0_rest", ("llama-70b", "1-0")),
        ("llama-70b_1-0+m-8b_2", ("llama-70b", "1-0")),
        ("turnout_xds", None),
        ("turnout_admin", None),
        ("tracing-collector", None),
    ],
)
def test_a_series_of_a_cluster_is_one_of_a_model(cluster: str, model_and_version: tuple[str, str] | None) -> None:
    [endpoint] = made(rich_fleet())["PodMonitor/turnout-envoys"].body["spec"]["podMetricsEndpoints"]
    series = {"__name__": "envoy_cluster_membership_healthy", "envoy_cluster_name": cluster}
    found = relabelled(endpoint["metricRelabelings"], series)
    assert (None if found is None else (found["model"], found["version"])) == model_and_version
    assert (
        relabelled(endpoint["metricRelabelings"], {**series, "__name__": "envoy_cluster_lb_zone_number_differs"})
        is None
    )


def test_limits_of_policy_are_thresholds_and_rules_grow_with_their_values_alone() -> None:
    def thresholds(*batches: int) -> list[str]:
        models = [
            model(f"m{number}", replace(version(), engine=replace(engine(), max_batch_size=batch)))
            for number, batch in enumerate(batches)
        ]
        of = replace(fleet(*models), platform=rich_fleet().platform)
        return [r["expr"] for r in rules(of, "turnout-alerts") if r["alert"] == "TurnoutQueueOverBatch"]

    assert thresholds(64) == thresholds(64, 64, 64) == ["turnout_queue_length > 64"]
    assert thresholds(64, 8, 64) == [
        'turnout_queue_length{model=~"m1"} > 8',
        'turnout_queue_length{model=~"m0|m2"} > 64',
    ]


def test_a_slow_first_token_is_measured_by_the_time_after_which_a_stream_is_begun_again() -> None:
    slow = model()
    timeouts = replace(slow.timeouts, stream_first_byte=timedelta(seconds=10))
    of = replace(fleet(replace(slow, timeouts=timeouts)), platform=rich_fleet().platform)
    found = {(r["labels"]["severity"], r["expr"]) for r in rules(of, "turnout-alerts") if "ttft" in r["expr"]}
    assert found == {("critical", "turnout_ttft_ms > 9000"), ("warning", "turnout_ttft_ms > 5000")}


def test_a_busy_gpu_calls_nobody() -> None:
    [found] = [r for r in rules(rich_fleet(), "turnout-alerts") if "turnout_gpu_utilization" in r["expr"]]
    assert found["labels"] == {"severity": "info"}


def test_nothing_is_rendered_that_policy_does_not_ask_for() -> None:
    plain, asked = rich_fleet(), rich_fleet().platform
    assert made(replace(plain, platform=Platform())) == {}
    assert set(made(replace(plain, platform=replace(asked, prometheus=None)))) == {"Telemetry/turnout"}
    assert "Telemetry/turnout" not in made(replace(plain, platform=replace(asked, tracing=None)))


def test_a_fleet_that_istio_alone_carries_has_neither_envoys_nor_a_control_server_to_miss() -> None:
    of = replace(fleet(model()), platform=rich_fleet().platform)
    assert {key for key in made(of) if "Monitor/" in key} == {"PodMonitor/turnout-engines"}
    assert "TurnoutNoControlServer" not in {rule["alert"] for rule in rules(of, "turnout-alerts")}
    own = replace(fleet(model(), gateways=(gateway("own", carrier=Carrier.ENVOY),)), platform=rich_fleet().platform)
    assert {"PodMonitor/turnout-envoys", "ServiceMonitor/turnout-control"} < set(made(own))
    assert "TurnoutNoControlServer" in {rule["alert"] for rule in rules(own, "turnout-alerts")}
    assert "Telemetry/turnout" not in made(own)


def test_an_edit_that_changes_no_limit_finds_every_object_again() -> None:
    kept, of = Kept(), rich_fleet()
    before = made(of, kept)
    edited = tuple(replace(m, expected_qps=7.0) for m in of.models)
    after = made(replace(of, models=edited, platform=replace(of.platform)), Kept(kept.closed()))
    assert all(after[key] is item for key, item in before.items())


def test_the_dashboard_is_one_for_all_models_and_its_panels_do_not_overlap() -> None:
    found = panels(rich_fleet())
    assert made(rich_fleet())["ConfigMap/turnout-dashboard"].body["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert found == panels(replace(rich_fleet(), models=rich_fleet().models[:1]))
    cells = [
        (x, y)
        for at in (panel["gridPos"] for panel in found)
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    titles = {panel["title"] for panel in found}
    assert {"Requests", "Weights", "KV cache", "GPUs", "Ejected instances", "Refused"} <= titles


def test_the_dashboard_reads_where_platform_says_metrics_are() -> None:
    of = made(replace(rich_fleet(), platform=Platform(prometheus="https://thanos.example.com/x")))
    source = of["ConfigMap/turnout-datasource"]
    assert source.body["metadata"]["labels"]["grafana_datasource"] == "1"
    [told] = yaml.safe_load(source.body["data"]["turnout.yaml"])["datasources"]
    assert told["url"] == "https://thanos.example.com/x"
    dashboard = json.loads(of["ConfigMap/turnout-dashboard"].body["data"]["turnout-models.json"])
    assert dashboard["templating"]["list"][0]["current"]["value"] == told["uid"]


def test_istio_logs_our_hosts_alone() -> None:
    def logged(*hosts: str) -> Any:
        mesh = replace(gateway(), hosts=tuple(Host(host, Carrier.ISTIO) for host in hosts))
        of = replace(fleet(model(), gateways=(mesh,)), platform=rich_fleet().platform)
        [found] = made(of)["Telemetry/turnout"].body["spec"]["accessLogging"]
        return found.get("filter", {}).get("expression")

    assert logged("a.example.com", "*.example.org") == (
        'request.host == "a.example.com" || request.host.startsWith("a.example.com:")'
        ' || request.host.endsWith(".example.org") || request.host.contains(".example.org:")'
    )
    assert logged("a.example.com", "*") is None
