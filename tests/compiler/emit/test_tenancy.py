"""Namespaces: what may run in them, and who reaches it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compiler.diagnostics import BUILT_IN
from compiler.emit import EMITTERS, tenancy
from compiler.emit.object import Object
from compiler.fleet import Argocd, Carrier, Fleet, Host, Mirror, Model, ModelPath, Platform, Pool, Scheme, Version
from compiler.kept import Kept
from compiler.pipeline import compile_policies
from tests.compiler.emit.cluster import Cluster, Pod, beyond_baseline
from tests.compiler.emit.fleets import at, fleet, gateway, model, owned, pools, tenant, version

SAMPLE = Path(__file__).parents[3] / "policies"
BANK, SHOP = tenant("bank", 4), tenant("shop")
PROMETHEUS = {"app.kubernetes.io/name": "prometheus"}
ENVOY, CONTROL = {"app.kubernetes.io/name": "turnout-gateway"}, {"app.kubernetes.io/name": "turnout-control"}
INGRESS = {"istio": "ingressgateway"}
FOREIGN: dict[str, dict[str, str]] = {
    **{name: {} for name in ("monitoring", "istio-system", "kube-system", "apps")},
    "clients": {"turnout.dev/sidecars": "true"},
}


def everything(of: Fleet) -> list[Object]:
    return [item for emitter in EMITTERS for item in emitter.objects(of, Kept())]


def made(of: Fleet) -> dict[tuple[str, str, str], Any]:
    """By kind, namespace and name."""
    bodies = [item.body for item in tenancy.objects(of, Kept())]
    return {(b["kind"], b["metadata"].get("namespace", ""), b["metadata"]["name"]): b for b in bodies}


def cluster(of: Fleet) -> Cluster:
    return Cluster([item.body for item in everything(of)], FOREIGN)


def pod_of(of: Fleet, name: str) -> Pod:
    """The pod of the model's first Deployment."""
    for item in everything(of):
        body = item.body
        if body["kind"] == "Deployment" and body["metadata"]["labels"]["turnout.dev/model"] == name:
            return Pod(body["metadata"]["namespace"], body["spec"]["template"]["metadata"]["labels"])
    raise LookupError(name)


def own_envoys(*models: Model, carrier: Carrier = Carrier.ENVOY) -> Fleet:
    """A bank, a shop, and one gateway for all models."""
    names = (m.name for m in sorted(models, key=lambda m: m.name))
    return fleet(*models, gateways=(gateway("public", *names, carrier=carrier),), tenants=(BANK, SHOP))


def both(carrier: Carrier = Carrier.ENVOY) -> Fleet:
    return own_envoys(model("chat"), owned("fraud", BANK), owned("cat", SHOP), carrier=carrier)


def from_host(path: str) -> Version:
    return replace(version(), engine=replace(version().engine, model_path=ModelPath(Scheme.HOST, path)))


# Namespaces


def test_each_namespace_of_the_fleet_is_made_once() -> None:
    models = (model("chat"), replace(model("code"), namespace="team"), replace(model("maths"), namespace="team"))
    gateways = (gateway("public", "chat"), replace(gateway("edge", "code"), namespace="edge"))
    of = fleet(*models, owned("fraud", BANK), gateways=gateways, tenants=(BANK, SHOP))
    found = [item for item in tenancy.objects(of, Kept()) if item.body["kind"] == "Namespace"]
    assert {item.body["metadata"]["name"]: item.file for item in found} == {
        "ai-inference": "platform/namespaces.yaml",
        "ai-inference-bank": "tenants/bank.yaml",
        "edge": "platform/namespaces.yaml",
        "team": "platform/namespaces.yaml",
    }
    assert len(found) == 4
    assert {item.wave for item in found} == {-5}


def test_a_tenant_has_a_namespace_for_its_quota_before_it_has_a_model() -> None:
    named = {key for key in made(fleet(model("chat"), tenants=(BANK, SHOP))) if key[0] == "Namespace"}
    assert named == {("Namespace", "", "ai-inference"), ("Namespace", "", "ai-inference-bank")}


