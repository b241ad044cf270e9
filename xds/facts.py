"""What the log and metrics tell of the fleet that is served."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from compiler.fleet import Fleet, Model
from compiler.kept import Kept

Weight = tuple[tuple[str, str], int]
"""A model's and a version's name, and what policy gives it, in percent."""


@dataclass(frozen=True, slots=True)
class Facts:
    without_instances: tuple[str, ...]
    """Versions that get requests and have nobody to answer them: a missing `endpoints`, or a save cut short."""
    weights: Mapping[tuple[str, str], int]
    """By policy, by model and version; of models with several."""


NO_FACTS = Facts((), {})


def facts(fleet: Fleet, kept: Kept) -> Facts:
    return Facts(kept.chained(_without_instances, fleet.models), dict(kept.chained(_weights, fleet.models)))


def _without_instances(model: Model) -> tuple[str, ...]:
    without = (version for version in model.versions if version.weight and not version.endpoints)
    return tuple(f"{model.name} {version.name}" for version in without)


def _weights(model: Model) -> tuple[Weight, ...]:
    several = model.versions if len(model.versions) > 1 else ()
    return tuple(((model.name, version.name), version.weight) for version in several)
