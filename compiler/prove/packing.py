"""Instances put on nodes, each on one, never more than a node has: the largest first, each where least is left.

A scheduler does no better: it takes pods as they come and moves none. So what finds no place here may find none there.
"""

from __future__ import annotations

import heapq
from bisect import insort
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
    apart: bool
    """Whether no zone and no node may have more than one more of them than another that they may run on has. They wait
    rather, as topologySpreadConstraints of maxSkew 1 and DoNotSchedule say."""
    origin: Position


class Left(NamedTuple):
    """Instances without a place."""

    demand: Demand
    waiting: int


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

    def why(self, demand: Demand) -> str:
        """What each node lacks for one more: `2 nodes: other GPU, 1 node: 2 of 4 GPUs free`."""
        apart = _Apart(self.rooms, demand, (node for what, node in self.placed if what == demand.what))
        counted = Counter(_misfit(room, demand) or _shortage(room, demand) or apart.why(room) for room in self.rooms)
        if counted[""]:
            return f"{self.most} shares are left of all"
        return ", ".join(f"{n} {'node' if n == 1 else 'nodes'}: {why}" for why, n in sorted(counted.items()))


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
    shelves = _Shelves(rooms)
    placed: list[tuple[str, str]] = []
    left: list[Left] = []
    for demand in demands:
        if demand.apart:
            nodes = _placed_apart(shelves, demand, most)
            placed += ((demand.what, node) for node in nodes)
            most, waiting = most - demand.gpus * len(nodes), demand.count - len(nodes)
            left += [Left(demand, waiting)] if waiting else []
            continue
        waiting = demand.count
        while waiting and demand.gpus <= most and (room := shelves.fullest(demand)) is not None:
            # What is filled only becomes fuller: it stays the first choice until it is full.
            taken = room
            while waiting and demand.gpus <= most and not _shortage(taken, demand):
                taken, most, waiting = _without(taken, demand), most - demand.gpus, waiting - 1
                placed.append((demand.what, room.name))
            shelves.swap(room, taken)
        if waiting:
            left.append(Left(demand, waiting))
    return Packing(tuple(placed), tuple(left), tuple(shelves.rooms.values()), most)


def _placed_apart(shelves: _Shelves, demand: Demand, most: int) -> list[str]:
    """The nodes of as many as find one."""
    apart, nodes = _Apart(shelves.rooms.values(), demand), list[str]()
    while len(nodes) < demand.count and demand.gpus * (len(nodes) + 1) <= most:
        room = shelves.fullest(demand, apart.allows)
        if room is None:
            break
        shelves.swap(room, _without(room, demand))
        apart.add(room.name)
        nodes.append(room.name)
    return nodes


class _Apart:
    """How many of a demand's instances each zone and node has that may have one."""

    def __init__(self, rooms: Iterable[Room], demand: Demand, nodes: Iterable[str] = ()) -> None:
        may = [room for room in rooms if not _misfit(room, demand)] if demand.apart else []
        self._zone_of = {room.name: room.zone for room in may}
        self._of_node = dict.fromkeys(self._zone_of, 0)
        self._of_zone = dict.fromkeys(self._zone_of.values(), 0)
        for node in nodes if demand.apart else ():
            self.add(node)

    def add(self, node: str) -> None:
        self._of_node[node] += 1
        self._of_zone[self._zone_of[node]] += 1

    def allows(self, room: Room) -> bool:
        return not self.why(room)

    def why(self, room: Room) -> str:
        """Why one more may not be there; empty where it may."""
        if room.name not in self._of_node:
            return ""
        if self._of_zone[room.zone] > min(self._of_zone.values()):
            return "its zone has one more than another"
        return "it has one more than another" if self._of_node[room.name] > min(self._of_node.values()) else ""


class _Shelves:
    """Nodes that are alike by how many GPUs they have free, so that the fullest with enough is found at once."""

    def __init__(self, rooms: Iterable[Room]) -> None:
        self.rooms = {room.name: room for room in sorted(rooms, key=_name)}
        self._alike: dict[_Kind, dict[int, list[str]]] = {}
        for room in self.rooms.values():
            self._shelf(room).append(room.name)

    def fullest(self, demand: Demand, allows: Callable[[Room], bool] = lambda _: True) -> Room | None:
        """Of those with room that `allows` allows: spot first where that may be, then of the fewest free GPUs, then by
        name: the same every time."""
        for spot in (True, False):
            alike = [own for kind, own in self._alike.items() if kind.spot is spot and not _misfit(kind, demand)]
            for gpus in sorted({gpus for own in alike for gpus in own if gpus >= demand.gpus}):
                for name in heapq.merge(*(own[gpus] for own in alike if gpus in own)):
                    if not _shortage(self.rooms[name], demand) and allows(self.rooms[name]):
                        return self.rooms[name]
        return None

    def swap(self, before: Room, after: Room) -> None:
        self._shelf(before).remove(before.name)
        self.rooms[after.name] = after
        insort(self._shelf(after), after.name)

    def _shelf(self, room: Room) -> list[str]:
        return self._alike.setdefault(_Kind(room.product, room.zone, room.spot), {}).setdefault(room.gpus, [])


def _without(room: Room, demand: Demand) -> Room:
    gpus, cpu, memory = room.gpus - demand.gpus, room.cpu - demand.cpu, room.memory - demand.memory
    return replace(room, gpus=gpus, cpu=cpu, memory=memory)


def _name(room: Room) -> str:
    return room.name


class _Kind(NamedTuple):
    product: str
    zone: str
    spot: bool


def _misfit(room: Room | _Kind, demand: Demand) -> str:
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


def _gibibytes(size: int) -> str:
    return bytes_text(size // 2**30 * 2**30) if size >= 2**30 else bytes_text(max(size, 0))