def test_a_namespace_of_the_cluster_s_own_is_let_be_and_its_models_are_guarded() -> None:
    of = fleet(replace(model("chat"), namespace="default"), gateways=(gateway("public", "chat"),))
    in_default = {key[0::2] for key in made(of) if key[1] == "default" or key[2] == "default"}
    assert in_default == {("NetworkPolicy", "turnout-models"), ("NetworkPolicy", "turnout-weights-hf")}


def test_a_model_beside_argo_cd_s_own_pods_denies_them_nothing() -> None:
    argocd = Argocd("https://git.example.com/policy.git", "main", "rendered", "turnout", "delivery", "", BUILT_IN)
    beside = own_envoys(replace(model("chat"), namespace="delivery"), carrier=Carrier.ISTIO)
    for_it = replace(beside, platform=replace(beside.platform, argocd=argocd))
    there = {key[0::2] for key in made(for_it) if "delivery" in key[1:]}
    assert there == {("NetworkPolicy", "turnout-models"), ("NetworkPolicy", "turnout-weights-hf")}
    assert ("Namespace", "", "delivery") in made(beside)


def test_a_namespace_is_never_pruned() -> None:
    for (kind, _, _), body in made(both()).items():
        options = body["metadata"]["annotations"].get("argocd.argoproj.io/sync-options")
        assert options == ("Delete=false,Prune=false" if kind == "Namespace" else None)


def test_the_options_of_an_owner_follow_those_that_keep_a_namespace() -> None:
    key = "argocd.argoproj.io/sync-options"
    bank = replace(BANK, annotations=((key, "Validate=false, Prune=true,Delete=false"),))
    bodies = made(fleet(owned("fraud", bank), tenants=(bank,)))
    named = {kind: body["metadata"]["annotations"].get(key) for (kind, *_), body in bodies.items()}
    assert named["Namespace"] == "Delete=false,Prune=false,Validate=false,Prune=true"
    assert named["ResourceQuota"] == "Validate=false, Prune=true,Delete=false"


def test_the_owner_s_labels_are_on_all_objects_of_a_tenant() -> None:
    bank = replace(BANK, labels=(("team", "risk"),), annotations=(("note", "a"),))
    objects = [o for o in tenancy.objects(fleet(owned("fraud", bank), tenants=(bank,)), Kept()) if "tenants/" in o.file]
    assert {item.body["kind"] for item in objects} >= {"Namespace", "ResourceQuota", "LimitRange", "NetworkPolicy"}
    assert all(item.body["metadata"]["labels"]["team"] == "risk" for item in objects)
    assert all(item.body["metadata"]["annotations"]["note"] == "a" for item in objects)


def test_platform_s_labels_are_on_the_namespaces_of_nobody_in_particular() -> None:
    of = replace(fleet(model("chat")), platform=Platform(labels=(("team", "ml"),), annotations=(("note", "b"),)))
    namespace = made(of)["Namespace", "", "ai-inference"]["metadata"]
    assert (namespace["labels"]["team"], namespace["annotations"]["note"]) == ("ml", "b")


# Pod Security


def enforced(of: Fleet, namespace: str = "ai-inference") -> str:
    level: str = made(of)["Namespace", "", namespace]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
    return level


@pytest.mark.parametrize(
    ("of", "level"),
    [
        (own_envoys(model("chat")), "baseline"),
        (own_envoys(model("chat", from_host("/models"))), "privileged"),
        (own_envoys(model("chat"), carrier=Carrier.ISTIO), "privileged"),
    ],
)
def test_a_namespace_allows_no_more_than_its_pods_need(of: Fleet, level: str) -> None:
    assert enforced(of) == level
    labels = made(of)["Namespace", "", "ai-inference"]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/warn"] == "baseline"


