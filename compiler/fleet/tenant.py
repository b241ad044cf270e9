"""Who asks, as far as workloads are concerned: a namespace, and how many GPUs may run in it."""

from __future__ import annotations

from dataclasses import dataclass

from compiler.diagnostics import Position


@dataclass(frozen=True, slots=True)
class GpuQuota:
    gpus: int
    """Of all instances that run at a time, standbys too."""
    origin: Position


@dataclass(frozen=True, slots=True)
class Tenant:
    name: str
    namespace: str
    """Of the models that are this tenant's alone, and of nothing else."""
    quota: GpuQuota | None
    """None: as many as there are."""
    labels: tuple[tuple[str, str], ...]
    annotations: tuple[tuple[str, str], ...]
    origin: Position
