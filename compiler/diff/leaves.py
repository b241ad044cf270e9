"""Two values of any kind, leaf by leaf."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from datetime import timedelta
from enum import Enum
from typing import Any, NamedTuple

from compiler.diagnostics import Position
from compiler.kinds.measures import duration_text


class Leaf(NamedTuple):
    path: tuple[str, ...]
    before: Any
    """None where there is none."""
    after: Any


def changed_leaves(before: Any, after: Any, path: tuple[str, ...] = ()) -> Iterator[Leaf]:
    """Those that differ. Items of a list go by their names where all have one of their own, else by their numbers."""
    if before == after:
        return
    one, other = _entries(before), _entries(after)
    if one is None or other is None or set(map(type, (before, after))) == {dict, list}:
        yield Leaf(path, before, after)
        return
    for key in dict.fromkeys((*one, *other)):
        yield from changed_leaves(one.get(key), other.get(key), (*path, key))


def plain(value: Any) -> Any:
    """Dataclasses as maps with the keys of policy; without places, which say where and not what."""
    match value:
        case timedelta():
            return duration_text(value)
        case Enum():
            return value.value
        case tuple() if hasattr(value, "_asdict"):
            return plain(value._asdict())
        case list() | tuple():
            return [plain(item) for item in value]
        case Mapping():
            return {key: plain(item) for key, item in value.items()}
    if not dataclasses.is_dataclass(value):
        return value
    fields = ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
    return {_camel(name): plain(item) for name, item in fields if not isinstance(item, Position)}


def _entries(value: Any) -> Mapping[str, Any] | None:
    """None for what has no parts, or none that can be told apart: an empty one is a leaf beside one that is not."""
    if isinstance(value, Mapping):
        return value
    if not isinstance(value, list) or not any(isinstance(item, Mapping | list) for item in value):
        return None
    names = [item.get("name") if isinstance(item, Mapping) else None for item in value]
    if all(isinstance(name, str) for name in names) and len(set(names)) == len(names):
        return {str(name): item for name, item in zip(names, value, strict=True)}
    return {str(number): item for number, item in enumerate(value)}


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)