def test_levels_are_those_of_the_cluster_s_release() -> None:
    of = replace(fleet(model("chat")), platform=Platform(kubernetes="1.33"))
    labels = made(of)["Namespace", "", "ai-inference"]["metadata"]["labels"]
    assert {labels[f"pod-security.kubernetes.io/{mode}-version"] for mode in ("enforce", "audit", "warn")} == {"v1.33"}


def sample() -> Fleet:
    found = compile_policies(SAMPLE).fleet
    assert found is not None
    return found


@pytest.mark.parametrize("which", ["rich", "sample"])
def test_every_pod_that_is_rendered_may_run_in_its_namespace(which: str, fleet: Fleet) -> None:
    of = fleet if which == "rich" else sample()
    levels = {
        name: labels.get("pod-security.kubernetes.io/enforce", "privileged")
        for name, labels in cluster(of).namespaces.items()
    }
    for item in everything(of):
        template = item.body.get("spec", {}).get("template", {})
        if "containers" in template.get("spec", {}) and levels[item.body["metadata"]["namespace"]] == "baseline":
            assert beyond_baseline(template["spec"]) == [], item.key


# Quota


def test_a_quota_counts_gpus_as_they_are_requested() -> None:
    quota = made(both())["ResourceQuota", "ai-inference-bank", "turnout"]
    hard = quota["spec"]["hard"]
    assert (hard["requests.nvidia.com/gpu"], hard["requests.nvidia.com/gpu.shared"]) == ("4", "0")
    assert quota["metadata"]["annotations"]["turnout.dev/origin"] == "policies/tenants.yaml:2"


@pytest.mark.parametrize("pool", pools(), ids=lambda pool: pool.name)
def test_a_quota_counts_shares_where_a_pool_s_gpus_are_shared(pool: Pool) -> None:
    of = own_envoys(replace(owned("fraud", BANK), pool=pool))
    hard = made(of)["ResourceQuota", "ai-inference-bank", "turnout"]["spec"]["hard"]
    (deployment,) = (item.body for item in everything(of) if item.body["kind"] == "Deployment")
    (engine,) = deployment["spec"]["template"]["spec"]["containers"]
    asked = {f"requests.{name}" for name in engine["resources"]["limits"]}
    assert {name for name, most in hard.items() if most == "4"} == asked & hard.keys() != set()


def test_without_a_quota_gpus_are_not_counted_and_nothing_is_reached_past_the_gateways() -> None:
    quota = made(both())["ResourceQuota", "ai-inference-shop", "turnout"]
    assert quota["spec"]["hard"] == {"services.loadbalancers": "0", "services.nodeports": "0"}


def test_limits_leave_the_cores_of_engines_alone() -> None:
    (limit,) = made(both())["LimitRange", "ai-inference-bank", "turnout"]["spec"]["limits"]
    assert "cpu" not in limit["default"]
    assert not {"max", "min"} & limit.keys()


# Who reaches a model


def test_only_tenants_have_quotas_and_limits() -> None:
    assert {key[1] for key in made(both()) if key[0] in ("ResourceQuota", "LimitRange")} == {
        "ai-inference-bank",
        "ai-inference-shop",
    }


@pytest.mark.parametrize(
    ("source", "answered"),
    [
        (Pod("ai-inference", ENVOY), True),
        (Pod("ai-inference", CONTROL), True),
        (Pod("ai-inference", {"app": "anything"}), False),
        (Pod("monitoring", PROMETHEUS), True),
        (Pod("monitoring", {"app": "grafana"}), False),
        (Pod("apps", ENVOY), False),
        (Pod("istio-system", INGRESS), False),
        (Pod("clients", {"app": "shop-front"}), True),
        (Pod("ai-inference-bank", {"app": "teller"}), True),
        (Pod("ai-inference-shop", {"app": "till"}), False),
        (Pod("ai-inference-shop", ENVOY), False),
        (Pod("ai-inference-shop", PROMETHEUS), False),
        (Pod("ai-inference-shop", INGRESS), False),
    ],
)
def test_who_reaches_a_tenant_s_model(source: Pod, answered: bool) -> None:
    of = both()
    assert cluster(of).reaches(source, pod_of(of, "fraud")) is answered
    assert not cluster(of).reaches(source, pod_of(of, "fraud"), port=22)


