"""Where a pool puts its pods: on which nodes, beside which others, by which scheduler, with how much of a GPU."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from compiler.fleet import Model, Node, Pool, PoolStrategy, Resources, SharingMode, Tier, Version, slug

GPU = "nvidia.com/gpu"
SHARED_GPU = "nvidia.com/gpu.shared"
"""As the device plugin calls shares that it renames: a pod that asks for a whole GPU cannot get a share by mistake."""
VGPU, VGPU_MEMORY, VGPU_CORES = "volcano.sh/vgpu-number", "volcano.sh/vgpu-memory", "volcano.sh/vgpu-cores"

_POOL_LABEL = "turnout.dev/pool"
_SIZE_LABEL = "turnout.dev/gpus"
_HOSTNAME = "kubernetes.io/hostname"
_PREFERENCE = 50
"""Of 1-100: as much as to matter, and less than another preference may."""
_DRIVER_LEAVES = 92
"""Percent of a GPU's memory by its maker's count that drivers report at the least: an L4 of 24 GiB has 22.5."""
_SPOT_TAINTS = ("cloud.google.com/gke-spot", "kubernetes.azure.com/scalesetpriority")
_STEADY = (Tier.ACTIVE, Tier.HOT)
"""Tiers that a node which may be taken away must not carry."""


def gpu_resource(pool: Pool | None) -> str:
    match SharingMode.NONE if pool is None else pool.sharing.mode:
        case SharingMode.TIME_SLICING | SharingMode.MPS:
            return SHARED_GPU
        case SharingMode.VGPU:
            return VGPU
        case _:
            return GPU


def gpu_request(pool: Pool | None, resources: Resources) -> dict[str, str]:
    """What an instance asks for, request and limit alike."""
    if not resources.gpu_count:
        return {}
    asked = {gpu_resource(pool): str(resources.gpu_count)}
    if pool is None or pool.sharing.mode is not SharingMode.VGPU or pool.sharing.shares == 1:
        return asked
    shares = pool.sharing.shares
    return {**asked, VGPU_MEMORY: str(_mebibytes(pool, resources) // shares), VGPU_CORES: str(100 // shares)}


def pool_labels(model: Model, version: Version) -> dict[str, str]:
    """Of a pod: by these the pool's strategy finds the others."""
    if model.pool is None:
        return {}
    return {_POOL_LABEL: slug(model.pool.name), _SIZE_LABEL: str(version.resources.gpu_count)}


def pool_annotations(model: Model) -> dict[str, str]:
    """Of a pod. Volcano makes the PodGroup: of one pod at least, for a replica serves without the others.

    https://github.com/volcano-sh/volcano/blob/master/pkg/controllers/podgroup/pg_controller_handler.go
    """
    pool = model.pool
    if pool is None or pool.queue is None:
        return {}
    mode = {"volcano.sh/vgpu-mode": "hami-core"} if pool.sharing.mode is SharingMode.VGPU else {}
    return {"scheduling.volcano.sh/queue-name": slug(pool.name), **mode}


def in_pool(placement: Mapping[str, Any], model: Model, version: Version, tier: Tier) -> dict[str, Any]:
    """`placement`, fields of a pod's spec, and what the model's pool adds."""
    pool = model.pool
    if pool is None:
        return dict(placement)
    affinity = on_nodes(placement.get("affinity", {}), nodes_for(pool, model, version, (tier,)))
    if spot_tolerations(pool, (tier,)):
        affinity = _rather_spot(affinity, tuple(node for node in pool.nodes if node.spot))
    if version.resources.gpu_count:
        affinity = _beside(affinity, pool, version)
    scheduler = {"schedulerName": "volcano"} if pool.queue else {}
    tolerations = [*placement.get("tolerations", ()), *spot_tolerations(pool, (tier,))]
    return {**placement, **scheduler, **({"tolerations": tolerations} if tolerations else {}), "affinity": affinity}


