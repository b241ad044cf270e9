"""Workloads: what each part of a model becomes in the cluster."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from compiler.emit import kubernetes, priorities
from compiler.emit.names import FAILOVER_PRIORITY
from compiler.emit.object import Handover, Object, Writer
from compiler.fleet import ColdStart, Framework, Model, ModelPath, Priority, Scheme, Tier, Timeouts, Zones
from compiler.kept import Kept
from tests.compiler.emit.fleets import GI, at, engine, fleet, model, scaled, seconds, version
from tests.manifests.schemas import validate

LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?\Z")


def bodies(owned: Model) -> dict[tuple[str, str], Any]:
    made = [item.body for item in kubernetes.objects(fleet(owned), Kept())]
    return {(body["kind"], body["metadata"]["name"]): body for body in made}


def deployments(owned: Model) -> dict[str, Any]:
    return {name: body for (kind, name), body in bodies(owned).items() if kind == "Deployment"}


def pod(owned: Model) -> Any:
    return next(iter(deployments(owned).values()))["spec"]["template"]["spec"]


def container(owned: Model) -> Any:
    return pod(owned)["containers"][0]


def tiered(framework: Framework = Framework.VLLM) -> Model:
    return model("m", replace(version("1.0"), engine=engine(framework), replicas=2, hot=3, warm=4, cold=5))


# Tiers


def test_a_version_without_standbys_has_one_deployment_also_with_zero_replicas() -> None:
    made = deployments(model("m", replace(version("1.0"), replicas=0)))
    assert {name: body["spec"]["replicas"] for name, body in made.items()} == {"m-1-0": 0}


def test_a_zero_weight_version_keeps_its_deployment_and_service() -> None:
    made = bodies(model("m", version("1", 100), version("2", 0)))
    assert ("Deployment", "m-2") in made
    assert ("Service", "m-2") in made


def test_hot_standbys_run_and_cold_ones_wait() -> None:
    replicas = {name: body["spec"]["replicas"] for name, body in deployments(tiered()).items()}
    assert replicas == {"m-1-0": 2, "m-1-0-hot": 3, "m-1-0-warm": 4, "m-1-0-cold": 0}


def test_a_warm_standby_of_vllm_runs_and_may_sleep() -> None:
    made = deployments(tiered())
    sleepers = [name for name, body in made.items() if "--enable-sleep-mode" in str(body)]
    assert sleepers == ["m-1-0-warm"]


def test_a_warm_standby_of_vllm_has_room_for_the_weights_in_its_own_memory() -> None:
    """7B at two bytes are 13.04 GiB, beside 40 that every instance has."""
    own = tiered()
    large = replace(own.versions[0], engine=replace(own.versions[0].engine, parameters=7 * 10**9))
    made = deployments(replace(own, versions=(large,)))
    memory = {
        name: body["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"]
        for name, body in made.items()
    }
    assert memory == {"m-1-0": "40Gi", "m-1-0-hot": "40Gi", "m-1-0-warm": "54Gi", "m-1-0-cold": "40Gi"}


@pytest.mark.parametrize("framework", [f for f in Framework if f is not Framework.VLLM])
def test_a_warm_standby_of_another_engine_waits(framework: Framework) -> None:
    warm = deployments(tiered(framework))["m-1-0-warm"]
    assert warm["spec"]["replicas"] == 0
    assert warm["metadata"]["annotations"]["turnout.dev/standby-replicas"] == "4"


def test_a_waiting_tier_says_how_many_a_promotion_starts() -> None:
    notes = {
        name: body["metadata"]["annotations"].get("turnout.dev/standby-replicas")
        for name, body in deployments(tiered()).items()
    }
    assert notes == {"m-1-0": None, "m-1-0-hot": None, "m-1-0-warm": None, "m-1-0-cold": "5"}


def test_istio_prefers_active_then_hot_then_warm_then_cold() -> None:
    """As istiod counts: n - i for the first label i of n that a pod lacks, 0 for a pod that has all."""

    def priority(labels: dict[str, str]) -> int:
        wanted = [entry.split("=") for entry in FAILOVER_PRIORITY]
        lacking = (len(wanted) - i for i, (label, value) in enumerate(wanted) if labels.get(label) != value)
        return next(lacking, 0)

    made = {body["metadata"]["labels"]["turnout.dev/tier"]: body for body in deployments(tiered()).values()}
    priorities = {tier: priority(body["spec"]["template"]["metadata"]["labels"]) for tier, body in made.items()}
    assert priorities == {"active": 0, "hot": 1, "warm": 2, "cold": 3}


def test_one_service_selects_every_tier_and_no_deployment_selects_anothers_pods() -> None:
    made = bodies(tiered())
    service = made["Service", "m-1-0"]["spec"]["selector"]
    selectors = {name: body["spec"]["selector"]["matchLabels"] for name, body in deployments(tiered()).items()}
    for name, body in deployments(tiered()).items():
        labels = body["spec"]["template"]["metadata"]["labels"]
        assert service.items() <= labels.items()
        assert [other for other, wanted in selectors.items() if wanted.items() <= labels.items()] == [name]


def test_versions_do_not_share_pods() -> None:
    made = bodies(model("m", version("1", 50), version("2", 50)))
    labels = made["Deployment", "m-2"]["spec"]["template"]["metadata"]["labels"]
    assert not made["Service", "m-1"]["spec"]["selector"].items() <= labels.items()


# Zones


def test_actives_go_to_the_active_zones_and_standbys_to_the_standby_zone() -> None:
    made = deployments(replace(tiered(), zones=Zones(("az-1", "az-2"), "az-3")))
    assert zones(made["m-1-0"]) == ["az-1", "az-2"]
    assert zones(made["m-1-0-hot"]) == zones(made["m-1-0-cold"]) == ["az-3"]


def test_without_a_standby_zone_all_tiers_share_the_active_ones() -> None:
    made = deployments(replace(tiered(), zones=Zones(("az-1",), None)))
    assert zones(made["m-1-0-hot"]) == ["az-1"]


def test_without_zones_there_is_no_affinity() -> None:
    assert "affinity" not in pod(model())


def zones(deployment: Any) -> Any:
    affinity = deployment["spec"]["template"]["spec"]["affinity"]["nodeAffinity"]
    [term] = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    [expression] = term["matchExpressions"]
    assert expression["key"] == "topology.kubernetes.io/zone"
    assert expression["operator"] == "In"
    return expression["values"]


# Apart, and in turn


def constraints(deployment: Any) -> Any:
    return deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]


def test_a_tiers_instances_are_spread_over_zones_and_nodes_without_regard_to_other_tiers() -> None:
    for body in deployments(tiered()).values():
        assert [c["topologyKey"] for c in constraints(body)] == [
            "topology.kubernetes.io/zone",
            "kubernetes.io/hostname",
        ]
        for constraint in constraints(body):
            assert constraint["labelSelector"] == body["spec"]["selector"]
            assert constraint["matchLabelKeys"] == ["pod-template-hash"]


def test_instances_of_a_version_with_standbys_rather_wait_than_share_a_node() -> None:
    strict = {c["whenUnsatisfiable"] for body in deployments(tiered()).values() for c in constraints(body)}
    loose = {c["whenUnsatisfiable"] for body in deployments(model()).values() for c in constraints(body)}
    assert (strict, loose) == ({"DoNotSchedule"}, {"ScheduleAnyway"})


def test_a_drained_or_lost_node_does_not_forbid_replacements_elsewhere() -> None:
    """It is tainted. Counted as an empty one, no other could get a second instance."""
    assert {c["nodeTaintsPolicy"] for c in constraints(next(iter(deployments(tiered()).values())))} == {"Honor"}


def test_another_number_of_instances_restarts_none() -> None:
    one, two = (deployments(model("m", replace(version(), replicas=n)))["m-1"] for n in (1, 2))
    assert one["spec"]["template"] == two["spec"]["template"]


def budgets(owned: Model) -> dict[str, Any]:
    return {name: body["spec"] for (kind, name), body in bodies(owned).items() if kind == "PodDisruptionBudget"}


def test_from_two_running_instances_on_a_drain_takes_one_of_a_tier_at_a_time() -> None:
    made = budgets(tiered())
    assert sorted(made) == ["m-1-0", "m-1-0-hot", "m-1-0-warm"]
    for name, budget in made.items():
        assert budget["maxUnavailable"] == 1
        assert budget["selector"] == deployments(tiered())[name]["spec"]["selector"]
    assert budgets(model()) == {}


def test_an_instance_that_never_starts_keeps_no_node_from_being_drained() -> None:
    assert budgets(tiered())["m-1-0"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


@pytest.mark.parametrize(("least", "names"), [(1, []), (2, ["m-1"])])
def test_of_scaled_instances_the_fewest_count(least: int, names: list[str]) -> None:
    owned = model("m", replace(version(), replicas=least, autoscaling=scaled(least, 8)))
    assert sorted(budgets(owned)) == names


def test_pods_have_the_class_of_their_models_priority() -> None:
    assert {p: pod(replace(model(), priority=p))["priorityClassName"] for p in Priority} == {
        "critical": "turnout-critical",
        "high": "turnout-high",
        "normal": "turnout-normal",
        "low": "turnout-low",
    }


def test_classes_are_the_clusters_and_only_those_in_use() -> None:
    low = replace(model("b"), priority=Priority.LOW)
    high = replace(model("c"), priority=Priority.CRITICAL)
    made = [item.body for item in priorities.objects(fleet(model("a"), low, high), Kept())]
    assert {body["metadata"]["name"]: body["value"] for body in made} == {
        "turnout-critical": 1_000_000,
        "turnout-normal": 10_000,
        "turnout-low": 1_000,
    }
    assert all("namespace" not in body["metadata"] for body in made)


def test_a_waiting_tier_begins_at_none_and_is_the_standby_controllers_from_then_on() -> None:
    place = at(7, "policies/recovery.yaml")
    owned = model("m", *(replace(v, standby_origin=place) for v in tiered(Framework.SGLANG).versions))
    made = {
        item.body["metadata"]["name"]: item.handovers
        for item in kubernetes.objects(fleet(owned), Kept())
        if item.body["kind"] == "Deployment"
    }
    handed = (Handover("/spec/replicas", Writer.STANDBY, "turnout-standby", place, initial=True),)
    assert made == {"m-1-0": (), "m-1-0-hot": (), "m-1-0-warm": handed, "m-1-0-cold": handed}


# Resources


def test_gpus_are_limits_and_requests_alike_on_nodes_of_the_product() -> None:
    resources = container(model())["resources"]
    assert resources["limits"]["nvidia.com/gpu"] == resources["requests"]["nvidia.com/gpu"] == "1"
    assert pod(model())["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"}
    assert pod(model())["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]


def test_a_model_without_gpus_asks_for_none_and_goes_anywhere() -> None:
    plain = version()
    owned = model("m", replace(plain, resources=replace(plain.resources, gpu_count=0)))
    assert "nvidia.com/gpu" not in str(container(owned)["resources"])
    assert "nodeSelector" not in pod(owned)
    assert "tolerations" not in pod(owned)


def test_cpu_has_a_request_and_no_limit() -> None:
    resources = container(model())["resources"]
    assert resources["requests"]["cpu"] == "8"
    assert "cpu" not in resources["limits"]


def test_shared_memory_counts_to_the_memory_limit() -> None:
    """A Memory emptyDir larger than what the limit leaves kills the pod."""
    resources = container(model())["resources"]
    assert resources["limits"]["memory"] == resources["requests"]["memory"] == "40Gi"
    assert pod(model())["volumes"] == [{"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "8Gi"}}]
    assert container(model())["volumeMounts"] == [{"name": "shm", "mountPath": "/dev/shm"}]


def test_without_shared_memory_there_is_no_volume() -> None:
    plain = version()
    owned = model("m", replace(plain, resources=replace(plain.resources, shm=0, memory=GI)))
    assert "volumes" not in pod(owned)
    assert "volumeMounts" not in container(owned)


# Weights


@pytest.mark.parametrize(
    ("path", "volume"),
    [
        (ModelPath(Scheme.PVC, "claim/a/b"), {"persistentVolumeClaim": {"claimName": "claim", "readOnly": True}}),
        (ModelPath(Scheme.HOST, "/data/m"), {"hostPath": {"path": "/data/m", "type": "Directory"}}),
        (ModelPath(Scheme.OCI, "r.io/m:1"), {"image": {"reference": "r.io/m:1", "pullPolicy": "IfNotPresent"}}),
    ],
)
def test_weights_are_mounted_read_only(path: ModelPath, volume: dict[str, Any]) -> None:
    plain = version()
    owned = model("m", replace(plain, engine=replace(plain.engine, model_path=path)))
    assert pod(owned)["volumes"][0] == {"name": "weights", **volume}
    assert container(owned)["volumeMounts"][0] == {"name": "weights", "mountPath": "/models", "readOnly": True}


def on(framework: Framework, path: ModelPath) -> Model:
    return model("m", replace(version(), engine=replace(engine(framework), model_path=path)))


@pytest.mark.parametrize(
    ("path", "copy"),
    [
        (ModelPath(Scheme.S3, "models/m"), "aws s3 sync --no-progress s3://models/m /models"),
        (ModelPath(Scheme.GS, "models/m"), "gcloud storage rsync --recursive gs://models/m /models"),
    ],
)
def test_for_an_engine_that_reads_files_alone_weights_are_copied_first(path: ModelPath, copy: str) -> None:
    owned = on(Framework.SGLANG, path)
    assert [complaint for body in bodies(owned).values() for complaint in validate(body)] == []
    [fetch] = pod(owned)["initContainers"]
    assert " ".join((*fetch["command"], *fetch["args"])) == copy
    assert fetch["volumeMounts"] == [{"name": "weights", "mountPath": "/models"}]
    assert pod(owned)["volumes"][0] == {"name": "weights", "emptyDir": {}}
    assert container(owned)["volumeMounts"][0] == {"name": "weights", "mountPath": "/models", "readOnly": True}
    # On the node's disk: in memory it would count to the limit.
    assert "nvidia.com/gpu" not in str(fetch["resources"])


def disk(framework: Framework, path: ModelPath, parameters: int | None) -> Any:
    owned = replace(engine(framework), model_path=path, parameters=parameters)
    made = pod(model("m", replace(version(), engine=owned)))
    assert "ephemeral-storage" not in made["containers"][0]["resources"]["limits"]
    assert all("ephemeral-storage" not in str(each["resources"]) for each in made.get("initContainers", ()))
    return made["containers"][0]["resources"]["requests"].get("ephemeral-storage")


@pytest.mark.parametrize(("scheme", "parameters", "asked"), [(Scheme.S3, 7, "15Gi"), (Scheme.GS, 70, "144Gi")])
def test_a_node_has_room_on_its_disk_for_weights_that_are_copied_to_it(
    scheme: Scheme, parameters: int, asked: str
) -> None:
    """7B at two bytes are 13.04 GiB, and a tenth more 14.3. No limit: the size is a guess."""
    path = ModelPath(scheme, "models/m")
    assert disk(Framework.SGLANG, path, parameters * 10**9) == asked
    assert disk(Framework.SGLANG, path, None) is None
    assert disk(Framework.VLLM, path, parameters * 10**9) is None


@pytest.mark.parametrize("framework", [Framework.VLLM, Framework.TRITON])
def test_an_engine_that_reads_object_stores_starts_at_once(framework: Framework) -> None:
    owned = on(framework, ModelPath(Scheme.S3, "models/m"))
    assert "initContainers" not in pod(owned)
    assert "weights" not in str(pod(owned).get("volumes"))


@pytest.mark.parametrize("framework", [f for f in Framework if f is not Framework.TRITON])
def test_what_loads_from_hugging_face_may_have_a_token_by_reference(framework: Framework) -> None:
    [token] = container(on(framework, ModelPath(Scheme.HF, "org/m")))["env"]
    read = {"name": "turnout-huggingface", "key": "token", "optional": True}
    assert token == {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": read}}


@pytest.mark.parametrize("scheme", [s for s in Scheme if s is not Scheme.HF])
def test_nothing_else_is_told_the_token(scheme: Scheme) -> None:
    path = ModelPath(scheme, "/m" if scheme is Scheme.HOST else "a/b")
    assert "HF_TOKEN" not in str(pod(on(Framework.SGLANG, path)))


@pytest.mark.parametrize("scheme", [s for s in Scheme if s not in (Scheme.S3, Scheme.GS)])
def test_nothing_is_copied_that_is_mounted_or_that_the_engine_loads_by_its_id(scheme: Scheme) -> None:
    path = ModelPath(scheme, "/m" if scheme is Scheme.HOST else "a/b")
    assert "initContainers" not in pod(on(Framework.SGLANG, path))


# What goes wrong with the usual manifests of model servers


def test_replicas_and_template_are_a_whole_deployment_not_a_patch() -> None:
    """Nothing of a Deployment's spec is left for a controller of ours to reset; Argo CD owns what stands here."""
    for body in deployments(tiered()).values():
        assert set(body["spec"]) == {"replicas", "progressDeadlineSeconds", "selector", "strategy", "template"}


