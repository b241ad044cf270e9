"""What Flagger is told, what it is left, and what of Turnout's keeps out of its way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from compiler.emit import EMITTERS
from compiler.emit.flagger.metrics import QUERIES
from compiler.emit.object import Handover, Object, Writer
from compiler.fleet import (
    Autoscaler,
    Autoscaling,
    Carrier,
    Fleet,
    Framework,
    HashAlgorithm,
    HashKey,
    HashSource,
    Host,
    LoadBalancing,
    Metric,
    MetricTarget,
    Model,
    Pace,
    Platform,
    Rollout,
    RolloutStrategy,
    SlowStart,
    Strategy,
)
from compiler.kept import Kept
from compiler.link.query import asked
from compiler.promql import Answer, answer
from tests import istiod
from tests.compiler.emit.fleets import at, engine, fleet, gateway, metric, moved_model, rollout, seconds
from tests.manifests.schemas import validate


def rendered(of: Rollout, model: Model | None = None, prometheus: str | None = "http://prometheus:9090") -> Fleet:
    moved = moved_model(of) if model is None else replace(model, rollout=of)
    return replace(fleet(moved), platform=Platform(prometheus=prometheus))


def objects(of: Fleet) -> tuple[Object, ...]:
    return tuple(made for emitter in EMITTERS for made in emitter.objects(of, Kept()))


def only(kind: str, of: Fleet) -> Any:
    (found,) = (item.body for item in objects(of) if item.body["kind"] == kind)
    assert validate(found) == []
    return found


def canary(of: Rollout) -> Any:
    return only("Canary", rendered(of))["spec"]


def codes(of: Fleet) -> list[str]:
    return sorted(d.code for emitter in EMITTERS for d in emitter.diagnostics(of, Kept()))


def test_the_steps_are_flaggers_weights() -> None:
    analysis = canary(rollout(metric("success-rate", 99)))["analysis"]
    assert (analysis["stepWeights"], analysis["interval"], analysis["threshold"]) == ([10, 25, 50, 75, 100], "30s", 3)


def test_a_canary_by_the_numbers_of_the_sources() -> None:
    judged = (metric("success-rate", 99), metric("duration", None, 500), metric("waiting", None, 50, "max(x)"))
    of = replace(rollout(*judged), steps=(10, 20, 30, 40, 50), interval=seconds(60))
    analysis = canary(replace(of, analysis=replace(of.analysis, threshold=5)))["analysis"]
    assert analysis == {
        "interval": "60s",
        "threshold": 5,
        "stepWeights": [10, 20, 30, 40, 50],
        "metrics": [
            {"name": "request-success-rate", "interval": "60s", "thresholdRange": {"min": 99}},
            {"name": "request-duration", "interval": "60s", "thresholdRange": {"max": 500}},
            {
                "name": "waiting",
                "interval": "60s",
                "thresholdRange": {"max": 50},
                "templateRef": {"name": "phi-4-waiting", "namespace": "ai-inference"},
            },
        ],
    }


def test_a_verdict_looks_back_a_minute_at_least() -> None:
    intervals = [
        canary(replace(rollout(metric("success-rate", 99)), interval=seconds(step)))["analysis"]["metrics"][0][
            "interval"
        ]
        for step in (10, 300)
    ]
    assert intervals == ["60s", "300s"]


def test_blue_green_counts_verdicts_instead_of_weights() -> None:
    of = replace(rollout(metric("success-rate", 99)), strategy=RolloutStrategy.BLUE_GREEN, shadow_percent=40)
    analysis = canary(of)["analysis"]
    assert "stepWeights" not in analysis
    assert (analysis["iterations"], analysis["mirror"], analysis["mirrorWeight"]) == (5, True, 40)


def test_a_webhook_is_told_what_it_judges() -> None:
    of = rollout()
    webhook = replace(of.analysis, webhook="http://verdicts/phi")
    assert canary(replace(of, analysis=webhook))["analysis"]["webhooks"] == [
        {
            "name": "verdict",
            "type": "rollout",
            "url": "http://verdicts/phi",
            "metadata": {"rollout": "phi-4.1", "from": "4.0", "to": "4.1"},
        }
    ]


def test_only_metrics_that_flagger_has_no_query_for_get_a_template() -> None:
    of = rendered(rollout(metric("success-rate", 99), metric("duration", None, 500), metric("kv-usage", None, 90)))
    template = only("MetricTemplate", of)
    assert template["metadata"]["name"] == "phi-4-kv-usage"
    assert template["spec"]["provider"] == {"type": "prometheus", "address": "http://prometheus:9090"}
    assert "vllm:kv_cache_usage_perc" in template["spec"]["query"]


@pytest.mark.parametrize("framework", Framework)
def test_every_query_is_promql_of_the_pods_on_trial(framework: Framework) -> None:
    for query in QUERIES[framework].values():
        read = asked(query, moved_model(rollout()))
        assert answer(read) is Answer.VECTOR, read
        assert 'namespace="ai-inference", pod=~"phi-4-[0-9a-z]+-[0-9a-z]+"' in read


def test_metrics_are_read_where_the_platform_says_or_where_flagger_knows() -> None:
    of = rollout(metric("success-rate", 99))
    assert only("Canary", rendered(of))["spec"]["metricsServer"] == "http://prometheus:9090"
    assert "metricsServer" not in only("Canary", rendered(of, prometheus=None))["spec"]


def test_one_deployment_with_the_new_versions_template_is_all_that_runs() -> None:
    made = rendered(rollout())
    deployment = only("Deployment", made)
    assert deployment["metadata"]["name"] == "phi-4"
    assert deployment["spec"]["template"]["metadata"]["labels"]["turnout.dev/version"] == "4.1"
    assert canary(rollout())["targetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "phi-4"}


def test_flaggers_virtual_service_has_no_hosts_of_its_own_and_its_services_are_as_ours_are() -> None:
    service = canary(rollout())["service"]
    assert {key: service[key] for key in ("delegation", "port", "portName", "targetPort")} == {
        "delegation": True,
        "port": 80,
        "portName": "http",
        "targetPort": "http",
    }
    assert not {"hosts", "gateways", "timeout", "retries", "headers"} & set(service)


def test_the_selector_stays_the_same_from_version_to_version() -> None:
    deployment = only("Deployment", rendered(rollout()))
    assert deployment["spec"]["selector"] == {"matchLabels": {"app.kubernetes.io/name": "phi-4"}}
    assert deployment["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/name"] == "phi-4"


def test_instances_have_the_proxy_whose_metrics_flagger_reads() -> None:
    labels = only("Deployment", rendered(rollout()))["spec"]["template"]["metadata"]["labels"]
    assert labels["sidecar.istio.io/inject"] == "true"


def test_the_canary_keeps_its_name_from_rollout_to_rollout() -> None:
    names = {
        only("Canary", rendered(replace(rollout(), name=name)))["metadata"]["name"] for name in ("phi-4.1", "next")
    }
    assert names == {"phi-4"}


def test_what_flagger_writes_is_handed_over_with_the_line_that_says_so() -> None:
    handed = {item.key: item.handovers for item in objects(rendered(rollout())) if item.handovers}
    line = at(10, "policies/rollouts.yaml")
    assert handed == {
        "apps/v1/Deployment/ai-inference/phi-4": (
            Handover("/spec/replicas", Writer.FLAGGER, "flagger", line, initial=True),
        ),
        "v1/Service/ai-inference/phi-4": (Handover("/spec/selector", Writer.FLAGGER, "flagger", line, initial=True),),
    }


def test_nothing_of_ours_is_called_or_leads_where_flaggers_objects_are() -> None:
    """It makes Services and DestinationRules `-primary` and `-canary`, and the VirtualService of the model's name."""
    made = objects(rendered(rollout()))
    named = {(item.body["kind"], item.body["metadata"]["name"]) for item in made}
    assert "DestinationRule" not in {kind for kind, _ in named}
    assert named & {("VirtualService", "phi-4"), ("Service", "phi-4-primary"), ("Service", "phi-4-canary")} == set()


