"""How many GPUs instances hold, how many nodes have, and what they cost: by product, before and after."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from compiler.catalogue import GPUS
from compiler.fleet import Fleet, Model
from compiler.prove.needs import needs

COST_UNIT = 16
"""GiB of GPU memory: what the smallest GPU of the catalogue has. Policy knows no prices; by this measure a GPU costs as
much more than another as it holds more."""


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
    memory_gib: int
    """Of one; 0 where nobody has said it."""
    before: GpuCount
    after: GpuCount

    @property
    def units(self) -> float:
        """What one costs, in cost units."""
        return self.memory_gib / COST_UNIT


@dataclass(frozen=True, slots=True)
class Cost:
    """Of all GPUs that instances hold, in cost units."""

    steady: float
    most: float


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
    memory = {gpu.product: gpu.memory_gib for gpu in GPUS.values()}
    return tuple(Gpus(p, memory.get(p, 0), one.get(p, none), other.get(p, none)) for p in sorted({*one, *other}))


def costs(gpus: Iterable[Gpus]) -> tuple[Cost, Cost]:
    """Before and after."""
    listed = tuple(gpus)
    sides = ([(of.units, of.before) for of in listed], [(of.units, of.after) for of in listed])
    before, after = (Cost(sum(u * c.steady for u, c in side), sum(u * c.most for u, c in side)) for side in sides)
    return before, after


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