def test_no_label_holds_what_kubernetes_refuses(objects: tuple[Object, ...]) -> None:
    """The weights' id has a slash; it is an annotation."""
    for item in objects:
        templates = [item.body, item.body.get("spec", {}).get("template", {})]
        for metadata in (t["metadata"] for t in templates if "metadata" in t):
            assert all(LABEL_VALUE.match(value) for value in metadata["labels"].values())
    service = bodies(model())["Service", "mistral-7b-1"]
    assert service["metadata"]["annotations"]["turnout.dev/model-name"] == "mistralai/Mistral-7B-Instruct-v0.2"


def test_a_node_selector_names_a_gpu_as_its_label_does(objects: tuple[Object, ...]) -> None:
    """`nvidia.com/gpu.product: nvidia.com/a100-80g` fits no node."""
    pods = [item.body["spec"]["template"]["spec"] for item in objects if item.body["kind"] == "Deployment"]
    products = {spec["nodeSelector"]["nvidia.com/gpu.product"] for spec in pods if "nodeSelector" in spec}
    assert products == {"NVIDIA-A100-SXM4-80GB", "NVIDIA-A100-SXM4-80GB-MIG-1g.10gb", "NVIDIA-L40S"}


def test_the_image_is_the_one_that_policy_pins() -> None:
    assert container(model())["image"] == "vllm/vllm-openai:v0.11.0"