def routes_of(of: Fleet) -> list[Any]:
    return [route for route in only("VirtualService", of)["spec"]["http"] if route["name"].startswith("model/")]


def test_the_gateways_routes_leave_the_split_to_flagger_and_keep_their_limits() -> None:
    stream, _, unary, _ = routes_of(rendered(rollout()))
    for route in (stream, unary):
        assert route["delegate"] == {"name": "phi-4", "namespace": "ai-inference"}
        assert "route" not in route
        assert route["retries"]["attempts"] == 3
    assert stream["retries"]["perTryTimeout"] == "60s"
    assert unary["timeout"] == "300s"


def test_until_flagger_has_taken_over_the_same_requests_go_to_what_runs() -> None:
    found = routes_of(rendered(rollout()))
    for split, apex in (found[:2], found[2:]):
        assert (split["name"], split["match"]) == (apex["name"], apex["match"])
        (destination,) = apex["route"]
        assert destination["destination"]["host"] == "phi-4.ai-inference.svc.cluster.local"


FLAGGERS = [
    {
        "route": [
            {"destination": {"host": "phi-4-primary"}, "weight": 90},
            {"destination": {"host": "phi-4-canary"}, "weight": 10},
        ]
    }
]
"""What Flagger's VirtualService says at the first step."""


