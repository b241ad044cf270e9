"""GPUPool policies to the fleet's pools, and the pool of each model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from compiler.decode import Policies, Policy
from compiler.diagnostics import Diagnostic, Position, error
from compiler.fleet import Node, Pool, PoolStrategy, Queue, Sharing, SharingMode, ShmCache, slug
from compiler.kept import Kept
from compiler.kinds import GPUPool, InferenceModel
from compiler.kinds.gpu_pool import NodeSpec
from compiler.link.platform import Settings, catalogued
from compiler.link.references import dangling

_QUEUES_OF_VOLCANO = ("default", "root")
_OF_OTHER_NODES = "default"
"""What the device plugin's settings for nodes without the label are called."""
_SLICE = "-MIG-"
"""Part of a slice's `nvidia.com/gpu.product`: NVIDIA-A100-SXM4-80GB-MIG-1g.10gb."""
_CUT_BY_REPLICAS = (SharingMode.TIME_SLICING, SharingMode.MPS)


@dataclass(frozen=True, slots=True)
class Pools:
    valid: tuple[Pool, ...]
    """Sorted by name."""
    names: frozenset[str]
    """Of the invalid ones too."""


def pools(policies: Policies, platform: Settings, kept: Kept, found: list[Diagnostic]) -> Pools:
    unfit: list[Diagnostic] = []
    valid = tuple(kept.reported(unfit, _pool, policy, platform) for policy in policies.of(GPUPool).values())
    found.extend(unfit if policies.platform_known else ())
    _check_names(policies, found)
    return kept.same("pools", Pools(valid, policies.names[GPUPool]))


def pool_of(policy: Policy[InferenceModel], has_gpus: bool, among: Pools, found: list[Diagnostic]) -> Pool | None:
    """The pool that the model names, or the only one; reports P203 and P113."""
    name, by_name = policy.body.spec.pool, {pool.name: pool for pool in among.valid}
    if name is not None:
        if name not in among.names:
            found.append(dangling("spec.pool", "GPUPool", name, policy.at("spec", "pool"), among.names))
        return by_name.get(name)
    if not has_gpus or not among.names:
        return None
    if len(among.names) > 1:
        said = "'spec.pool' is missing: there are several pools"
        found.append(error("P113", policy.at("spec"), said, f"one of {', '.join(sorted(among.names))}"))
        return None
    return next(iter(among.valid), None)


def _pool(policy: Policy[GPUPool], platform: Settings, found: list[Diagnostic]) -> Pool:
    spec, metadata = policy.body.spec, policy.body.metadata
    pool = Pool(
        name=metadata.name,
        nodes=tuple(
            node
            for index, nodes in enumerate(spec.nodes)
            for node in _nodes(nodes, policy.at("spec", "nodes", index, "gpuType"), index, platform, found)
        ),
        strategy=PoolStrategy(spec.strategy),
        queue=None if spec.queue is None else Queue(spec.queue.weight, spec.queue.reclaimable),
        sharing=Sharing(SharingMode(spec.sharing.mode), spec.sharing.overcommit_ratio),
        shm_cache=ShmCache(spec.shm_cache.size, spec.shm_cache.path),
        labels=tuple(sorted(metadata.labels.items())),
        annotations=tuple(sorted(metadata.annotations.items())),
        origin=policy.at("metadata", "name"),
    )
    found.extend(_sharing_problems(pool, policy))
    if pool.queue is not None and slug(pool.name) in _QUEUES_OF_VOLCANO:
        said = f"'{pool.name}' is no name: Volcano has a queue of its own called so"
        found.append(error("P115", pool.origin, said, "another name"))
    if pool.sharing.mode in _CUT_BY_REPLICAS and slug(pool.name) == _OF_OTHER_NODES:
        said = f"'{pool.name}' is no name: nodes of no such pool have the device plugin's settings called so"
        found.append(error("P115", pool.origin, said, "another name"))
    return pool


def _nodes(spec: NodeSpec, place: Position, index: int, platform: Settings, found: list[Diagnostic]) -> Iterator[Node]:
    gpu = catalogued(f"spec.nodes[{index}].gpuType", spec.gpu_type, place, platform, found)
    for name in node_names(spec):
        yield Node(
            name=name,
            zone=spec.zone,
            gpu_product=gpu.product,
            gpu_memory_gib=gpu.memory_gib,
            gpus=spec.gpu_count,
            cpu=spec.cpu,
            memory=spec.memory,
            labels=tuple(sorted(spec.labels.items())),
            spot=spec.spot,
        )


def node_names(spec: NodeSpec) -> tuple[str, ...]:
    return (spec.name,) if spec.count == 1 else tuple(f"{spec.name}-{n}" for n in range(spec.count))


def _sharing_problems(pool: Pool, policy: Policy[GPUPool]) -> Iterator[Diagnostic]:
    """P221, and P240 for what a mode cannot do."""
    mode, ratio = pool.sharing.mode, pool.sharing.overcommit_ratio
    place, shown = policy.either(("spec", "sharing"), "overcommitRatio", "mode"), f"{ratio:g}"
    if mode in (SharingMode.NONE, SharingMode.MIG):
        if ratio > 1:
            without = "sharing" if mode is SharingMode.NONE else "shares: slices are cut in hardware"
            hint = "whole GPUs cannot be overcommitted" if mode is SharingMode.NONE else "gpuCount counts the slices"
            yield error("P221", place, f"overcommitRatio {shown} without {without}", hint)
    elif pool.queue is None and mode is SharingMode.VGPU:
        said = "sharing.mode vgpu needs a queue: Volcano gives the parts out"
        yield error("P240", policy.at("spec", "sharing", "mode"), said, "queue: {}")
    elif pool.queue is None and ratio != pool.sharing.shares:
        said = (
            f"overcommitRatio {shown} needs a queue: each GPU has {pool.sharing.shares} shares, and nothing counts them"
        )
        yield error("P240", place, said, f"overcommitRatio: {pool.sharing.shares}, or queue: {{}}")
    elif ratio == 1 and mode in _CUT_BY_REPLICAS:
        said = f"sharing.mode {mode} with overcommitRatio 1 shares nothing"
        yield error("P240", place, said, "overcommitRatio: 2, or mode: none")
    whole = sorted({node.gpu_product for node in pool.nodes if _SLICE not in node.gpu_product})
    if mode is SharingMode.MIG and whole:
        said = f"sharing.mode mig: {whole[0]} is a whole GPU, not a slice"
        hint = "Platform.gpuCatalogue: {label: NVIDIA-A100-SXM4-80GB-MIG-1g.10gb, memoryGiB: 10}"
        yield error("P240", policy.at("spec", "sharing", "mode"), said, hint)


def _check_names(policies: Policies, found: list[Diagnostic]) -> None:
    """No two pools become one object, and no node is in two places."""
    slugs: dict[str, str] = {}
    nodes: dict[str, Position] = {}
    for policy in policies.of(GPUPool).values():
        name, place = policy.body.metadata.name, policy.at("metadata", "name")
        other = slugs.setdefault(slug(name), name)
        if other != name:
            said = f"'{other}' and '{name}' both become {slug(name)}"
            found.append(error("P207", place, said, "names that differ in more than - and ."))
        for index, spec in enumerate(policy.body.spec.nodes):
            place = policy.at("spec", "nodes", index, "name")
            for node in node_names(spec):
                first = nodes.setdefault(node, place)
                if first is not place:
                    found.append(error("P204", place, f"node '{node}' twice, first at {first}", "another name"))
                    break