def test_a_tenant_s_pods_do_not_reach_a_model_that_is_nobody_s_past_the_gateways() -> None:
    of = both()
    assert not cluster(of).reaches(Pod("ai-inference-bank", {"app": "teller"}), pod_of(of, "chat"))
    assert cluster(of).reaches(Pod("ai-inference", ENVOY), pod_of(of, "chat"))


def test_istio_s_ingress_reaches_models_where_istio_carries_a_host() -> None:
    of = both(Carrier.ISTIO)
    for name in ("chat", "fraud"):
        assert cluster(of).reaches(Pod("istio-system", INGRESS), pod_of(of, name))
        assert not cluster(of).reaches(Pod("ai-inference-shop", INGRESS), pod_of(of, name))
        assert not cluster(of).reaches(Pod("ai-inference", ENVOY), pod_of(of, name))


def standard(of: Fleet) -> Fleet:
    return replace(of, platform=replace(of.platform, gateway_class="example"))


def test_pods_of_a_gateway_of_the_gateway_api_reach_its_models_from_whatever_namespace_they_are_in() -> None:
    edge, inner = (
        gateway(name, model, carrier=Carrier.GATEWAY_API) for name, model in (("edge", "fraud"), ("in", "chat"))
    )
    models = (model("chat"), owned("fraud", BANK), owned("cat", SHOP))
    of = standard(fleet(*models, gateways=(edge, inner), tenants=(BANK, SHOP)))
    named = {"gateway.networking.k8s.io/gateway-name": "edge"}
    for namespace in ("ai-inference", "envoy-gateway-system"):
        assert cluster(of).reaches(Pod(namespace, named), pod_of(of, "fraud"))
        assert not cluster(of).reaches(Pod(namespace, {**named, **dict.fromkeys(named, "other")}), pod_of(of, "fraud"))
    assert not cluster(of).reaches(Pod("ai-inference-shop", named), pod_of(of, "fraud"))
    assert not cluster(of).reaches(Pod("ai-inference", ENVOY), pod_of(of, "fraud"))


def test_clients_reach_the_pods_of_a_gateway_of_the_gateway_api_where_it_is_in_a_namespace_of_ours() -> None:
    pod = Pod("ai-inference", {"gateway.networking.k8s.io/gateway-name": "public"})
    anybody = Pod("apps", {"app": "client"})
    assert cluster(standard(both(Carrier.GATEWAY_API))).reaches(anybody, pod, port=80)
    assert not cluster(both()).reaches(anybody, pod, port=80)


def test_gateways_and_the_control_server_are_left_to_their_own_policies() -> None:
    anybody = Pod("apps", {"app": "client"})
    for labels in (ENVOY, CONTROL):
        assert cluster(both()).reaches(anybody, Pod("ai-inference", labels), port=8080)
    assert not cluster(both()).reaches(anybody, Pod("ai-inference", {"app": "other"}), port=8080)


def test_gateways_in_another_namespace_reach_the_models_they_list_alone() -> None:
    edge = replace(gateway("edge", "code", carrier=Carrier.ENVOY), namespace="edge")
    inner = gateway("inner", "chat", carrier=Carrier.ENVOY)
    of = fleet(model("chat"), replace(model("code"), namespace="team"), gateways=(edge, inner))
    assert cluster(of).reaches(Pod("edge", ENVOY), pod_of(of, "code"))
    assert not cluster(of).reaches(Pod("edge", ENVOY), pod_of(of, "chat"))
    assert not cluster(of).reaches(Pod("ai-inference", ENVOY), pod_of(of, "code"))