def envoys_routes(delegates: Mapping[str, list[Any]]) -> list[tuple[Any, ...]]:
    host = istiod.virtual_host(rendered(rollout()), "mesh", "upstream", delegates)
    of_model = [route for route in host["routes"] if route["name"].startswith("model/")]
    weights = [[cluster["weight"] for cluster in r["route"]["weighted_clusters"]["clusters"]] for r in of_model]
    return [(r["name"], r["route"].get("idle_timeout"), w) for r, w in zip(of_model, weights, strict=True)]


def test_istio_makes_of_it_the_split_that_flagger_says_with_the_limits_that_policy_says() -> None:
    """The next routes, of the same requests, get none."""
    first, second, third, fourth = envoys_routes({"ai-inference/phi-4": FLAGGERS})
    assert [first, third] == [("model/phi-4/stream", "300s", [90, 10]), ("model/phi-4", None, [90, 10])]
    assert [second[2], fourth[2]] == [[1], [1]]


def test_istio_makes_of_it_one_destination_as_long_as_flagger_says_nothing() -> None:
    assert envoys_routes({}) == [("model/phi-4/stream", "300s", [1]), ("model/phi-4", None, [1])]


def test_flaggers_destination_rules_get_what_its_types_hold() -> None:
    cookie = HashKey(HashSource.COOKIE, "user")
    hashed = LoadBalancing(Strategy.CONSISTENT_HASH, cookie, HashAlgorithm.RING_HASH, SlowStart(seconds(0), 10))
    slow = LoadBalancing(Strategy.ROUND_ROBIN, None, HashAlgorithm.MAGLEV, SlowStart(seconds(30), 10))
    by_hash, slowly = (
        only("Canary", rendered(rollout(), replace(moved_model(rollout()), load_balancing=balancing)))["spec"][
            "service"
        ]
        for balancing in (hashed, slow)
    )
    everywhere = {"distribute": [{"from": "*", "to": {"*": 100}}]}
    assert by_hash["trafficPolicy"]["loadBalancer"] == {
        "consistentHash": {"httpCookie": {"name": "user", "ttl": "0s"}, "minimumRingSize": 1024},
        "localityLbSetting": everywhere,
    }
    assert slowly["trafficPolicy"]["loadBalancer"] == {
        "simple": "ROUND_ROBIN",
        "warmupDurationSecs": "30s",
        "localityLbSetting": everywhere,
    }
    assert slowly["trafficPolicy"]["outlierDetection"]["maxEjectionPercent"] == 100


