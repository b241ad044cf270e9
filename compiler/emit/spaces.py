"""The fleet by namespace: which models run in each, and who asks them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from compiler.diagnostics import Position
from compiler.emit.cache import cached
from compiler.emit.placement import gpu_resource
from compiler.fleet import Carrier, Fleet, Gateway, Model, Route, Scheme, Tenant, Version, routes, slug
from compiler.fleet.platform import clusters_namespaces
from compiler.kept import Kept

NOBODY: frozenset[Carrier] = frozenset()


@dataclass(frozen=True, slots=True)
class Space:
    """One namespace."""

    name: str
    is_ours: bool
    """Whether we make it, and say what holds for every pod in it."""
    tenant: Tenant | None
    """Whose alone it is."""
    origin: Position
    """Where policy first speaks of it."""
    has_models: bool
    schemes: tuple[Scheme, ...]
    """Where the weights of its models lie, sorted."""
    gpu_resources: tuple[str, ...]
    """By which its models ask for GPUs, or for shares of them, sorted."""
    mounts_node: bool
    """Whether a pod of it mounts a folder of its node."""
    gateways: tuple[str, ...]
    """The namespaces of Turnout's own Envoys that ask its models, sorted."""
    gateway_api: tuple[str, ...]
    """Gateways of the Gateway API whose pods ask its models: their objects' names, sorted."""
    runs_gateway_api: bool
    """Whether such a Gateway is in it, so that its pods may be too."""
    in_mesh: bool
    """Whether Istio asks a model of it, so that pods in it get Istio's proxies."""


Reaches = tuple[tuple[Gateway, frozenset[str]], ...]
"""Each gateway with the names of the models that its routes lead or mirror to."""


def reaches(fleet: Fleet, kept: Kept) -> Reaches:
    return tuple((gateway, _led_to(routes(fleet, gateway, kept), kept)) for gateway in fleet.gateways)


def carriers(found: Reaches, kept: Kept) -> Mapping[str, frozenset[Carrier]]:
    """Who carries requests to each model, by its name; a model that no gateway's routes lead to has no entry."""
    result: dict[str, frozenset[Carrier]] = {}
    for gateway, names in found:
        of_gateway = frozenset(host.carrier for host in gateway.hosts)
        for name in names:
            result[name] = result.get(name, NOBODY) | of_gateway
    return {name: kept.same(("carriers", of_model), of_model) for name, of_model in result.items()}


def spaces(fleet: Fleet, found: Reaches, kept: Kept) -> tuple[Space, ...]:
    """Platform's, the tenants' that hold something, and every other that a model or gateway is in; by name."""
    models: dict[str, list[Model]] = defaultdict(list)
    for model in fleet.models:
        models[model.namespace].append(model)
    tenants = {tenant.namespace: tenant for tenant in fleet.tenants}
    theirs = clusters_namespaces(fleet.platform.argocd)
    asking = [(gateway, names, {host.carrier for host in gateway.hosts}) for gateway, names in found]

    def space(name: str, origin: Position) -> Space:
        own = models.get(name, [])
        names = frozenset(model.name for model in own)
        askers = [(gateway, carried) for gateway, led_to, carried in asking if names & led_to]
        return Space(
            name=name,
            is_ours=name not in theirs,
            tenant=tenants.get(name),
            origin=origin,
            has_models=bool(own),
            schemes=tuple(sorted({version.engine.model_path.scheme for model in own for version in model.versions})),
            gpu_resources=tuple(
                sorted({gpu_resource(m.pool) for m in own for version in m.versions if version.resources.gpu_count})
            ),
            mounts_node=any(_mounts_node(model, version) for model in own for version in model.versions),
            gateways=tuple(sorted({gateway.namespace for gateway, carried in askers if Carrier.ENVOY in carried})),
            gateway_api=tuple(
                sorted(slug(gateway.name) for gateway, carried in askers if Carrier.GATEWAY_API in carried)
            ),
            runs_gateway_api=any(g.namespace == name and Carrier.GATEWAY_API in carried for g, _, carried in asking),
            in_mesh=name not in theirs and any(Carrier.ISTIO in carried for _, carried in askers),
        )

    return tuple(kept.same(("space", name), space(name, at)) for name, at in sorted(_origins(fleet, models).items()))


def _mounts_node(model: Model, version: Version) -> bool:
    return version.engine.model_path.scheme is Scheme.HOST or cached(model, version) is not None


def _origins(fleet: Fleet, models: Mapping[str, list[Model]]) -> dict[str, Position]:
    origins = {fleet.platform.namespace: fleet.platform.origin}
    for tenant in fleet.tenants:
        if tenant.quota is not None or tenant.namespace in models:
            origins[tenant.namespace] = tenant.origin
    for namespace, of_namespace in models.items():
        origins.setdefault(namespace, of_namespace[0].origin)
    for gateway in fleet.gateways:
        origins.setdefault(gateway.namespace, gateway.origin)
    return origins


def _led_to(found: tuple[Route, ...], kept: Kept) -> frozenset[str]:
    return frozenset(kept.chained(_of_route, found))


def _of_route(route: Route) -> frozenset[str]:
    chosen = (backend.model.name for share in route.shares for backend in share.backends)
    return frozenset((*chosen, *(mirror.model.name for mirror in route.mirrors)))
