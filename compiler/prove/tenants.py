"""Whether a tenant's models fit its quota, and who else can ask them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from compiler.diagnostics import Diagnostic, error, warning
from compiler.fleet import Fleet, Model, Tenant, Version
from compiler.kept import Kept


def findings(fleet: Fleet, kept: Kept) -> Iterator[Diagnostic]:
    if not fleet.tenants:
        return
    own = {model.name: model for model in fleet.models if model.tenant is not None}
    if not own:
        return
    yield from _quotas(fleet.tenants, own.values(), kept)
    yield from _open_to_all(fleet, own)


class _Asked(NamedTuple):
    """GPUs, all tiers together."""

    at_most: int
    running: int
    """Before any cold standby is promoted."""
    surge: int
    """Of the instance that an update starts before it stops another one."""


def _quotas(tenants: Iterable[Tenant], models: Iterable[Model], kept: Kept) -> Iterator[Diagnostic]:
    asked: dict[str, list[tuple[Model, _Asked]]] = defaultdict(list)
    listed = tuple(models)
    for model, need in zip(listed, kept.each(_asked, listed), strict=True):
        assert model.tenant is not None
        asked[model.tenant].append((model, need))
    for tenant in tenants:
        if tenant.quota is not None and tenant.name in asked:
            yield from _of_tenant(tenant, tenant.quota.gpus, asked[tenant.name])


def _of_tenant(tenant: Tenant, quota: int, models: list[tuple[Model, _Asked]]) -> Iterator[Diagnostic]:
    assert tenant.quota is not None
    total = sum(need.at_most for _, need in models)
    said = f"tenant {tenant.name} asks {total} of {quota} GPUs"
    if total > quota:
        each = ", ".join(f"{model.name} {need.at_most}" for model, need in models)
        yield error("P417", tenant.quota.origin, f"{said}: {each}", f"gpuQuota: {total}, or fewer instances")
        return
    model, surge = max(((model, need.surge) for model, need in models), key=lambda pair: pair[1])
    needed = sum(need.running for _, need in models) + surge
    if needed > quota:
        more = f"an update of {model.name} starts {surge} more before it stops any, and would wait"
        yield warning("P417", tenant.quota.origin, f"{said}; {more}", f"gpuQuota: {needed}")


def _asked(model: Model) -> _Asked:
    return _Asked(
        sum(most_instances(version) * version.resources.gpu_count for version in model.versions),
        sum((most_instances(version) - version.cold) * version.resources.gpu_count for version in model.versions),
        max(version.resources.gpu_count for version in model.versions),
    )


def most_instances(version: Version) -> int:
    """That may run at a time. Standbys count before they are promoted: who is lost may hold its GPUs until its node is
    seen to be gone."""
    return version.most_active + version.hot + version.warm + version.cold


def _open_to_all(fleet: Fleet, own: Mapping[str, Model]) -> Iterator[Diagnostic]:
    """Until gateways know tenants, whoever reaches one may ask whatever it lists."""
    ways: dict[str, list[str]] = defaultdict(list)
    for gateway in fleet.gateways:
        for name in (name for name in gateway.models if name in own):
            ways[name].append(f"gateway {gateway.name}")
        if gateway.orchestrator is not None:
            for name in sorted(gateway.orchestrator.leads_to & own.keys()):
                ways[name].append(f"orchestrator {gateway.orchestrator.name}")
    for model in fleet.models:
        if model.mirror is not None and (copied := own.get(model.mirror.model)) and copied.tenant != model.tenant:
            ways[copied.name].append(f"the mirror of {model.name}")
    for name, through in ways.items():
        said = f"{name} is tenant {own[name].tenant}'s alone, and gets requests of others through {', '.join(through)}"
        yield warning("P441", own[name].origin, said, "spec.models of the gateway, without it")
