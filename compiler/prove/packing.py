"""Instances put on nodes, each on one, never more than a node has: the largest first, each where least is left.

A scheduler does no better: it takes pods as they come and moves none. So what finds no place here may find none there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from compiler.diagnostics import Position
from compiler.quantity import bytes_text, cores_text


@dataclass(frozen=True, slots=True)
class Room:
    """A node, with what is left of it."""

    name: str
    zone: str
    product: str
    spot: bool
    gpus: int
    """Or shares of them."""
    cpu: int
    memory: int


@dataclass(frozen=True, slots=True)
class Demand:
    """Instances that are alike."""

    what: str
    """`llama-70b 1.0`, `llama-70b 1.0 hot`."""
    count: int
    gpus: int
    """Of one, all on one node."""
    cpu: int
    memory: int
    product: str
    """Empty: any."""
    zones: tuple[str, ...]
    """Empty: any."""
    spot: bool
    """Whether they may be lost, and so may run on what may be taken away."""
    origin: Position


class Left(NamedTuple):
    """Instances without a place."""

    demand: Demand
    waiting: int
    why: str
    """What each node lacks: `2 nodes: other GPU, 1 node: 2 of 4 GPUs free`."""


class Packing(NamedTuple):
    placed: tuple[tuple[str, str], ...]
    """What, and on which node, for each instance."""
    left: tuple[Left, ...]
    rooms: tuple[Room, ...]
    """What is left of each node."""
    most: int
    """GPUs or shares that may still be taken in all."""

    @property
    def gpus_left(self) -> int:
        return sum(left.waiting * left.demand.gpus for left in self.left)


_Order = Callable[[Demand], tuple[object, ...]]
_ORDERS: tuple[_Order, ...] = (
    lambda d: (-d.gpus, len(d.zones) or 99, d.spot, -d.memory, -d.cpu, d.what),
    lambda d: (len(d.zones) or 99, d.spot, -d.gpus, -d.memory, -d.cpu, d.what),
    lambda d: (-d.memory, -d.gpus, -d.cpu, d.what),
    lambda d: (-d.cpu, -d.gpus, -d.memory, d.what),
)
"""Which of them finds room for all depends on what is short: GPUs, zones, memory or cores."""


def pack(rooms: Sequence[Room], demands: Iterable[Demand], most: int) -> Packing:
    """The packing that leaves the fewest GPUs unplaced; `most` GPUs or shares may be taken in all."""
    listed = tuple(demand for demand in demands if demand.count)
    best: Packing | None = None
    for order in _ORDERS:
        packing = _packed(rooms, sorted(listed, key=order), most)
        if not packing.left:
            return packing
        if best is None or _unplaced(packing) < _unplaced(best):
            best = packing
    assert best is not None
    return best


def fits_one_more(packing: Packing, one: Demand) -> bool:
    """Whether there is room beside what `packing` has placed, where that stands."""
    return one.gpus <= packing.most and any(not (_misfit(room, one) or _shortage(room, one)) for room in packing.rooms)


def _unplaced(packing: Packing) -> tuple[int, int]:
    return packing.gpus_left, sum(left.waiting for left in packing.left)


def _packed(rooms: Sequence[Room], demands: Sequence[Demand], most: int) -> Packing:
    free = {room.name: room for room in rooms}
    placed: list[tuple[str, str]] = []
    left: list[Left] = []
    for demand in demands:
        waiting = demand.count
        # Spot first where that may be, then fewest free GPUs, then the name: the same every time. What is filled only
        # becomes fuller.
        for room in sorted((room for room in free.values() if not _misfit(room, demand)), key=_fullest):
            while waiting and demand.gpus <= most and not _shortage(free[room.name], demand):
                free[room.name] = _without(free[room.name], demand)
                most, waiting = most - demand.gpus, waiting - 1
                placed.append((demand.what, room.name))
        if waiting:
            left.append(Left(demand, waiting, _reasons(free.values(), demand, most)))
    return Packing(tuple(placed), tuple(left), tuple(free.values()), most)


def _without(room: Room, demand: Demand) -> Room:
    gpus, cpu, memory = room.gpus - demand.gpus, room.cpu - demand.cpu, room.memory - demand.memory
    return replace(room, gpus=gpus, cpu=cpu, memory=memory)


def _fullest(room: Room) -> tuple[bool, int, str]:
    return not room.spot, room.gpus, room.name


def _misfit(room: Room, demand: Demand) -> str:
    """Why the node is out of the question for such instances, however empty it is."""
    if demand.product not in ("", room.product):
        return "other GPU"
    if demand.zones and room.zone not in demand.zones:
        return "other zone"
    return "spot" if room.spot and not demand.spot else ""


def _shortage(room: Room, demand: Demand) -> str:
    if room.gpus < demand.gpus:
        return f"{room.gpus} of {demand.gpus} GPUs free"
    if room.memory < demand.memory:
        return f"{_gibibytes(room.memory)} of {_gibibytes(demand.memory)} memory free"
    if room.cpu < demand.cpu:
        return f"{cores_text(room.cpu)} of {cores_text(demand.cpu)} cores free"
    return ""


def _reasons(rooms: Iterable[Room], demand: Demand, most: int) -> str:
    counted = Counter(_misfit(room, demand) or _shortage(room, demand) for room in rooms)
    if counted[""]:
        return f"{most} shares are left of all"
    return ", ".join(f"{n} {'node' if n == 1 else 'nodes'}: {why}" for why, n in sorted(counted.items()))


def _gibibytes(size: int) -> str:
    return bytes_text(size // 2**30 * 2**30) if size >= 2**30 else bytes_text(max(size, 0))
