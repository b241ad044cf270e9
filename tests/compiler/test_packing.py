"""Instances on nodes: never more than a node has, the same every time, and none left over that would fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from compiler.diagnostics import Position
from compiler.prove.packing import Demand, Packing, Room, fits_one_more, pack

ZONES, PRODUCTS = ("az-1", "az-2"), ("A100", "L4")


@st.composite
def rooms(draw: st.DrawFn) -> list[Room]:
    return [
        Room(
            name=f"node-{index}",
            zone=draw(st.sampled_from(ZONES)),
            product=draw(st.sampled_from(PRODUCTS)),
            spot=draw(st.booleans()),
            gpus=draw(st.integers(0, 8)),
            cpu=draw(st.integers(0, 64)),
            memory=draw(st.integers(0, 64)),
        )
        for index in range(draw(st.integers(1, 5)))
    ]


@st.composite
def demands(draw: st.DrawFn) -> list[Demand]:
    return [
        Demand(
            what=f"model-{index}",
            count=draw(st.integers(0, 4)),
            gpus=draw(st.integers(0, 8)),
            cpu=draw(st.integers(0, 16)),
            memory=draw(st.integers(0, 16)),
            product=draw(st.sampled_from(("", *PRODUCTS))),
            zones=draw(st.sampled_from(((), ("az-1",), ZONES))),
            spot=draw(st.booleans()),
            apart=draw(st.booleans()),
            origin=Position("x", 1, 1),
        )
        for index in range(draw(st.integers(0, 5)))
    ]


LIMIT = st.integers(0, 40)


@given(rooms(), demands(), LIMIT)
def test_no_node_gets_more_than_it_has(nodes: list[Room], asked: list[Demand], most: int) -> None:
    packing, by_name = pack(nodes, asked, most), {demand.what: demand for demand in asked}
    for node in nodes:
        there = [by_name[what] for what, name in packing.placed if name == node.name]
        assert sum(demand.gpus for demand in there) <= node.gpus
        assert sum(demand.cpu for demand in there) <= node.cpu
        assert sum(demand.memory for demand in there) <= node.memory
    assert sum(by_name[what].gpus for what, _ in packing.placed) <= most


@given(rooms(), demands(), LIMIT)
def test_an_instance_runs_only_where_it_may(nodes: list[Room], asked: list[Demand], most: int) -> None:
    packing, by_name = pack(nodes, asked, most), {demand.what: demand for demand in asked}
    on = {node.name: node for node in nodes}
    for what, name in packing.placed:
        demand, node = by_name[what], on[name]
        assert demand.product in ("", node.product)
        assert not demand.zones or node.zone in demand.zones
        assert demand.spot or not node.spot


@given(rooms(), demands(), LIMIT)
def test_every_instance_is_placed_or_left_with_a_reason(nodes: list[Room], asked: list[Demand], most: int) -> None:
    packing = pack(nodes, asked, most)
    counted = Counter(what for what, _ in packing.placed)
    for left in packing.left:
        assert packing.why(left.demand)
        counted[left.demand.what] += left.waiting
    assert counted == Counter({demand.what: demand.count for demand in asked if demand.count})


@given(rooms(), demands(), LIMIT)
def test_none_is_left_that_would_still_fit(nodes: list[Room], asked: list[Demand], most: int) -> None:
    packing = pack(nodes, asked, most)
    free = [left.demand for left in packing.left if fits_one_more(packing, replace(left.demand, count=1))]
    assert all(demand.apart and "has one more than another" in packing.why(demand) for demand in free)


@given(rooms(), demands(), LIMIT, st.randoms(use_true_random=False))
def test_the_order_of_nodes_and_demands_decides_nothing(
    nodes: list[Room], asked: list[Demand], most: int, r: object
) -> None:
    other_nodes, other_asked = list(nodes), list(asked)
    r.shuffle(other_nodes)  # type: ignore[attr-defined]
    r.shuffle(other_asked)  # type: ignore[attr-defined]
    one, other = pack(nodes, asked, most), pack(other_nodes, other_asked, most)
    assert Counter(one.placed) == Counter(other.placed)
    assert set(one.left) == set(other.left)


def room(name: str, gpus: int, **fields: object) -> Room:
    return replace(Room(name, "az-1", "A100", False, gpus, 64_000, 64), **fields)  # type: ignore[arg-type]


def demand(what: str, count: int, gpus: int, **fields: object) -> Demand:
    return replace(Demand(what, count, gpus, 1000, 1, "A100", (), False, False, Position("x", 1, 1)), **fields)  # type: ignore[arg-type]


def where(packing: Packing) -> dict[str, list[str]]:
    return {name: sorted(what for what, node in packing.placed if node == name) for _, name in packing.placed}


def test_the_fullest_node_is_filled_first() -> None:
    packing = pack([room("a", 8), room("b", 2), room("c", 4)], [demand("m", 1, 1)], 99)
    assert where(packing) == {"b": ["m"]}


def test_equal_nodes_are_filled_by_name() -> None:
    packing = pack([room("b", 4), room("a", 4)], [demand("m", 5, 1)], 99)
    assert where(packing) == {"a": ["m"] * 4, "b": ["m"]}


def test_the_largest_instances_are_placed_first() -> None:
    """In the order of the demands, three of one GPU would take the place of the one of four."""
    packing = pack([room("a", 4), room("b", 3)], [demand("small", 3, 1), demand("large", 1, 4)], 99)
    assert where(packing) == {"a": ["large"], "b": ["small"] * 3}


def test_an_instance_is_never_on_two_nodes() -> None:
    packing = pack([room("a", 4), room("b", 4)], [demand("m", 1, 8)], 99)
    assert [(left.waiting, packing.why(left.demand)) for left in packing.left] == [(1, "2 nodes: 4 of 8 GPUs free")]


def test_a_zone_that_only_some_may_use_is_kept_for_them() -> None:
    nodes = [room("a", 4), room("b", 4, zone="az-2")]
    asked = [demand("anywhere", 1, 4), demand("here", 1, 4, zones=("az-1",))]
    assert where(pack(nodes, asked, 99)) == {"a": ["here"], "b": ["anywhere"]}


def test_memory_and_cores_are_taken_too() -> None:
    packing = pack([room("a", 8, memory=3 * 2**30)], [demand("m", 4, 1, memory=2**30)], 99)
    assert [(left.waiting, packing.why(left.demand)) for left in packing.left] == [(1, "1 node: 0 of 1Gi memory free")]
    packing = pack([room("a", 8, cpu=2500)], [demand("m", 4, 1)], 99)
    assert [(left.waiting, packing.why(left.demand)) for left in packing.left] == [(2, "1 node: 500m of 1 cores free")]


def test_each_reason_is_told_with_its_nodes() -> None:
    nodes = [room("a", 2), room("b", 8, product="L4"), room("c", 8, zone="az-9"), room("d", 8, spot=True)]
    packing = pack([*nodes, room("e", 8, product="L4")], [demand("m", 1, 4, zones=("az-1",))], 99)
    (left,) = packing.left
    assert packing.why(left.demand) == "1 node: 2 of 4 GPUs free, 2 nodes: other GPU, 1 node: other zone, 1 node: spot"


def test_a_pool_that_may_be_shared_only_so_far_stops_there() -> None:
    packing = pack([room("a", 8)], [demand("m", 8, 1)], 6)
    assert [(left.waiting, packing.why(left.demand)) for left in packing.left] == [(2, "0 shares are left of all")]


def difference(of_each: Iterable[str], over: Iterable[str]) -> int:
    """Between the most and the fewest."""
    counted = Counter(of_each)
    found = [counted[each] for each in over]
    return max(found) - min(found)


@given(rooms(), demands(), LIMIT)
def test_what_is_kept_apart_is_never_two_more_here_than_there(
    nodes: list[Room], asked: list[Demand], most: int
) -> None:
    packing = pack(nodes, [replace(demand, apart=True) for demand in asked], most)
    for one in asked:
        zone_of = {
            node.name: node.zone
            for node in nodes
            if one.product in ("", node.product)
            and (not one.zones or node.zone in one.zones)
            and (one.spot or not node.spot)
        }
        there = [node for what, node in packing.placed if what == one.what]
        assert not zone_of or difference(there, zone_of) <= 1
        assert not zone_of or difference([zone_of[node] for node in there], set(zone_of.values())) <= 1


def test_instances_that_are_kept_apart_wait_for_the_zone_that_has_fewer() -> None:
    nodes = [room("a", 8), room("b", 1, zone="az-2")]
    asked = demand("m", 4, 1, apart=True)
    packing = pack(nodes, [asked], 99)
    assert where(packing) == {"a": ["m", "m"], "b": ["m"]}
    assert [left.waiting for left in packing.left] == [1]
    assert packing.why(asked) == "1 node: 0 of 1 GPUs free, 1 node: its zone has one more than another"
    one_zone = [room("a", 8), room("b", 1)]
    packing = pack(one_zone, [asked], 99)
    assert packing.why(asked) == "1 node: 0 of 1 GPUs free, 1 node: it has one more than another"
    assert pack(one_zone, [replace(asked, apart=False)], 99).left == ()
