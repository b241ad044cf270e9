"""What YAML says, and where each value was written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, overload

from compiler.diagnostics import Position


class Scalar(NamedTuple):
    value: str | int | float | bool | None
    position: Position
    text: str
    """As written: `1.10` where the value is 1.1."""


class Sequence(NamedTuple):
    items: tuple[Node, ...]
    position: Position


class Mapped(NamedTuple):
    """A YAML map: values by key, and where each key stands."""

    entries: Mapping[str, Node]
    keys: Mapping[str, Position]
    position: Position


Node = Scalar | Sequence | Mapped
Loc = tuple[str | int, ...]
"""The way to a value: keys and indexes."""


def plain(node: Node) -> Any:
    """`node` as dicts, tuples and scalars, without places."""
    if isinstance(node, Scalar):
        return node.value
    if isinstance(node, Sequence):
        return tuple(map(plain, node.items))
    result = {}  # no comprehension: it would be one more call for each map
    for key, value in node.entries.items():
        result[key] = value.value if isinstance(value, Scalar) else plain(value)
    return result


@overload
def merge(base: Mapped, over: Mapped) -> Mapped: ...
@overload
def merge(base: Node, over: Node) -> Node: ...
def merge(base: Node, over: Node) -> Node:
    """`over` laid on `base`, leaf by leaf: maps merge, lists and scalars of `over` replace; each keeps its place."""
    if not (isinstance(base, Mapped) and isinstance(over, Mapped)):
        return over
    entries = dict(base.entries)
    for key, value in over.entries.items():
        entries[key] = merge(entries[key], value) if key in entries else value
    return Mapped(entries, {**base.keys, **over.keys}, over.position)


def without(node: Mapped, *keys: str) -> Mapped:
    return Mapped({k: v for k, v in node.entries.items() if k not in keys}, node.keys, node.position)


def replaced(node: Mapped, key: str, value: Node) -> Mapped:
    """`node` with another value at `key`, which stands where it stood."""
    return Mapped({**node.entries, key: value}, node.keys, node.position)


def nested(path: tuple[str, ...], value: Node, key: Position) -> Mapped:
    """A map in which `value` is at `path`, every key of it at the place `key`."""
    for step in reversed(path):
        value = Mapped({step: value}, {step: key}, value.position)
    assert isinstance(value, Mapped)
    return value


def at(node: Node, path: Loc) -> tuple[Node, bool]:
    """The node at `path` below `node`, or its nearest ancestor that exists; and whether it was found itself."""
    for step in path:
        if isinstance(node, Mapped) and isinstance(step, str) and step in node.entries:
            node = node.entries[step]
        elif isinstance(node, Sequence) and isinstance(step, int) and step < len(node.items):
            node = node.items[step]
        else:
            return node, False
    return node, True


def key_position(root: Mapped, loc: Loc) -> Position:
    """Where the key of the value at `loc` stands; where its parent does, when it has none."""
    parent = at(root, loc[:-1])[0]
    if isinstance(parent, Mapped) and loc and loc[-1] in parent.keys:
        return parent.keys[str(loc[-1])]
    return parent.position


def dotted(loc: Loc) -> str:
    """`spec.versions[0].weight`."""
    text = ""
    for step in loc:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def told(loc: Loc) -> str:
    """`dotted` for a message: without the length that keys may have by mistake."""
    return dotted(tuple(step[:57] + "…" if isinstance(step, str) and len(step) > 60 else step for step in loc))


def type_name(node: Node) -> str:
    """What people call the type of a YAML value."""
    if isinstance(node, Sequence):
        return "list"
    if isinstance(node, Mapped):
        return "map"
    return value_type(node.value)


def article(noun: str) -> str:
    """`noun` with its article: `an integer`, `a map`, but `null`."""
    return noun if noun == "null" else f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def value_type(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list() | tuple():
            return "list"
    return "map"