def test_a_deployment_is_whole() -> None:
    """Selector, and a handler in every probe."""
    for body in deployments(tiered()).values():
        labels = body["spec"]["template"]["metadata"]["labels"]
        assert body["spec"]["selector"]["matchLabels"].items() <= labels.items()
        [engine_container] = body["spec"]["template"]["spec"]["containers"]
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert engine_container[probe]["httpGet"] == {"path": "/health", "port": "http"}


def test_a_long_load_is_no_restart_loop() -> None:
    """The start-up probe holds the others back for a quarter more than the load takes; no /ready on vLLM."""
    probe = container(model())["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] == 375
    assert "/ready" not in str(container(model()))


@pytest.mark.parametrize(("cold", "failures"), [(300, 75), (61, 16), (4, 1), (0.001, 1), (1200, 300)])
def test_the_start_budget_is_five_quarters_of_the_load_time(cold: float, failures: int) -> None:
    owned = model("m", replace(version(), cold_start=ColdStart(seconds(cold))))
    assert container(owned)["startupProbe"]["failureThreshold"] == failures


def test_a_start_up_budget_is_never_under_the_load_time() -> None:
    """Policy cannot say it otherwise: the budget is worked out from the load time alone."""
    for milliseconds in range(1, 900_000, 7_919):
        load = seconds(milliseconds / 1000)
        probe = container(model("m", replace(version(), cold_start=ColdStart(load))))["startupProbe"]
        assert seconds(probe["periodSeconds"] * probe["failureThreshold"]) >= load * 1.25


def test_a_slow_start_is_no_failed_deployment() -> None:
    [body] = deployments(model("m", replace(version(), cold_start=ColdStart(seconds(1200))))).values()
    assert body["spec"]["progressDeadlineSeconds"] == 1500 + 600


# Life and death of an instance


def test_readiness_takes_the_numbers_of_the_health_check() -> None:
    check = version().health_check
    fast = replace(check, interval=seconds(2.5), timeout=seconds(0.5), failure_threshold=2, success_threshold=1)
    made = container(model("m", replace(version(), health_check=fast)))
    assert made["readinessProbe"] == {
        "httpGet": {"path": "/health", "port": "http"},
        "periodSeconds": 3,
        "timeoutSeconds": 1,
        "successThreshold": 1,
        "failureThreshold": 2,
    }
    assert made["livenessProbe"]["timeoutSeconds"] == 5


@pytest.mark.parametrize(("framework", "path"), [(Framework.VLLM, "/health"), (Framework.TRITON, "/v2/health/live")])
def test_an_instance_that_is_not_ready_is_not_restarted_for_it(framework: Framework, path: str) -> None:
    check = replace(version().health_check, path="/v2/models/x/ready")
    made = container(model("m", replace(version(), engine=engine(framework), health_check=check)))
    assert made["readinessProbe"]["httpGet"]["path"] == made["startupProbe"]["httpGet"]["path"] == check.path
    assert made["livenessProbe"]["httpGet"]["path"] == path


@pytest.mark.parametrize(("total", "grace"), [(3600, 600), (120, 120), (20, 45), (0.5, 45)])
def test_streams_may_end_before_an_instance_does(total: float, grace: int) -> None:
    owned = replace(model(), timeouts=Timeouts(seconds(1), seconds(1), seconds(total), seconds(1)))
    assert pod(owned)["terminationGracePeriodSeconds"] == grace
    assert container(owned)["lifecycle"] == {"preStop": {"sleep": {"seconds": 15}}}


def test_an_update_starts_the_new_before_it_stops_the_old() -> None:
    for body in deployments(tiered()).values():
        assert body["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_pods_have_no_token_and_no_new_privileges() -> None:
    made = bodies(model())
    assert made["ServiceAccount", "mistral-7b"]["automountServiceAccountToken"] is False
    assert pod(model())["serviceAccountName"] == "mistral-7b"
    assert container(model())["securityContext"] == {"allowPrivilegeEscalation": False}
    assert pod(model())["securityContext"] == {"seccompProfile": {"type": "RuntimeDefault"}}


def test_an_owners_label_restarts_nothing() -> None:
    labelled = deployments(replace(model(), labels=(("team", "chat"),)))
    plain = deployments(model())
    assert labelled["mistral-7b-1"]["spec"] == plain["mistral-7b-1"]["spec"]


def test_the_service_leads_port_80_to_the_engine_and_names_its_protocol() -> None:
    service = bodies(model())["Service", "mistral-7b-1"]
    assert service["spec"]["ports"] == [{"name": "http", "port": 80, "targetPort": "http"}]
    assert container(model())["ports"] == [{"name": "http", "containerPort": 8000}]


def test_names_that_kubernetes_refuses_become_slugs() -> None:
    assert ("Service", "m-8b-1-0") in bodies(model("8b", version("1.0")))


def test_every_tier_is_a_tier_of_the_fleet() -> None:
    made = {body["metadata"]["labels"]["turnout.dev/tier"] for body in deployments(tiered()).values()}
    assert made == {str(tier) for tier in Tier}
