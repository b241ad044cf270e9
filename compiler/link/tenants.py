"""Tenant policies to the fleet's tenants, and whether each has its namespace for itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from compiler.decode import Policies, Policy, Portion
from compiler.diagnostics import Diagnostic, Position, error
from compiler.fleet import Gateway as FleetGateway
from compiler.fleet import GpuQuota, Model, Tenant, slug
from compiler.fleet.names import LONGEST_NAMESPACE
from compiler.fleet.platform import clusters_namespaces
from compiler.kept import Kept
from compiler.kinds import Gateway, InferenceModel, ModelOrchestrator
from compiler.kinds import Tenant as TenantKind
from compiler.kinds.platform import PlatformSpec
from compiler.link.platform import Settings
from compiler.link.references import dangling
from compiler.nodes import Loc, dotted
from compiler.spelling import nearest


def tenants(policies: Policies, platform: Settings, kept: Kept, found: list[Diagnostic]) -> tuple[Tenant, ...]:
    """Those that are valid by themselves, by name."""
    for policy in policies.of(TenantKind).values():
        _check_references(policy, policies, found)
        if policies.platform_known:
            _check_tier(policy, policies, found)
    return tuple(kept.reported(found, _tenant, policy, platform) for policy in policies.of(TenantKind).values())


def _tenant(policy: Policy[TenantKind], platform: Settings, found: list[Diagnostic]) -> Tenant:
    metadata, quota = policy.body.metadata, policy.body.spec.gpu_quota
    namespace = metadata.namespace or f"{platform.namespace}-{slug(metadata.name)}"
    if len(namespace) > LONGEST_NAMESPACE:
        place = policy.at("metadata", "name")
        said = f"'{metadata.name}' is no name: its namespace {namespace} has {len(namespace)} characters"
        found.append(error("P115", place, f"{said}, {LONGEST_NAMESPACE} are the limit", "metadata.namespace"))
    return Tenant(
        name=metadata.name,
        namespace=namespace,
        quota=None if quota is None else GpuQuota(quota, policy.at("spec", "gpuQuota")),
        labels=tuple(sorted(metadata.labels.items())),
        annotations=tuple(sorted(metadata.annotations.items())),
        origin=policy.at("metadata", "name"),
    )


def _check_tier(policy: Policy[TenantKind], policies: Policies, found: list[Diagnostic]) -> None:
    tiers = policies.platform.body.spec.tiers if policies.platform else PlatformSpec().tiers
    tier = policy.body.spec.tier
    if tier is not None and tier not in tiers:
        said = f"spec.tier: '{tier}' is not one of {', '.join(tiers)}"
        found.append(error("P103", policy.at("spec", "tier"), said, nearest(tier, tiers) or "Platform.tiers"))


def _check_references(policy: Policy[TenantKind], policies: Policies, found: list[Diagnostic]) -> None:
    known = policies.names[InferenceModel] | policies.names[ModelOrchestrator]
    for name, loc in _named(policy):
        if name not in known:
            found.append(dangling(dotted(loc), "InferenceModel or ModelOrchestrator", name, policy.at(*loc), known))


def _named(policy: Policy[TenantKind]) -> Iterator[tuple[str, Loc]]:
    """Every model and orchestrator that the tenant's rights and limits are about, and where."""
    spec = policy.body.spec
    for index, name in enumerate(spec.allowed_models or ()):
        yield name, ("spec", "allowedModels", index)
    for limit, entry in enumerate(spec.rate_limits or ()):
        for index, name in enumerate(entry.models):
            yield name, ("spec", "rateLimits", limit, "models", index)


def tenants_of_models(
    policies: Policies, known: tuple[Tenant, ...], kept: Kept, found: list[Diagnostic]
) -> Mapping[str, Tenant]:
    """By the name of each model that is one tenant's alone."""
    by_name = {tenant.name: tenant for tenant in known}
    names = policies.names[TenantKind]
    result: dict[str, Tenant] = {}
    for asked in kept.chained(_asked, policies.portions):
        if asked.tenant not in names:
            found.append(dangling("spec.tenant", "Tenant", asked.tenant, asked.place, names))
        elif asked.tenant in by_name:
            result[asked.model] = by_name[asked.tenant]
            found.extend(_elsewhere(asked, by_name[asked.tenant]))
    return result


class _Asked(NamedTuple):
    """A model that names a tenant."""

    model: str
    tenant: str
    place: Position
    namespace: str | None
    """That it names itself."""
    namespace_place: Position


def _asked(portion: Portion) -> tuple[_Asked, ...]:
    return tuple(
        _Asked(
            name,
            policy.body.spec.tenant,
            policy.at("spec", "tenant"),
            policy.body.metadata.namespace,
            policy.at("metadata", "namespace"),
        )
        for name, policy in portion.of(InferenceModel)
        if policy.body.spec.tenant is not None
    )


def _elsewhere(asked: _Asked, tenant: Tenant) -> Iterator[Diagnostic]:
    if asked.namespace not in (None, tenant.namespace):
        said = "'metadata.namespace' and 'spec.tenant' exclude each other"
        where = f"{tenant.name}'s models run in {tenant.namespace}"
        yield error("P201", asked.namespace_place, f"{said}: {where}", "leave metadata.namespace out")


def check_namespaces(
    policies: Policies,
    platform: Settings,
    fleet_tenants: tuple[Tenant, ...],
    models: tuple[Model, ...],
    gateways: tuple[FleetGateway, ...],
    found: list[Diagnostic],
) -> None:
    """A tenant's namespace holds that tenant's models and nothing else: quota and isolation are by namespace."""
    owners: dict[str, str] = {}
    clusters = clusters_namespaces(platform.argocd)
    for tenant in fleet_tenants:
        place = policies.of(TenantKind)[tenant.name].at("metadata", "namespace")
        other = owners.setdefault(tenant.namespace, tenant.name)
        if tenant.namespace in clusters or tenant.namespace == platform.namespace:
            whose = "Platform's" if tenant.namespace == platform.namespace else "the cluster's"
            found.append(_taken(tenant.namespace, f"{whose}, so no tenant's alone", place))
        elif slug(other) != slug(tenant.name):  # else P207 has said it
            found.append(_taken(tenant.namespace, f"tenant {other}'s alone", place))
    if not owners:
        return
    owners.pop(platform.namespace, None)
    for model in models:
        if (owner := owners.get(model.namespace)) not in (None, model.tenant):
            place = policies.of(InferenceModel)[model.name].at("metadata", "namespace")
            found.append(_taken(model.namespace, f"tenant {owner}'s alone", place))
    for gateway in gateways:
        if (owner := owners.get(gateway.namespace)) is not None:
            place = policies.of(Gateway)[gateway.name].at("metadata", "namespace")
            found.append(_taken(gateway.namespace, f"tenant {owner}'s alone", place))


def _taken(namespace: str, whose: str, place: Position) -> Diagnostic:
    return error("P230", place, f"namespace '{namespace}' is {whose}", "another metadata.namespace")
