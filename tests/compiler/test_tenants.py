"""Tenants: whose a model is, where it runs, and whether all fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from compiler import report
from compiler.diagnostics import Severity
from compiler.fleet import GpuQuota, Tenant
from compiler.pipeline import Compiled, compile_policies
from compiler.prove import prove
from tests.compiler.policies import codes, document, fleet, linked, model

SCALING = document("Platform", "platform", 'prometheus: {address: "http://prometheus:9090"}')
BANK = document("Tenant", "bank", "gpuQuota: 4")
CHAT = model("chat")
OF_NOBODY = document("Gateway", "public", "models: [chat]")


def namespaced(text: str, namespace: str) -> str:
    return text.replace("metadata: {", f"metadata: {{namespace: {namespace}, ")


def test_a_tenant_of_three_lines_has_everything() -> None:
    (shop,) = fleet(CHAT, document("Tenant", "shop")).tenants
    assert (shop.name, shop.namespace, shop.quota) == ("shop", "ai-inference-shop", None)


def test_tenants_are_in_the_order_of_their_names() -> None:
    assert [t.name for t in fleet(CHAT, document("Tenant", "b"), document("Tenant", "a")).tenants] == ["a", "b"]


def test_a_quota_of_zero_is_zero() -> None:
    (none,) = fleet(CHAT, document("Tenant", "none", "gpuQuota: 0")).tenants
    assert isinstance(none.quota, GpuQuota)
    assert none.quota.gpus == 0


def test_a_model_of_a_tenant_runs_in_the_tenant_s_namespace() -> None:
    found = fleet(CHAT, model("fraud", "tenant: bank"), BANK, OF_NOBODY)
    assert {m.name: (m.tenant, m.namespace) for m in found.models} == {
        "chat": (None, "ai-inference"),
        "fraud": ("bank", "ai-inference-bank"),
    }


def test_the_default_namespace_of_a_tenant_follows_platform_s_and_its_own_wins() -> None:
    platform = document("Platform", "platform", "namespace: serving")
    (bank,) = fleet(CHAT, platform, document("Tenant", "bank.eu")).tenants
    assert bank.namespace == "serving-bank-eu"
    own = fleet(CHAT, model("fraud", "tenant: bank"), namespaced(BANK, "finance"), OF_NOBODY)
    assert (own.tenants[0].namespace, own.models[1].namespace) == ("finance", "finance")


def test_every_version_of_a_model_is_its_tenant_s() -> None:
    spec = "tenant: bank\nversions: [{name: '1', weight: 50}, {name: '2', weight: 50}]"
    (fraud,) = fleet(model("fraud", spec), BANK).models
    assert (fraud.namespace, len(fraud.versions)) == ("ai-inference-bank", 2)


def test_platform_may_give_all_models_to_one_tenant() -> None:
    platform = document("Platform", "platform", "defaults: {tenant: bank}")
    assert {m.tenant for m in fleet(CHAT, model("code"), platform, BANK).models} == {"bank"}


def test_a_model_may_say_where_its_tenant_runs() -> None:
    assert codes(namespaced(model("fraud", "tenant: bank"), "ai-inference-bank"), BANK) == []
    assert codes(namespaced(model("fraud", "tenant: bank"), "elsewhere"), BANK) == ["P201"]


def test_a_tenant_that_is_invalid_is_no_dangling_one() -> None:
    broken = document("Tenant", "bank", "gpuQuota: -1")
    assert codes(model("fraud", "tenant: bank"), broken) == ["P104"]


@pytest.mark.parametrize(
    "others",
    [
        (namespaced(document("Tenant", "broker"), "ai-inference-bank"),),
        (namespaced(CHAT, "ai-inference-bank"),),
        (namespaced(model("fraud", "tenant: bank"), "ai-inference-bank"), namespaced(CHAT, "ai-inference-bank")),
        (CHAT, namespaced(document("Gateway", "public"), "ai-inference-bank")),
    ],
)
def test_nobody_else_is_in_a_tenant_s_namespace(others: tuple[str, ...]) -> None:
    assert codes(BANK, *others) == ["P230"]


@pytest.mark.parametrize("namespace", ["ai-inference", "default", "kube-system", "istio-system"])
def test_a_tenant_has_no_namespace_that_is_not_its_own(namespace: str) -> None:
    assert codes(CHAT, namespaced(BANK, namespace)) == ["P230"]


def test_a_namespace_has_63_characters_with_the_tenant_s_name_in_it() -> None:
    platform = document("Platform", "platform", f"namespace: {'n' * 40}")
    assert codes(platform, document("Tenant", "t" * 22)) == []
    assert codes(platform, document("Tenant", "t" * 23)) == ["P115"]
    assert codes(platform, namespaced(document("Tenant", "t" * 23), "short")) == []


def test_names_of_tenants_differ_in_their_slugs() -> None:
    assert codes(document("Tenant", "a.b"), document("Tenant", "a-b")) == ["P207"]


# Quotas


def found_by_proofs(*documents: str) -> list[tuple[str, Severity, str]]:
    return [(d.code, d.severity, d.message) for d in prove(fleet(*documents)) if d.code in ("P417", "P441")]


def test_what_fits_with_an_update_is_said_nothing_of() -> None:
    assert found_by_proofs(CHAT, model("fraud", "tenant: bank\nreplicas: 3"), BANK, OF_NOBODY) == []


def test_what_fits_without_an_update_is_a_warning() -> None:
    ((code, severity, said),) = found_by_proofs(CHAT, model("fraud", "tenant: bank\nreplicas: 4"), BANK, OF_NOBODY)
    assert (code, severity) == ("P417", Severity.WARNING)
    assert said.startswith("tenant bank asks 4 of 4 GPUs; an update of fraud starts 1 more")


@pytest.mark.parametrize("standby", ["hotStandby", "warmStandby", "coldStandby"])
def test_standbys_count_before_they_are_promoted(standby: str) -> None:
    recovery = document("DisasterRecovery", "recovery", f"models: [{{name: fraud, {standby}: 2}}]")
    found = found_by_proofs(CHAT, model("fraud", "tenant: bank\nreplicas: 3"), recovery, BANK, OF_NOBODY)
    assert found == [("P417", Severity.ERROR, "tenant bank asks 5 of 4 GPUs: fraud 5")]


def test_as_many_instances_count_as_load_may_ask_for() -> None:
    scaled = "tenant: bank\nautoscaling: {minReplicas: 1, maxReplicas: 5}"
    found = found_by_proofs(SCALING, CHAT, model("fraud", scaled), BANK, OF_NOBODY)
    assert found == [("P417", Severity.ERROR, "tenant bank asks 5 of 4 GPUs: fraud 5")]


def test_a_cold_standby_s_gpus_are_there_for_an_update() -> None:
    recovery = document("DisasterRecovery", "recovery", "models: [{name: fraud, coldStandby: 1}]")
    assert found_by_proofs(CHAT, model("fraud", "tenant: bank\nreplicas: 3"), recovery, BANK, OF_NOBODY) == []


def test_gpus_of_all_models_and_versions_of_the_tenant_count_and_no_others() -> None:
    spec = "tenant: bank\nresources: {gpuCount: 2}\nversions: [{name: '1', weight: 50}, {name: '2', weight: 50}]"
    own = (model("fraud", spec), model("ocr", "tenant: bank"), model("cat", "tenant: shop\nreplicas: 100"))
    found = found_by_proofs(CHAT, *own, document("Tenant", "shop"), BANK, OF_NOBODY)
    assert found == [("P417", Severity.ERROR, "tenant bank asks 5 of 4 GPUs: fraud 4, ocr 1")]


# Others


def test_a_gateway_that_lists_a_tenant_s_model_is_open_to_all() -> None:
    ((code, severity, said),) = found_by_proofs(model("fraud", "tenant: bank"), BANK)
    assert (code, severity) == ("P441", Severity.WARNING)
    assert said == "fraud is tenant bank's alone, and gets requests of others through gateway default"


def test_a_fallback_to_a_tenant_s_model_is_open_to_all() -> None:
    chooser = document(
        "ModelOrchestrator",
        "auto",
        "models: [{name: chat}, {name: fraud}]\nrouting: {defaultModel: chat, fallback: {chain: [{model: fraud}]}}",
    )
    ((_, _, said),) = found_by_proofs(CHAT, model("fraud", "tenant: bank"), chooser, BANK, OF_NOBODY)
    assert said.endswith("through orchestrator auto")


def test_a_mirror_between_models_of_one_tenant_is_nobody_else_s() -> None:
    twin = "tenant: bank\ntraffic: {mirror: {model: ocr, percent: 5}}"
    own = (model("fraud", twin), model("ocr", "tenant: bank"))
    assert found_by_proofs(CHAT, *own, document("Tenant", "bank"), OF_NOBODY) == []
    ((_, _, said),) = found_by_proofs(model("chat", twin.replace("tenant: bank\n", "")), own[1], BANK, OF_NOBODY)
    assert said.endswith("through the mirror of chat")


# Secrets


@pytest.mark.parametrize("keys", ["[sk-1]", "sk-1", "[4711]", "[{value: sk-1}]", "[{secretRef: sk-1}]"])
def test_a_secret_in_policy_is_refused_and_not_repeated(keys: str, tmp_path: Path) -> None:
    (tmp_path / "all.yaml").write_text(f"{CHAT}---\n{document('Tenant', 'studio', f'apiKeys: {keys}')}")
    compiled = compile_policies(tmp_path)
    assert [d.code for d in compiled.diagnostics if d.severity is Severity.ERROR] == ["P110"]
    for said in all_reports(compiled, tmp_path):
        assert "sk-1" not in said
        assert "4711" not in said


def all_reports(compiled: Compiled, root: Path) -> tuple[str, ...]:
    found = compiled.diagnostics
    return (
        report.text(found, compiled.sources, root, colour=False),
        report.as_json(found, root),
        report.github(found, root),
    )


def test_a_secret_by_reference_is_accepted() -> None:
    keys = "apiKeys: [{secretRef: {name: tenant-keys, key: studio}}]"
    assert [code for code in codes(CHAT, document("Tenant", "studio", keys)) if code != "P116"] == []


# Runs after an edit


def test_a_model_that_is_given_to_a_tenant_moves(tmp_path: Path) -> None:
    file = tmp_path / "all.yaml"
    file.write_text("---\n".join((CHAT, model("fraud"), BANK, OF_NOBODY)))
    first = compile_policies(tmp_path)
    file.write_text("---\n".join((CHAT, model("fraud", "tenant: bank"), BANK, OF_NOBODY)))
    second = compile_policies(tmp_path, first)
    assert second.fleet == compile_policies(tmp_path).fleet
    assert second.fleet is not None
    assert second.fleet.models[1].namespace == "ai-inference-bank"
    file.write_text("---\n".join((CHAT, model("fraud", "tenant: bank"), namespaced(BANK, "finance"), OF_NOBODY)))
    third = compile_policies(tmp_path, second)
    assert third.fleet is not None
    assert third.fleet == compile_policies(tmp_path).fleet
    assert third.fleet.models[1].namespace == "finance"


def test_an_edit_elsewhere_leaves_a_tenant_the_same_object(tmp_path: Path) -> None:
    (tmp_path / "tenants.yaml").write_text(BANK)
    (tmp_path / "models.yaml").write_text("---\n".join((CHAT, model("fraud", "tenant: bank"))))
    first = compile_policies(tmp_path)
    (tmp_path / "models.yaml").write_text(
        "---\n".join((CHAT.replace("org/chat", "org/c"), model("fraud", "tenant: bank")))
    )
    second = compile_policies(tmp_path, first)
    assert tenants_of(first)[0] is tenants_of(second)[0]


def tenants_of(compiled: Compiled) -> tuple[Tenant, ...]:
    assert compiled.fleet is not None
    return compiled.fleet.tenants


def test_dangling_references_are_told_where_they_stand() -> None:
    limits = "allowedModels: [chat, nobody]\nrateLimits: [{requests: 1, per: 1m, models: [auto]}]"
    _, found = linked(CHAT, document("Tenant", "studio", limits))
    assert [d.message for d in found if d.code == "P203"] == [
        "spec.allowedModels[1]: no InferenceModel or ModelOrchestrator 'nobody'",
        "spec.rateLimits[0].models[0]: no InferenceModel or ModelOrchestrator 'auto'",
    ]
