"""GPU pools: nodes, and how instances come to share them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from math import ceil, floor

from compiler.diagnostics import Position


class PoolStrategy(StrEnum):
    BINPACK = "binpack"
    SPREAD = "spread"
    AFFINITY = "affinity"


class SharingMode(StrEnum):
    NONE = "none"
    TIME_SLICING = "timeSlicing"
    MPS = "mps"
    MIG = "mig"
    VGPU = "vgpu"


@dataclass(frozen=True, slots=True)
class Node:
    name: str
    """Its `kubernetes.io/hostname`, unless it is found by `labels`."""
    zone: str
    gpu_product: str
    """Its label `nvidia.com/gpu.product`."""
    gpu_memory_gib: int
    """Of one GPU, as its maker counts."""
    gpus: int
    cpu: int
    """Thousandths of a core that pods may have."""
    memory: int
    """Bytes that pods may have."""
    labels: tuple[tuple[str, str], ...]
    """By which it is found, sorted. Empty: by its name."""
    spot: bool
    """Whether it may be taken away at any time."""


@dataclass(frozen=True, slots=True)
class Queue:
    weight: int
    """Beside other queues that want more than there is, from 1."""
    reclaimable: bool


@dataclass(frozen=True, slots=True)
class Sharing:
    mode: SharingMode
    overcommit_ratio: float
    """Instances for each GPU, on average over the pool, from 1."""

    @property
    def shares(self) -> int:
        """Into how many each GPU is cut."""
        return ceil(self._ratio)

    def of_all(self, gpus: int) -> int:
        """How many instances of one GPU may run on `gpus` of them."""
        return floor(gpus * self._ratio)

    @property
    def _ratio(self) -> Fraction:
        return Fraction(str(self.overcommit_ratio))


@dataclass(frozen=True, slots=True)
class ShmCache:
    size: int | None
    """Bytes of each node's memory at most; 0 is none. None: what the weights that are kept take."""
    path: str
    """On the node."""


@dataclass(frozen=True, slots=True)
class Pool:
    name: str
    nodes: tuple[Node, ...]
    """In policy order; at least one."""
    strategy: PoolStrategy
    queue: Queue | None
    """Volcano's; None where Kubernetes' own scheduler places the pods."""
    sharing: Sharing
    shm_cache: ShmCache
    labels: tuple[tuple[str, str], ...]
    """The owner's own, sorted; on every object of the pool."""
    annotations: tuple[tuple[str, str], ...]
    origin: Position

    @property
    def gpus(self) -> int:
        return sum(node.gpus for node in self.nodes)
