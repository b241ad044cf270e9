"""Laying one policy on another: leaf by leaf, the nearer one wins."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.diagnostics import Position
from compiler.nodes import Mapped, Node, Scalar, Sequence, at, merge, plain

LEAVES = st.dictionaries(st.sampled_from("xyz"), st.integers() | st.lists(st.integers(), max_size=2), max_size=3)
MAPS = st.recursive(
    LEAVES,
    lambda inner: st.builds(
        lambda leaves, maps: leaves | maps, LEAVES, st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=10,
)
"""Under one key always maps, or never: the schema sees to it before anything is merged."""


@settings(deadline=None)
@given(MAPS)
def test_nothing_laid_on_a_policy_changes_nothing(tree: dict[str, Any]) -> None:
    some, nothing = node(tree, "some"), node({}, "nothing")
    assert plain(merge(some, nothing)) == plain(merge(nothing, some)) == plain(some)


@settings(deadline=None)
@given(MAPS, MAPS, MAPS)
def test_the_order_of_laying_does_not_matter(a: dict[str, Any], b: dict[str, Any], c: dict[str, Any]) -> None:
    first, second, third = node(a, "a"), node(b, "b"), node(c, "c")
    left, right = merge(merge(first, second), third), merge(first, merge(second, third))
    assert plain(left) == plain(right)
    assert places(left) == places(right)


@settings(deadline=None)
@given(MAPS, MAPS)
def test_each_leaf_is_that_of_the_nearest_and_keeps_its_place(a: dict[str, Any], b: dict[str, Any]) -> None:
    merged = merge(node(a, "far"), node(b, "near"))
    for path, place in places(node(b, "near")).items():
        assert places(merged)[path] == place
    for path, place in places(merged).items():
        source = node(a, "far") if place.file == "far" else node(b, "near")
        found, exact = at(source, path)
        assert exact
        assert plain(found) == plain(at(merged, path)[0])


def test_what_only_the_farther_one_says_stays() -> None:
    far, near = node({"a": {"b": 1, "c": {"d": 2}}, "e": 3}, "far"), node({"a": {"c": {"f": 4}}}, "near")
    assert plain(merge(far, near)) == {"a": {"b": 1, "c": {"d": 2, "f": 4}}, "e": 3}


def test_lists_are_replaced_and_not_joined() -> None:
    assert plain(merge(node({"a": [1, 2]}, "x"), node({"a": [3]}, "y"))) == {"a": (3,)}


def test_a_map_replaces_a_scalar_and_a_scalar_a_map() -> None:
    assert plain(merge(node({"a": 1}, "x"), node({"a": {"b": 2}}, "y"))) == {"a": {"b": 2}}
    assert plain(merge(node({"a": {"b": 2}}, "x"), node({"a": 1}, "y"))) == {"a": 1}


def test_the_place_of_what_is_missing_is_its_nearest_ancestor_s() -> None:
    tree = node({"a": {"b": [1]}}, "x")
    assert at(tree, ("a", "b", 0))[1]
    assert at(tree, ("a", "b", 1)) == (at(tree, ("a", "b"))[0], False)
    assert at(tree, ("a", "c", "d")) == (at(tree, ("a",))[0], False)


def node(value: Any, file: str, path: tuple[str | int, ...] = ()) -> Node:
    place = Position(file, 1 + len(path), 1 + hash(path) % 1000)
    if isinstance(value, dict):
        entries = {key: node(item, file, (*path, key)) for key, item in value.items()}
        return Mapped(entries, dict.fromkeys(entries, place), place)
    if isinstance(value, list):
        return Sequence(tuple(node(item, file, (*path, n)) for n, item in enumerate(value)), place)
    return Scalar(value, place, str(value))


def places(tree: Node, path: tuple[str | int, ...] = ()) -> dict[tuple[str | int, ...], Position]:
    """Of the leaves; a list is one, as it is replaced whole."""
    if not isinstance(tree, Mapped):
        return {path: tree.position}
    return {k: v for key, item in tree.entries.items() for k, v in places(item, (*path, key)).items()}
