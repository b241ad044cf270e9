"""Many resources as one set, made from that of the run before where few of them are others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from compiler.kept import Kept
from xds.snapshot import Resource, ResourceSet


class _Together(NamedTuple):
    found: ResourceSet
    several: Mapping[str, int]
    """How often the names come that come more than once."""


def together(name: object, resources: tuple[Resource, ...], kept: Kept) -> ResourceSet:
    """The set of `resources`, of which several may have one name: the last of them counts."""
    return kept.folded(("together", name), resources, _whole, _following).found


def _whole(resources: tuple[Resource, ...]) -> _Together:
    found = ResourceSet(resources)
    counted = Counter([resource.name for resource in resources]) if len(found) < len(resources) else {}
    return _Together(found, {name: times for name, times in counted.items() if times > 1})


def _following(before: _Together, gone: Sequence[Resource], come: Sequence[Resource]) -> _Together | None:
    """None where a name is also that of others, which have stayed: they may count."""
    left, now = (Counter([resource.name for resource in some]) for some in (gone, come))
    if any(left[name] != (before.several.get(name, 1) if name in before.found else 0) for name in {*left, *now}):
        return None
    found = before.found.having({resource.name: resource for resource in come}.values(), left.keys() - now.keys())
    if not before.several and len(now) == len(come):
        return _Together(found, before.several)
    several = {**before.several, **now}
    return _Together(found, {name: times for name, times in several.items() if times > 1 and name in found})
