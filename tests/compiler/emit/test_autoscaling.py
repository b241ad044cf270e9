"""What writes replicas by load: HorizontalPodAutoscalers with the adapter's rules, or KEDA's ScaledObjects."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml

from compiler.emit import autoscaling, kubernetes
from compiler.emit.object import Handover, Object, Wave, Writer
from compiler.fleet import Autoscaler, Autoscaling, Fleet, Metric, MetricTarget, Model, Pace, Platform
from compiler.kept import Kept
from tests.compiler.emit.fleets import at, fleet, model, scaled, seconds, version
from tests.manifests.schemas import validate

ADDRESS = "http://prometheus.monitoring.svc:9090"
SELECTOR = '{namespace="ai-inference", model="m", version="1.0"'


def scaling_model(scaling: Autoscaling | None) -> Model:
    return model("m", replace(version("1.0"), autoscaling=scaling))


def whole(*models: Model, by: Autoscaler = Autoscaler.HPA) -> Fleet:
    platform = Platform("serving", at(4, "policies/platform.yaml"), prometheus=ADDRESS, autoscaler=by)
    return replace(fleet(*models), platform=platform)


def made(*models: Model, by: Autoscaler = Autoscaler.HPA) -> list[Object]:
    found = list(autoscaling.objects(whole(*models, by=by), Kept()))
    assert [complaint for item in found for complaint in validate(item.body)] == []
    return found


def spec(scaling: Autoscaling, by: Autoscaler = Autoscaler.HPA) -> Any:
    kind = "ScaledObject" if by is Autoscaler.KEDA else "HorizontalPodAutoscaler"
    [body] = [item.body for item in made(scaling_model(scaling), by=by) if item.body["kind"] == kind]
    return body["spec"]


def metric(target: MetricTarget) -> Any:
    [found] = spec(scaled(1, 2, target))["metrics"]
    return found


def trigger(target: MetricTarget, least: int = 1) -> Any:
    [found] = spec(scaled(least, 2, target), Autoscaler.KEDA)["triggers"]
    return found


def adapter(*models: Model) -> Any:
    [body] = [item.body for item in made(*models) if item.body["kind"] == "ConfigMap"]
    return yaml.safe_load(body["data"]["config.yaml"])


# HorizontalPodAutoscaler


def test_it_scales_the_active_deployment_between_its_bounds() -> None:
    whole_spec = spec(scaled(2, 10))
    assert whole_spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "m-1-0"}
    assert (whole_spec["minReplicas"], whole_spec["maxReplicas"]) == (2, 10)


def test_it_adds_two_a_minute_and_takes_away_one_in_two() -> None:
    assert spec(scaled(2, 10))["behavior"] == {
        "scaleUp": {
            "stabilizationWindowSeconds": 60,
            "selectPolicy": "Max",
            "policies": [{"type": "Pods", "value": 2, "periodSeconds": 60}],
        },
        "scaleDown": {
            "stabilizationWindowSeconds": 300,
            "selectPolicy": "Max",
            "policies": [{"type": "Pods", "value": 1, "periodSeconds": 120}],
        },
    }


def test_a_failover_may_add_at_once() -> None:
    """No window is 0 seconds, not Kubernetes' default; what is finer than a second is rounded up."""
    at_once = replace(scaled(1, 5), scale_up=Pace(seconds(0), 2, seconds(9.5)))
    up = spec(at_once)["behavior"]["scaleUp"]
    assert up["stabilizationWindowSeconds"] == 0
    assert up["policies"] == [{"type": "Pods", "value": 2, "periodSeconds": 10}]


@pytest.mark.parametrize("of", [m for m in Metric if m is not Metric.LATENCY])
def test_a_metric_is_the_average_of_pods(of: Metric) -> None:
    """Of type Resource a metric can be cpu or memory alone; `nvidia.com/gpu-utilization` measures nothing."""
    name = f"turnout_{of}"
    goal = {"type": "AverageValue", "averageValue": "80"}
    assert metric(MetricTarget(of, 80.0)) == {"type": "Pods", "pods": {"metric": {"name": name}, "target": goal}}


def test_latency_is_external_and_no_average() -> None:
    chosen = {"matchLabels": {"model": "m", "version": "1.0"}}
    assert metric(MetricTarget(Metric.LATENCY, 500.0)) == {
        "type": "External",
        "external": {
            "metric": {"name": "turnout_latency_ms", "selector": chosen},
            "target": {"type": "Value", "value": "500"},
        },
    }


@pytest.mark.parametrize(
    ("target", "quantity", "threshold"),
    [
        (100.0, "100", "100"),
        (0.5, "500m", "0.5"),
        (0.001, "1m", "0.001"),
        (12.3456, "12346m", "12.346"),
        (1e6, "1000000", "1000000"),
    ],
)
def test_a_target_is_a_quantity(target: float, quantity: str, threshold: str) -> None:
    wanted = MetricTarget(Metric.QPS, target)
    assert metric(wanted)["pods"]["target"]["averageValue"] == quantity
    assert trigger(wanted)["metadata"]["threshold"] == threshold


# Rules of prometheus-adapter


def test_every_metric_that_an_autoscaler_reads_has_a_rule_and_no_other_has() -> None:
    targets = [MetricTarget(m, 1.0) for m in (Metric.QPS, Metric.LATENCY, Metric.KV_USAGE)]
    rules = adapter(scaling_model(scaled(1, 2, *targets)))
    assert [rule["seriesQuery"] for rule in rules["rules"]] == [
        'turnout_qps{namespace!="",pod!=""}',
        'turnout_kv_usage{namespace!="",pod!=""}',
    ]
    assert [rule["seriesQuery"] for rule in rules["externalRules"]] == ['turnout_latency_ms{namespace!="",model!=""}']


