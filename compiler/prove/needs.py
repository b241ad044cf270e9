"""What a model's versions ask of its pool: instances by tier, and memory for weights that are kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from compiler.catalogue import SLEEPING_ENGINES
from compiler.diagnostics import Position
from compiler.fleet import FILLER_CPU, Model, Node, Tier, Version, asleep_memory, kept_memory, weights_on_disk
from compiler.prove.packing import Demand


@dataclass(frozen=True, slots=True)
class Needs:
    """Of one version."""

    what: str
    """`llama-70b 1.0`."""
    active: Demand
    standbys: tuple[Demand, ...]
    most: int
    """Active instances at the highest load."""
    cold: int
    """Standbys that hold no GPU before they are needed."""
    utilization: float
    """Share of a GPU's memory that an instance takes."""
    weights: int
    """Bytes that each of its nodes is to keep, as far as known."""
    reserved: int
    """Bytes of each of its nodes that the copy of the weights takes, its maker included."""
    filler_cpu: int
    product: str
    zones: tuple[str, ...]
    """Of all its tiers; empty: any."""
    standby_zone: str | None
    takes_requests: bool
    """Whether policy gives it any share of them."""
    promised: bool
    """Whether a DisasterRecovery says where or with what it survives."""
    origin: Position

    @property
    def demands(self) -> tuple[Demand, ...]:
        return (self.active, *self.standbys)

    @property
    def instances(self) -> int:
        """All that may run at a time."""
        return self.most + sum(demand.count for demand in self.standbys) + self.cold

    def on(self, node: Node) -> bool:
        """Whether the node keeps its weights and runs its instances."""
        return self.product in ("", node.gpu_product) and (not self.zones or node.zone in self.zones)


def needs(model: Model) -> tuple[Needs, ...]:
    return tuple(_of_version(model, version) for version in model.versions)


def _of_version(model: Model, version: Version) -> Needs:
    what, resources, zones = f"{model.name} {version.name}", version.resources, model.zones
    active = Demand(
        what=what,
        count=version.replicas,
        gpus=resources.gpu_count,
        cpu=resources.cpu,
        memory=resources.memory + resources.shm,
        product=resources.gpu_product if resources.gpu_count else "",
        zones=zones.active,
        spot=False,
        apart=version.has_standbys,
        origin=version.origin,
    )
    standby_zones = zones.active if zones.standby is None else (zones.standby,)
    asleep = version.engine.framework in SLEEPING_ENGINES
    # One that sleeps keeps its GPU: Kubernetes knows no half. Of those that wait for one, half may be promoted at once.
    warm = version.warm if asleep else -(-version.warm // 2)
    slept = asleep_memory(version.engine) if asleep else 0
    tiers = ((Tier.HOT, version.hot, False, 0), (Tier.WARM, warm, True, slept))
    pool, size = model.pool, weights_on_disk(version.engine)
    keeps = pool is not None and version.cold_start.preload
    return Needs(
        what=what,
        active=active,
        standbys=tuple(
            replace(
                active,
                what=f"{what} {tier}",
                count=count,
                memory=active.memory + memory,
                zones=standby_zones,
                spot=spot,
            )
            for tier, count, spot, memory in tiers
            if count
        ),
        most=version.most_active,
        cold=version.cold + version.warm - warm,
        utilization=version.engine.gpu_memory_utilization,
        weights=(size or 0) if keeps else 0,
        reserved=kept_memory(version.engine, pool.shm_cache) if pool is not None and keeps else 0,
        filler_cpu=FILLER_CPU if keeps else 0,
        product=active.product,
        zones=(*zones.active, *standby_zones) if zones.active else (),
        standby_zone=zones.standby,
        takes_requests=version.weight > 0,
        promised=bool(version.hot or version.warm or version.cold or zones.active or zones.standby),
        origin=version.origin,
    )


def steady(need: Needs, lost: str) -> Iterator[Demand]:
    """What must run with a zone lost: as many instances as before, of what takes requests. Standbys stand in."""
    others = tuple(zone for zone in need.active.zones if zone != lost)
    elsewhere = bool(others) or not need.active.zones
    if not need.takes_requests:
        return
    if need.standby_zone is None or lost == need.standby_zone:
        if elsewhere:
            yield need.active  # standbys without a zone of their own are among as many
        return
    running = sum(demand.count for demand in need.standbys)
    yield from need.standbys
    missing = max(0, need.active.count - running)
    # A cold standby starts in its zone, another active instance in those that are left, if there are any; each beside
    # others of its own, which are counted in the other tier.
    zones = (*others, need.standby_zone) if need.active.zones else ()
    started = min(missing, need.cold)
    yield replace(need.active, count=started, zones=zones, apart=False)
    if elsewhere:
        yield replace(need.active, count=missing - started, zones=others, apart=False)
