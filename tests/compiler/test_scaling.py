"""From policy to the fleet: how many instances there are, by load or not, and whose pods go first."""

from __future__ import annotations

from datetime import timedelta

import pytest

from compiler.fleet import Autoscaler, Autoscaling, Metric, MetricTarget, Pace, Priority
from tests.compiler.policies import codes, document, fleet, linked, model, one_model

PLATFORM = document("Platform", "platform", 'prometheus: {address: "http://prometheus:9090"}')
KEDA = document("Platform", "platform", 'autoscaler: keda\nprometheus: {address: "http://prometheus:9090"}')


def scaling(spec: str, platform: str = PLATFORM, *others: str) -> Autoscaling:
    found = one_model(model(spec=spec), platform, *others).versions[0].autoscaling
    assert found is not None
    return found


def test_by_default_running_requests_are_kept_at_three_quarters_of_a_batch() -> None:
    found = scaling("config: {maxBatchSize: 32}\nautoscaling: {maxReplicas: 4}")
    assert found.metrics == (MetricTarget(Metric.RUNNING_REQUESTS, 24.0),)
    assert found.scale_up == Pace(timedelta(seconds=60), 2, timedelta(seconds=60))
    assert found.scale_down == Pace(timedelta(seconds=300), 1, timedelta(seconds=120))


def test_what_policy_says_of_one_direction_leaves_the_rest_at_its_defaults() -> None:
    found = scaling("autoscaling: {maxReplicas: 5, scaleUp: {period: 10s}, scaleDown: {pods: 3}}")
    assert found.scale_up == Pace(timedelta(seconds=60), 2, timedelta(seconds=10))
    assert found.scale_down == Pace(timedelta(seconds=300), 3, timedelta(seconds=120))


@pytest.mark.parametrize(
    ("spec", "replicas", "least"),
    [
        ("autoscaling: {maxReplicas: 8}", 1, 1),
        ("replicas: 3\nautoscaling: {maxReplicas: 8}", 3, 3),
        ("autoscaling: {minReplicas: 2, maxReplicas: 8}", 2, 2),
        ("replicas: 2\nautoscaling: {minReplicas: 2, maxReplicas: 8}", 2, 2),
    ],
)
def test_replicas_and_the_fewest_are_the_same_number(spec: str, replicas: int, least: int) -> None:
    version = one_model(model(spec=spec), PLATFORM).versions[0]
    assert version.autoscaling is not None
    assert (version.replicas, version.autoscaling.min_replicas) == (replicas, least)


def test_what_is_switched_off_scales_nothing_and_still_says_how_many() -> None:
    spec = "autoscaling: {enabled: false, minReplicas: 2, maxReplicas: 8}"
    version = one_model(model(spec=spec)).versions[0]
    assert (version.replicas, version.autoscaling) == (2, None)


def test_a_version_may_scale_otherwise_or_not_at_all() -> None:
    spec = """
        autoscaling: {minReplicas: 2, maxReplicas: 8}
        versions:
          - {name: "1", weight: 80}
          - {name: "2", weight: 10, autoscaling: {maxReplicas: 3}}
          - {name: "3", weight: 10, replicas: 1, autoscaling: {enabled: false}}
    """
    versions = one_model(model(spec=spec), PLATFORM).versions
    bounds = [v.autoscaling and (v.autoscaling.min_replicas, v.autoscaling.max_replicas) for v in versions]
    assert bounds == [(2, 8), (2, 3), None]
    assert [v.replicas for v in versions] == [2, 2, 1]


def test_platform_says_who_scales() -> None:
    assert fleet(model(), KEDA).platform.autoscaler is Autoscaler.KEDA
    assert fleet(model()).platform.autoscaler is Autoscaler.HPA
    scaling = one_model(model(spec="autoscaling: {minReplicas: 1, maxReplicas: 8}"), KEDA).versions[0].autoscaling
    assert scaling is not None
    assert scaling.by is Autoscaler.KEDA


def test_limits_follow_the_most_instances_there_may_be_and_the_standbys() -> None:
    recovery = document("DisasterRecovery", "recovery", "models: [{name: chat, hotStandby: 1, coldStandby: 1}]")
    spec = "config: {maxBatchSize: 10}\nautoscaling: {minReplicas: 2, maxReplicas: 8}"
    pool = one_model(model(spec=spec), PLATFORM, recovery).versions[0].connection_pool
    assert (pool.max_connections, pool.http2_max_requests, pool.http1_max_pending_requests) == (100, 100, 10)
    off = spec.replace("minReplicas", "enabled: false, minReplicas")
    assert one_model(model(spec=off)).versions[0].connection_pool.max_connections == 20


def test_without_keda_one_instance_is_the_least() -> None:
    recovery = document("DisasterRecovery", "recovery", "models: [{name: chat, hotStandby: 1}]")
    none = model(spec="autoscaling: {minReplicas: 0, maxReplicas: 2}")
    assert codes(none, PLATFORM, recovery) == ["P309"]
    assert codes(none, KEDA, recovery) == []
    assert codes(none, KEDA) == ["P420"]


def test_an_autoscaler_without_metrics_is_refused_once_for_all_models() -> None:
    defaults = document("Platform", "platform", "defaults: {autoscaling: {maxReplicas: 4}}")
    _, found = linked(model("a"), model("b"), defaults)
    assert [d.code for d in dict.fromkeys(found)] == ["P113"]


@pytest.mark.parametrize("framework", ["tgi", "triton"])
def test_an_engine_that_tells_nothing_of_its_cache_is_not_scaled_by_it(framework: str) -> None:
    wanted = "metrics: [{name: kv_usage, target: 80}]"
    spec = f"framework: {framework}\nmodelPath: pvc://weights/m\nautoscaling: {{maxReplicas: 4, {wanted}}}"
    assert "P307" in codes(model(spec=spec), PLATFORM)


def test_a_model_without_an_entry_is_of_normal_priority() -> None:
    recovery = document("DisasterRecovery", "recovery", "models: [{name: a, priority: critical}, {name: b}]")
    made = fleet(model("a"), model("b"), model("c"), recovery).models
    assert [m.priority for m in made] == [Priority.CRITICAL, Priority.NORMAL, Priority.NORMAL]


def test_shared_memory_may_not_outgrow_the_memory_that_policy_gives() -> None:
    assert codes(model(spec="resources: {memory: 16Gi}\nconfig: {shm: 17Gi}")) == ["P412"]
    assert codes(model(spec="resources: {memory: 16Gi}\nconfig: {shm: 16Gi}")) == []
    assert codes(model(spec="resources: {memory: 4Gi}")) == []