def spot_tolerations(pool: Pool, tiers: Iterable[Tier]) -> list[dict[str, Any]]:
    """For the taints that providers put on such nodes, of pods that may be lost."""
    if not any(node.spot for node in pool.nodes) or all(tier in _STEADY for tier in tiers):
        return []
    return [{"key": key, "operator": "Exists", "effect": "NoSchedule"} for key in _SPOT_TAINTS]


def zones_of(model: Model, tier: Tier) -> tuple[str, ...]:
    """Empty: all."""
    if tier is not Tier.ACTIVE and model.zones.standby is not None:
        return (model.zones.standby,)
    return model.zones.active


def nodes_for(pool: Pool, model: Model, version: Version, tiers: Iterable[Tier]) -> tuple[Node, ...]:
    """Those with the version's GPU where some of `tiers` may run. All where none fits: that is an error already (P404),
    and a pod must be valid all the same."""
    product = version.resources.gpu_product if version.resources.gpu_count else None
    allowed = [(zones_of(model, tier), tier in _STEADY) for tier in tiers]
    fitting = tuple(
        node
        for node in pool.nodes
        if product in (None, node.gpu_product)
        and any((not zones or node.zone in zones) and not (steady and node.spot) for zones, steady in allowed)
    )
    return fitting or pool.nodes


def on_nodes(affinity: Mapping[str, Any], nodes: tuple[Node, ...]) -> dict[str, Any]:
    """`affinity`, whose node terms each ask for one of `nodes` as well."""
    node_affinity = affinity.get("nodeAffinity", {})
    required = node_affinity.get("requiredDuringSchedulingIgnoredDuringExecution", {})
    terms = [
        {"matchExpressions": [*own, *term.get("matchExpressions", ())]}
        for term in required.get("nodeSelectorTerms", [{}])
        for own in _node_terms(nodes)
    ]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    return {**affinity, "nodeAffinity": {**node_affinity, **required}}


def _rather_spot(affinity: Mapping[str, Any], spot: tuple[Node, ...]) -> dict[str, Any]:
    """Nodes that stay are for those that must."""
    node_affinity, key = affinity.get("nodeAffinity", {}), "preferredDuringSchedulingIgnoredDuringExecution"
    terms = [{"weight": _PREFERENCE, "preference": {"matchExpressions": term}} for term in _node_terms(spot)]
    return {**affinity, "nodeAffinity": {**node_affinity, key: [*node_affinity.get(key, ()), *terms]}}


def _node_terms(nodes: tuple[Node, ...]) -> list[list[dict[str, Any]]]:
    """One term for each set of labels, and one for all nodes known by name."""
    labelled = dict.fromkeys(node.labels for node in nodes if node.labels)
    terms = [[_in(key, value) for key, value in labels] for labels in labelled]
    names = [node.name for node in nodes if not node.labels]
    return [*terms, [_in(_HOSTNAME, *names)]] if names else terms


def _in(key: str, *values: str) -> dict[str, Any]:
    return {"key": key, "operator": "In", "values": list(values)}


def _beside(affinity: Mapping[str, Any], pool: Pool, version: Version) -> dict[str, Any]:
    """A preference, for both schedulers: what fills nodes must not keep a pod from running."""
    own = {_POOL_LABEL: slug(pool.name)}
    if pool.strategy is PoolStrategy.AFFINITY:
        own = {**own, _SIZE_LABEL: str(version.resources.gpu_count)}
    # All namespaces: a tenant's pods fill the same nodes.
    term = {"topologyKey": _HOSTNAME, "labelSelector": {"matchLabels": own}, "namespaceSelector": {}}
    side = "podAntiAffinity" if pool.strategy is PoolStrategy.SPREAD else "podAffinity"
    existing = affinity.get(side, {})
    key = "preferredDuringSchedulingIgnoredDuringExecution"
    preferred = [*existing.get(key, ()), {"weight": _PREFERENCE, "podAffinityTerm": term}]
    return {**affinity, side: {**existing, key: preferred}}


def _mebibytes(pool: Pool, resources: Resources) -> int:
    products = ((node.gpu_product, node.gpu_memory_gib) for node in pool.nodes)
    of_one = next((memory for product, memory in products if product == resources.gpu_product), 0)
    return of_one * 1024 * _DRIVER_LEAVES // 100