def test_copies_of_requests_reach_the_model_that_gets_them() -> None:
    chat = replace(model("chat"), mirror=Mirror("twin", None, 10, at(1)))
    of = fleet(chat, replace(model("twin"), namespace="team"), gateways=(gateway("in", "chat", carrier=Carrier.ENVOY),))
    assert cluster(of).reaches(Pod("ai-inference", ENVOY), pod_of(of, "twin"))


# What a model reaches


@pytest.mark.parametrize(
    ("scheme", "fetches"),
    [
        (Scheme.HF, True),
        (Scheme.S3, True),
        (Scheme.GS, True),
        (Scheme.OCI, False),
        (Scheme.PVC, False),
        (Scheme.HOST, False),
    ],
)
def test_a_model_reaches_what_its_weights_come_from_and_no_more(scheme: Scheme, fetches: bool) -> None:
    own = replace(version(), engine=replace(version().engine, model_path=ModelPath(scheme, "models/fraud")))
    other = Scheme.PVC if fetches else Scheme.HF
    another = replace(version(), engine=replace(version().engine, model_path=ModelPath(other, "models/ocr")))
    of = own_envoys(owned("fraud", BANK, own), owned("ocr", BANK, another))
    running, dns = pod_of(of, "fraud"), Pod("kube-system", {"k8s-app": "kube-dns"})
    assert cluster(of).leaves(running, 443) is fetches
    assert not cluster(of).leaves(running, 80)
    assert cluster(of).reaches(running, dns, port=53)
    assert not cluster(of).reaches(running, Pod("apps", {"app": "database"}), port=5432)


def test_in_the_mesh_a_model_reaches_istiod() -> None:
    istiod = Pod("istio-system", {"app": "istiod"})
    for carrier, reached in ((Carrier.ISTIO, True), (Carrier.ENVOY, False)):
        of = both(carrier)
        assert cluster(of).reaches(pod_of(of, "fraud"), istiod, port=15012) is reached


# The mesh


def mutual_tls(of: Fleet) -> dict[tuple[str, str], str]:
    return {key[1:]: body["spec"]["mtls"]["mode"] for key, body in made(of).items() if key[0] == "PeerAuthentication"}


def test_without_istio_there_is_nothing_of_it() -> None:
    of = both()
    assert mutual_tls(of) == {}
    namespaces = [body for key, body in made(of).items() if key[0] == "Namespace"]
    assert not any("istio-injection" in body["metadata"]["labels"] for body in namespaces)


def test_namespaces_with_a_model_that_istio_carries_take_mutual_tls_alone() -> None:
    of = both(Carrier.ISTIO)
    assert mutual_tls(of) == {
        ("ai-inference", "default"): "STRICT",
        ("ai-inference-bank", "default"): "STRICT",
        ("ai-inference-shop", "default"): "STRICT",
    }
    assert made(of)["Namespace", "", "ai-inference-bank"]["metadata"]["labels"]["istio-injection"] == "enabled"


def test_a_model_that_own_envoys_reach_too_takes_plain_http_as_well() -> None:
    mixed = gateway("mixed", "both", "one")
    gateways = (mixed, replace(gateway("own", "both", carrier=Carrier.ENVOY)))
    of = fleet(model("one"), model("both"), model("none"), gateways=gateways)
    assert mutual_tls(of) == {
        ("ai-inference", "default"): "STRICT",
        ("ai-inference", "both"): "PERMISSIVE",
        ("ai-inference", "none"): "PERMISSIVE",
    }
    selector = made(of)["PeerAuthentication", "ai-inference", "both"]["spec"]["selector"]
    assert selector == {"matchLabels": {"turnout.dev/model": "both"}}
    hosts = (Host("a", Carrier.ISTIO), Host("b", Carrier.ENVOY))
    at_one = fleet(model("one"), gateways=(replace(gateway("mixed", "one"), hosts=hosts),))
    assert mutual_tls(at_one)["ai-inference", "one"] == "PERMISSIVE"


