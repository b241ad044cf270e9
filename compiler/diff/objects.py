"""Objects of the cluster: which are added, changed and removed, and in which fields."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from compiler.diff.leaves import Leaf, changed_leaves
from compiler.diff.settings import Change
from compiler.emit.object import Object

_ORIGIN = "turnout.dev/origin"
"""The line that an object is from: it moves with every line above it."""


@dataclass(frozen=True, slots=True)
class ObjectChange:
    key: str
    """`apps/v1/Deployment/ai-inference/llama-70b-1-0`."""
    file: str
    """In the rendered folder."""
    change: Change
    wave: int
    """Of Argo CD's; the lower ones first."""
    leaves: tuple[Leaf, ...]
    """What differs; empty where the whole object comes or goes."""

    @property
    def kind(self) -> str:
        """`Deployment`; no group or version has a capital letter."""
        return next(part for part in self.key.split("/") if part[:1].isupper())


def object_changes(before: Iterable[Object], after: Iterable[Object]) -> tuple[ObjectChange, ...]:
    """By key."""
    one, other = ({item.key: item for item in items} for items in (before, after))
    found = (_change(key, one.get(key), other.get(key)) for key in sorted({*one, *other}))
    return tuple(change for change in found if change is not None)


def _change(key: str, before: Object | None, after: Object | None) -> ObjectChange | None:
    if before is None:
        return None if after is None else ObjectChange(key, after.file, Change.ADDED, after.wave, ())
    if after is None:
        return ObjectChange(key, before.file, Change.REMOVED, before.wave, ())
    if before.body is after.body:
        return None
    leaves = tuple(changed_leaves(_without_lines(before.body), _without_lines(after.body)))
    return ObjectChange(key, after.file, Change.CHANGED, after.wave, leaves) if leaves else None


def _without_lines(body: Mapping[str, Any]) -> dict[str, Any]:
    metadata = body["metadata"]
    annotations = {key: value for key, value in metadata["annotations"].items() if key != _ORIGIN}
    return {**body, "metadata": {**metadata, "annotations": annotations}}
