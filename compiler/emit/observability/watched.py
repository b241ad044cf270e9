"""What of a fleet the rules and monitors depend on: the same for fleets that differ in anything else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from operator import attrgetter
from typing import Any, TypeVar

from compiler.fleet import Framework, Model, slug
from compiler.kept import Kept

K = TypeVar("K")
ByValue = tuple[tuple[K, tuple[str, ...]], ...]
"""Slugs of models by the value they have in common."""


@dataclass(frozen=True, slots=True)
class _Facts:
    slug: str
    namespace: str
    engines: tuple[Framework, ...]
    batch: int
    first_byte: timedelta
    rto: timedelta | None


@dataclass(frozen=True, slots=True)
class Watched:
    namespaces: tuple[str, ...]
    engines: tuple[Framework, ...]
    batches: ByValue[int]
    """Sequences that an instance works on at a time."""
    first_bytes: ByValue[timedelta]
    """How long a stream may take to its first byte, before it is tried again."""
    rtos: ByValue[timedelta]
    """Of models that are promised one."""


def watched(models: tuple[Model, ...], kept: Kept) -> Watched:
    facts = kept.each(_facts, models)
    found = Watched(
        namespaces=tuple(sorted({fact.namespace for fact in facts})),
        engines=tuple(engine for engine in Framework if any(engine in fact.engines for fact in facts)),
        batches=_by_value(facts, attrgetter("batch")),
        first_bytes=_by_value(facts, attrgetter("first_byte")),
        rtos=_by_value((fact for fact in facts if fact.rto is not None), attrgetter("rto")),
    )
    return kept.same("watched", found)


def _facts(model: Model) -> _Facts:
    """Of versions that differ the smallest batch: its queue is the first that is too long."""
    return _Facts(
        slug(model.name),
        model.namespace,
        tuple(dict.fromkeys(version.engine.framework for version in model.versions)),
        min(version.engine.max_batch_size for version in model.versions),
        model.timeouts.stream_first_byte,
        model.rto,
    )


def _by_value(facts: Iterable[_Facts], value: Callable[[_Facts], Any]) -> ByValue[Any]:
    found: dict[Any, list[str]] = defaultdict(list)
    for fact in facts:
        found[value(fact)].append(fact.slug)
    return tuple((key, tuple(sorted(found[key]))) for key in sorted(found))