def test_changes_of_instances_reach_flaggers_hosts_at_once() -> None:
    patches = only("EnvoyFilter", rendered(rollout()))["spec"]["configPatches"]
    hosts = [patch["match"]["cluster"]["service"] for patch in patches if patch["applyTo"] == "CLUSTER"]
    assert hosts == [f"phi-4{of}.ai-inference.svc.cluster.local" for of in ("", "-primary", "-canary")]


@pytest.mark.parametrize("carrier", [Carrier.ENVOY, Carrier.GATEWAY_API])
def test_a_host_that_istio_does_not_carry_is_refused(carrier: Carrier) -> None:
    both = replace(gateway("mesh", "phi-4"), hosts=(Host("a", Carrier.ISTIO), Host("b", carrier)))
    moved = moved_model(rollout())
    assert "P301" not in codes(fleet(moved))
    found = [d.message for emitter in EMITTERS for d in emitter.diagnostics(fleet(moved, gateways=(both,)), Kept())]
    assert [message for message in found if message.startswith("Flagger cannot move phi-4 at b (")]


def test_a_metric_that_the_engine_does_not_tell_is_refused() -> None:
    judged = rollout(metric("ttft", None, 900))
    moved = moved_model(judged)
    on_tgi = replace(moved, versions=tuple(replace(v, engine=engine(Framework.TGI)) for v in moved.versions))
    assert "P307" not in codes(fleet(moved))
    assert "P307" in codes(fleet(on_tgi))


SCALING = Autoscaling(
    1, 4, (MetricTarget(Metric.RUNNING_REQUESTS, 48),), *(2 * (Pace(seconds(60), 1, seconds(60)),)), at(30)
)


def scaled(scaling: Autoscaling) -> Fleet:
    moved = moved_model(rollout())
    return rendered(rollout(), replace(moved, versions=tuple(replace(v, autoscaling=scaling) for v in moved.versions)))


def test_what_is_scaled_by_load_names_its_autoscaler() -> None:
    of = scaled(SCALING)
    assert only("Canary", of)["spec"]["autoscalerRef"] == {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "name": "phi-4",
    }
    scaler = only("HorizontalPodAutoscaler", of)
    assert (scaler["metadata"]["name"], scaler["spec"]["scaleTargetRef"]["name"]) == ("phi-4", "phi-4")
    assert "autoscalerRef" not in canary(rollout())


def test_replicas_have_one_writer_where_load_and_flagger_both_would() -> None:
    (deployment,) = (item for item in objects(scaled(SCALING)) if item.body["kind"] == "Deployment")
    (handed,) = deployment.handovers
    assert (handed.field, handed.writer) == ("/spec/replicas", Writer.FLAGGER)
    assert handed.manager == "flagger, kube-controller-manager"
    assert "replicas" not in deployment.body["spec"]


def test_an_autoscaler_whose_series_are_not_of_one_copy_is_refused() -> None:
    by_keda = scaled(SCALING)
    by_keda = replace(by_keda, platform=replace(by_keda.platform, autoscaler=Autoscaler.KEDA))
    by_latency = scaled(replace(SCALING, metrics=(MetricTarget(Metric.LATENCY, 900),)))
    assert ["P301" in codes(of) for of in (scaled(SCALING), by_keda, by_latency)] == [False, True, True]


def test_a_drained_node_takes_no_more_of_what_serves_than_of_others() -> None:
    """Pods of both copies, whatever their version."""
    budget = only("PodDisruptionBudget", rendered(rollout()))
    assert budget["spec"]["selector"] == {"matchLabels": {"turnout.dev/model": "phi-4", "turnout.dev/tier": "active"}}


def test_a_rollout_is_made_anew_only_when_it_has_changed() -> None:
    kept, before = Kept(), rendered(rollout(metric("success-rate", 99)))
    first = [made for emitter in EMITTERS for made in emitter.objects(before, kept)]
    again = [made for emitter in EMITTERS for made in emitter.objects(before, Kept(kept.closed()))]
    same = {item.key for item in again} - {item.key for item in again if not any(item is one for one in first)}
    assert "flagger.app/v1beta1/Canary/ai-inference/phi-4" in same