def test_a_rule_of_pods_leads_from_labels_to_pods() -> None:
    [rule] = adapter(scaling_model(scaled(1, 2, MetricTarget(Metric.QPS, 1.0))))["rules"]
    assert rule["resources"] == {
        "overrides": {"namespace": {"resource": "namespace"}, "pod": {"resource": "pod"}},
    }
    assert rule["metricsQuery"] == "sum by (<<.GroupBy>>) (turnout_qps{<<.LabelMatchers>>})"


def test_a_rule_of_versions_takes_what_the_autoscaler_selects_in_its_namespace() -> None:
    [rule] = adapter(scaling_model(scaled(1, 2, MetricTarget(Metric.LATENCY, 1.0))))["externalRules"]
    assert rule["resources"] == {"overrides": {"namespace": {"resource": "namespace"}}}
    assert rule["metricsQuery"] == "max(turnout_latency_ms{<<.LabelMatchers>>})"


def test_the_rules_stand_in_the_platforms_namespace_and_no_external_ones_without_latency() -> None:
    [config] = [item for item in made(scaling_model(scaled(1, 2))) if item.body["kind"] == "ConfigMap"]
    assert (config.file, config.body["metadata"]["namespace"]) == ("observability/prometheus-adapter.yaml", "serving")
    assert "externalRules" not in config.body["data"]["config.yaml"]


def test_keda_asks_for_itself_and_needs_no_rules() -> None:
    assert [item.body["kind"] for item in made(scaling_model(scaled(1, 2)), by=Autoscaler.KEDA)] == ["ScaledObject"]


@pytest.mark.parametrize("by", Autoscaler)
def test_without_autoscaling_there_is_nothing(by: Autoscaler) -> None:
    assert made(scaling_model(None), by=by) == []


# KEDA


def test_keda_gets_the_sum_of_the_active_instances_and_divides_it_itself() -> None:
    assert trigger(MetricTarget(Metric.RUNNING_REQUESTS, 48.0)) == {
        "type": "prometheus",
        "metricType": "AverageValue",
        "metadata": {
            "serverAddress": ADDRESS,
            "query": f'sum(turnout_running_requests{SELECTOR}, tier="active"}})',
            "threshold": "48",
            "ignoreNullValues": "false",
        },
    }


def test_keda_takes_latency_as_it_is() -> None:
    found = trigger(MetricTarget(Metric.LATENCY, 500.0))
    assert found["metricType"] == "Value"
    assert found["metadata"]["query"] == f"max(turnout_latency_ms{SELECTOR}}})"


def test_what_a_hot_standby_is_busy_with_starts_the_first_active_instance() -> None:
    """With none there is nothing else to measure."""
    found = trigger(MetricTarget(Metric.QPS, 1.0), least=0)
    assert found["metadata"]["query"] == f'sum(turnout_qps{SELECTOR}, tier=~"active|hot"}})'


def test_the_last_instance_goes_after_the_window_for_scaling_down() -> None:
    down = Pace(seconds(900), 1, seconds(60))
    to_none = replace(scaled(0, 2), scale_down=down)
    assert spec(to_none, Autoscaler.KEDA)["cooldownPeriod"] == 900
    assert "cooldownPeriod" not in spec(replace(to_none, min_replicas=1), Autoscaler.KEDA)


def test_keda_behaves_as_an_hpa_does() -> None:
    advanced = spec(scaled(2, 10), Autoscaler.KEDA)["advanced"]["horizontalPodAutoscalerConfig"]
    assert advanced["behavior"] == spec(scaled(2, 10))["behavior"]


@pytest.mark.parametrize("by", Autoscaler)
def test_autoscalers_are_in_the_last_wave_which_argo_cd_does_not_wait_for(by: Autoscaler) -> None:
    """Until its metrics are there, one is Degraded to Argo CD, which fails a sync that waits for it."""
    kinds = {"HorizontalPodAutoscaler", "ScaledObject"}
    found = [item for item in made(scaling_model(scaled(1, 2)), by=by) if item.body["kind"] in kinds]
    assert [item.wave for item in found] == [max(Wave)]


# Who writes replicas


def deployment(scaling: Autoscaling | None) -> Object:
    found = kubernetes.objects(fleet(scaling_model(scaling)), Kept())
    return next(item for item in found if item.body["kind"] == "Deployment")


@pytest.mark.parametrize(
    ("by", "manager"),
    [(Autoscaler.HPA, "kube-controller-manager"), (Autoscaler.KEDA, "keda, kube-controller-manager")],
)
def test_git_leaves_replicas_to_the_autoscaler(by: Autoscaler, manager: str) -> None:
    """KEDA itself writes them at none and below the fewest, its HorizontalPodAutoscaler otherwise."""
    scaling = replace(scaled(2, 8), by=by)
    item = deployment(scaling)
    assert "replicas" not in item.body["spec"]
    assert item.handovers == (Handover("/spec/replicas", Writer.AUTOSCALER, manager, scaling.origin),)


def test_git_writes_replicas_where_nothing_else_does() -> None:
    item = deployment(None)
    assert item.body["spec"]["replicas"] == 1
    assert item.handovers == ()


def test_an_autoscaler_is_found_again_as_long_as_nothing_of_it_has_changed() -> None:
    one, two = scaling_model(scaled(1, 2)), replace(scaling_model(scaled(1, 2)), name="n")
    first = Kept()
    before = {id(item) for item in autoscaling.objects(whole(one, two), first)}
    second = Kept(first.closed())
    changed = replace(two, versions=(replace(two.versions[0], autoscaling=scaled(1, 3)),))
    after = list(autoscaling.objects(whole(one, changed), second))
    assert [item.key.rpartition("/")[2] for item in after if id(item) not in before] == ["n-1-0"]
