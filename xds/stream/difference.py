"""What lies between two sets of resources, worked out once and shared by every stream that goes from one to the other.

A set is known by its content, so the results below are kept by value: a thousand streams that were sent the same
resources ask for the same few differences.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from xds.snapshot import Resource, ResourceSet
from xds.stream.recent import remembered

KEPT = 48
"""Results remembered: more than a change of `update.SINGLY` resources needs, one step for each of them."""

CLAIMED = 500
"""Resources that count as another result where they are what a client says it has: nobody else may hold them."""


@dataclass(frozen=True, slots=True)
class Difference:
    changed: frozenset[str]
    """Names that are new or have another version."""
    removed: frozenset[str]


class Claim(ResourceSet):
    """What a client says it has: some bodies are elsewhere, and stand here empty.

    It differs from nothing that has its names and versions, but must not be found in place of a set with all bodies.
    """

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)


def gathered(resources: Iterable[Resource]) -> ResourceSet:
    found = tuple(resources)
    return ResourceSet(found) if all(resource.parts for resource in found) else Claim(found)


SAME = Difference(frozenset(), frozenset())


def difference(old: ResourceSet, new: ResourceSet) -> Difference:
    return SAME if old.version == new.version else _difference(old, new)


def _weight(old: ResourceSet, new: ResourceSet) -> int:
    return 1 + sum(len(found) for found in (old, new) if isinstance(found, Claim)) // CLAIMED


@remembered(KEPT, _weight)
def _difference(old: ResourceSet, new: ResourceSet) -> Difference:
    if new.step is not None and new.step.version == old.version:
        return Difference(new.step.changed, new.step.removed)
    before, after = old.by_name, new.by_name
    # Most are the same objects, which is found out without a line of Python for each.
    others = frozenset(name for name, _ in after.items() - before.items())
    return Difference(
        changed=frozenset(name for name in others if _version(old, name) != after[name].version),
        removed=frozenset(before.keys() - after.keys()),
    )


def moved(base: ResourceSet, towards: ResourceSet, names: frozenset[str]) -> ResourceSet:
    """`base`, but with `names` as they are in `towards`: at its version, or left out where it has none."""
    gap = difference(base, towards)
    if gap.changed <= names and gap.removed <= names:
        return towards
    if names.isdisjoint(gap.changed) and names.isdisjoint(gap.removed):
        return base
    return _moved(base, towards, names)


@remembered(KEPT, lambda base, towards, names: _weight(base, towards) + len(names) // CLAIMED)
def _moved(base: ResourceSet, towards: ResourceSet, names: frozenset[str]) -> ResourceSet:
    there = [towards[name] for name in names if name in towards]
    if not (isinstance(base, Claim) or isinstance(towards, Claim)):
        return base.having(there, without=[name for name in names if name in base and name not in towards])
    return gathered((*(resource for name, resource in base.items() if name not in names), *there))


def _version(resources: ResourceSet, name: str) -> str | None:
    found: Resource | None = resources.by_name.get(name)
    return None if found is None else found.version
