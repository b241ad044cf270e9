"""Whether pools hold what is to run in them: GPUs, cores and memory of each node, a zone less, caches, shares."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

from compiler.diagnostics import Diagnostic, error, info, warning
from compiler.fleet import Fleet, Model, Pool, SharingMode, Version, weights_on_disk
from compiler.kept import Kept
from compiler.prove.needs import Needs, needs, steady
from compiler.prove.packing import Packing, Room, fits_one_more, pack

_GIB = 2**30
_SHOWN = 5
"""Of what has no room."""
_WITHOUT_WALLS = (SharingMode.TIME_SLICING, SharingMode.MPS)


def findings(fleet: Fleet, kept: Kept) -> Iterator[Diagnostic]:
    if fleet.pools:
        by_pool: dict[str, list[Needs]] = defaultdict(list)
        for model, own in zip(fleet.models, kept.each(needs, fleet.models), strict=True):
            if model.pool is not None:
                by_pool[model.pool.name].extend(own)
        for pool in fleet.pools:
            # Most edits leave the needs as they are, and packing takes long.
            asked = kept.same(("needs", pool.name), tuple(by_pool[pool.name]))
            yield from kept.of(_of_pool, pool, asked)


def of_model(model: Model) -> tuple[Diagnostic, ...]:
    found = []
    for version in model.versions:
        if version.cold_start.preload and model.pool is None:
            said = f"{model.name}: no pool keeps its weights"
            found.append(error("P411", version.origin, said, "a GPUPool"))
        elif version.cold_start.preload and model.pool and weights_on_disk(version.engine) is None:
            found.append(_of_unknown_size(model.name, version, model.pool))
        mode = SharingMode.NONE if model.pool is None else model.pool.sharing.mode
        if mode not in (SharingMode.NONE, SharingMode.VGPU) and version.resources.gpu_count > 1:
            what = "slices" if mode is SharingMode.MIG else "shares"
            said = f"{model.name}: {version.resources.gpu_count} {what} are not {version.resources.gpu_count} GPUs"
            found.append(error("P445", version.origin, said, "gpuCount: 1, or a pool with sharing: {mode: none}"))
    return tuple(found)


def _of_unknown_size(name: str, version: Version, pool: Pool) -> Diagnostic:
    said = f"size of {name} unknown"
    if pool.shm_cache.size is None:
        said = f"{said}, and so what {pool.name} keeps"
        return error("P411", version.origin, said, "config.parameters, or the pool's shmCache: {size: …}")
    return info("P405", version.origin, said, "config.parameters")


def _of_pool(pool: Pool, asked: tuple[Needs, ...]) -> tuple[Diagnostic, ...]:
    return (*_caches(pool, asked), *_memory_of_shares(pool, asked), *_labels(pool), *_room(pool, asked))


def _caches(pool: Pool, asked: Sequence[Needs]) -> Iterator[Diagnostic]:
    """P411, once: of the node that would have to keep most."""
    if pool.shm_cache.size is None:
        return
    keepers = [need for need in asked if need.weights]
    kept = max(sum(need.weights for need in keepers if need.on(node)) for node in pool.nodes)
    if kept > pool.shm_cache.size:
        said = f"cache of {pool.name}: {kept / _GIB:.1f} of {pool.shm_cache.size / _GIB:g} GiB"
        yield error("P411", pool.origin, said, f"shmCache: {{size: {-(-kept // _GIB)}Gi}}")


def _memory_of_shares(pool: Pool, asked: Sequence[Needs]) -> Iterator[Diagnostic]:
    """P446: engines that share a GPU without walls fill it together."""
    if pool.sharing.mode not in _WITHOUT_WALLS:
        return
    shares = pool.sharing.shares
    wanted = sorted(
        ((need.utilization, need.what) for need in asked if need.product for _ in range(need.instances)), reverse=True
    )
    together = wanted[:shares]
    percent = round(100 * sum(share for share, _ in together))
    if pool.sharing.mode is SharingMode.MPS:
        # Each client may have its part and no more, whoever else is there.
        percent = round(100 * shares * max((share for share, _ in wanted), default=0))
        together = together[:1]
    if percent > 100:
        names = ", ".join(f"{what} {share:.0%}".replace("%", " %") for share, what in together)
        said = f"{pool.name}: {shares} instances on one GPU take {percent} % of its memory: {names}"
        yield error("P446", pool.origin, said, f"config: {{gpuMemoryUtilization: {int(100 / shares) / 100:g}}}")


def _labels(pool: Pool) -> Iterator[Diagnostic]:
    """P418 where labels that find steady nodes find spot ones too."""
    spot = [node for node in pool.nodes if node.spot and node.labels]
    for node in pool.nodes:
        if not node.spot and node.labels:
            same = next((other for other in spot if set(node.labels) <= set(other.labels)), None)
            if same is not None:
                said = f"spot nodes carry what belongs on {node.name}: {same.name} has its labels too"
                yield error("P418", pool.origin, said, "a label that says which are spot")
                return


def _room(pool: Pool, asked: Sequence[Needs]) -> Iterator[Diagnostic]:
    rooms, most = _rooms(pool, asked), pool.sharing.of_all(pool.gpus)
    demands = tuple(demand for need in asked for demand in need.demands)
    packing = pack(rooms, demands, most)
    if not packing.left:
        yield from _surge(pool, asked, packing)
        yield from _highest_load(pool, asked, rooms, most)
        yield from _zones(pool, asked, rooms)
    elif pack(rooms, [replace(demand, spot=True) for demand in demands], most).left:
        said = f"{pool.name} lacks {_amount(pool, packing.gpus_left)}: {_listed(packing)}"
        yield error("P404", pool.origin, said, "more nodes, or fewer replicas")
    else:
        said = f"spot nodes carry {_listed(packing, why=False)}"
        yield error("P418", pool.origin, said, "more nodes that stay; spot is for warm and cold standbys")


def _surge(pool: Pool, asked: Sequence[Needs], packing: Packing) -> Iterator[Diagnostic]:
    """A rollout starts the new instance before it stops an old one."""
    ones = (replace(need.active, count=1) for need in asked if need.active.count)
    waiting = [one for one in ones if not fits_one_more(packing, one)]
    if waiting:
        amount = _amount(pool, max(one.gpus for one in waiting))
        names = _cut([one.what for one in waiting], len(waiting))
        said = f"{pool.name} lacks {amount} for a new instance beside the old: {names}"
        yield warning("P404", pool.origin, said, "a rollout of these waits for room")


def _highest_load(pool: Pool, asked: Sequence[Needs], rooms: Sequence[Room], most: int) -> Iterator[Diagnostic]:
    """With as many active instances as autoscalers may ask for, all at once."""
    if all(need.most == need.active.count for need in asked):
        return
    full = [replace(need.active, count=need.most) for need in asked]
    packing = pack(rooms, [*full, *(demand for need in asked for demand in need.standbys)], most)
    if packing.left:
        said = f"{pool.name} lacks {_amount(pool, packing.gpus_left)} for maxReplicas: {_listed(packing)}"
        yield warning("P404", pool.origin, said, "a lower maxReplicas, or more nodes")


def _zones(pool: Pool, asked: Sequence[Needs], rooms: Sequence[Room]) -> Iterator[Diagnostic]:
    """With any zone lost, what is promised must run, and it is told what else would not."""
    lost: dict[tuple[bool, str, int], list[str]] = {}
    for zone in sorted({room.zone for room in rooms}):
        others = [room for room in rooms if room.zone != zone]
        most = pool.sharing.of_all(sum(node.gpus for node in pool.nodes if node.zone != zone))
        promised = [demand for need in asked if need.promised for demand in steady(need, zone)]
        everything = [demand for need in asked for demand in steady(need, zone)]
        for demands, breaks in ((promised, True), (everything, False)) if others else ():
            packing = pack(others, demands, most)
            if packing.left:
                lost.setdefault((breaks, _listed(packing), packing.gpus_left), []).append(zone)
                break
    for (breaks, listed, gpus), zones in lost.items():
        said = f"{pool.name} lacks {_amount(pool, gpus)}, {' or '.join(zones)} lost: {listed}"
        yield (error if breaks else warning)("P404", pool.origin, said, "more nodes in other zones")


def _rooms(pool: Pool, asked: Sequence[Needs]) -> list[Room]:
    keepers = [need for need in asked if need.reserved]
    return [
        Room(
            name=node.name,
            zone=node.zone,
            product=node.gpu_product,
            spot=node.spot,
            gpus=node.gpus * pool.sharing.shares,
            cpu=node.cpu - sum(need.filler_cpu for need in keepers if need.on(node)),
            memory=node.memory - sum(need.reserved for need in keepers if need.on(node)),
        )
        for node in pool.nodes
    ]


def _amount(pool: Pool, gpus: int) -> str:
    if not gpus:
        return "room"
    unit = "GPU" if pool.sharing.shares == 1 else "share"
    return f"{gpus} {unit}" if gpus == 1 else f"{gpus} {unit}s"


def _listed(packing: Packing, why: bool = True) -> str:
    shown = [
        f"{left.waiting} of {left.demand.count} × {left.demand.what}"
        + (f" ({packing.why(left.demand)})" if why else "")
        for left in packing.left[:_SHOWN]
    ]
    return _cut(shown, len(packing.left))


def _cut(shown: list[str], count: int) -> str:
    more = [f"and {count - _SHOWN} more"] if count > _SHOWN else []
    return ", ".join([*shown[:_SHOWN], *more])