def test_a_model_that_the_gateway_api_carries_too_takes_plain_http_as_well() -> None:
    gateways = (gateway("mesh", "both", "one"), gateway("edge", "both", carrier=Carrier.GATEWAY_API))
    assert mutual_tls(standard(fleet(model("one"), model("both"), gateways=gateways))) == {
        ("ai-inference", "default"): "STRICT",
        ("ai-inference", "both"): "PERMISSIVE",
    }


def test_a_namespace_that_istio_does_not_reach_is_not_in_the_mesh() -> None:
    gateways = (gateway("mesh", "fraud"), gateway("own", "cat", carrier=Carrier.ENVOY))
    of = fleet(owned("fraud", BANK), owned("cat", SHOP), gateways=gateways, tenants=(BANK, SHOP))
    assert mutual_tls(of) == {("ai-inference-bank", "default"): "STRICT"}


def test_a_tenant_s_model_that_only_istio_carries_knows_who_asks() -> None:
    allowed = {key[1:]: body for key, body in made(both(Carrier.ISTIO)).items() if key[0] == "AuthorizationPolicy"}
    assert set(allowed) == {("ai-inference-bank", "fraud"), ("ai-inference-shop", "cat")}
    spec = allowed["ai-inference-bank", "fraud"]["spec"]
    assert spec["action"] == "ALLOW"
    assert spec["rules"] == [{"from": [{"source": {"namespaces": ["istio-*", "ai-inference-bank"]}}]}]


def test_the_revision_that_a_tenant_names_is_the_one_that_is_injected() -> None:
    bank = replace(BANK, labels=(("istio.io/rev", "canary"),))
    labels = made(fleet(owned("fraud", bank), tenants=(bank,)))["Namespace", "", bank.namespace]["metadata"]["labels"]
    assert labels["istio.io/rev"] == "canary"
    assert "istio-injection" not in labels


# Cost


def test_objects_are_made_again_for_the_namespace_that_changed_alone() -> None:
    first, kept = both(), Kept()
    before = list(tenancy.objects(first, kept))
    kept = Kept(kept.closed())
    changed = own_envoys(model("chat"), owned("fraud", BANK), owned("cat", SHOP, from_host("/cat")))
    after = list(tenancy.objects(replace(changed, tenants=first.tenants), kept))
    again = {id(item) for item in before}
    assert {item.file for item in after if id(item) not in again} == {"tenants/shop.yaml"}


# What other emitters render


def pods(of: Fleet) -> list[tuple[str, dict[str, Any]]]:
    """Key and template of everything that makes pods."""
    found = [(item.key, item.body.get("spec", {}).get("template", {})) for item in everything(of)]
    return [(key, template) for key, template in found if "containers" in template.get("spec", {})]


@pytest.mark.parametrize("which", ["rich", "sample"])
def test_istio_s_proxies_stand_before_models_alone(which: str, fleet: Fleet) -> None:
    """Where a namespace is in the mesh, gateways and the control server would take mutual TLS from nobody else."""
    for key, template in pods(fleet if which == "rich" else sample()):
        labels = template["metadata"]["labels"]
        assert "turnout.dev/model" in labels or labels.get("sidecar.istio.io/inject") == "false", key


@pytest.mark.parametrize("which", ["rich", "sample"])
def test_what_the_default_leaves_out_has_a_policy_of_its_own(which: str, fleet: Fleet) -> None:
    of = fleet if which == "rich" else sample()
    own = [item.body["spec"] for item in everything(of) if item.body["kind"] == "NetworkPolicy"]
    chosen = [spec["podSelector"].get("matchLabels", {}) for spec in own if "Ingress" in spec["policyTypes"]]
    for key, template in pods(of):
        app = template["metadata"]["labels"].get("app.kubernetes.io/name")
        if app in ("turnout-gateway", "turnout-control"):
            assert any(labels.get("app.kubernetes.io/name") == app for labels in chosen), key
