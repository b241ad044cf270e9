"""How many GPUs instances hold, and how many nodes have: by product, before and after."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from compiler.fleet import Fleet, Model
from compiler.prove.needs import needs


@dataclass(frozen=True, slots=True)
class GpuCount:
    """Of one product, in GPUs."""

    steady: int
    """Held by the fewest active instances, and by the standbys that hold some."""
    most: int
    """With every autoscaler at its limit and every standby promoted."""
    nodes: int
    """Of all pools."""


@dataclass(frozen=True, slots=True)
class Gpus:
    product: str
    """The nodes' label: `NVIDIA-A100-SXM4-80GB`."""
    before: GpuCount
    after: GpuCount


@dataclass(frozen=True, slots=True)
class Instances:
    """Of one version of a model."""

    model: str
    version: str
    product: str
    """Empty where an instance takes no GPU."""
    gpus: int
    """Of one instance."""
    active: int
    """The fewest."""
    most: int
    """Active at the highest load."""
    hot: int
    warm: int
    cold: int


def gpu_counts(before: Fleet, after: Fleet) -> tuple[Gpus, ...]:
    """Every product that either fleet has or asks for, changed or not."""
    one, other = _counts(before), _counts(after)
    none = GpuCount(0, 0, 0)
    return tuple(Gpus(p, one.get(p, none), other.get(p, none)) for p in sorted({*one, *other}))


def instances(model: Model) -> tuple[Instances, ...]:
    return tuple(
        Instances(
            model=model.name,
            version=v.name,
            product=v.resources.gpu_product if v.resources.gpu_count else "",
            gpus=v.resources.gpu_count,
            active=v.replicas,
            most=v.most_active,
            hot=v.hot,
            warm=v.warm,
            cold=v.cold,
        )
        for v in model.versions
    )


def _counts(fleet: Fleet) -> dict[str, GpuCount]:
    steady, most, nodes = Counter[str](), Counter[str](), Counter[str]()
    for need in (need for model in fleet.models for need in needs(model) if need.product):
        steady[need.product] += sum(demand.count * demand.gpus for demand in need.demands)
        most[need.product] += need.instances * need.active.gpus
    for node in (node for pool in fleet.pools for node in pool.nodes):
        nodes[node.gpu_product] += node.gpus
    return {p: GpuCount(steady[p], most[p], nodes[p]) for p in {*steady, *most, *nodes}}
