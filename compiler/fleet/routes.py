"""A gateway's routes: which name in a request leads to which clusters, with exact shares.

The one place where splits are multiplied out. Istio and Envoy outputs both read it, so they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from compiler.diagnostics import Position
from compiler.fleet.gateway import Gateway, Orchestrator
from compiler.fleet.model import Fleet, Model, Version
from compiler.fleet.traffic import HashKey, Retries, Timeouts

WHOLE = 10_000
"""The sum of a route's shares: percent of percent, so a split of splits is exact."""


@dataclass(frozen=True, slots=True)
class Share:
    model: Model
    version: Version
    weight: int
    """Of `WHOLE`; 0 for a version that gets nothing yet but may by a live weight."""


@dataclass(frozen=True, slots=True)
class Route:
    name: str
    """`model/<name>` or `orchestrator/<name>`."""
    model_names: tuple[str, ...]
    """The names in a request that take this route; `""` stands for a request that names no model."""
    shares: tuple[Share, ...]
    hash_keys: tuple[HashKey, ...]
    """What the clusters that balance by hash read, without repeats; the others ignore it."""
    retries: Retries
    timeouts: Timeouts
    origin: Position


def routes(fleet: Fleet, gateway: Gateway) -> tuple[Route, ...]:
    """The routes of `gateway`: its models by name, then its orchestrator.

    No name leads to two of them; linking has refused that (P207).
    """
    models = {model.name: model for model in fleet.models}
    return (
        *(_model_route(models[name]) for name in gateway.models),
        *_orchestrator_routes(gateway.orchestrator, models),
    )


def _model_route(model: Model) -> Route:
    return _route(f"model/{model.name}", (model.name, *model.aliases), ((model, 100),), model.origin)


def _orchestrator_routes(orchestrator: Orchestrator | None, models: Mapping[str, Model]) -> Iterator[Route]:
    if orchestrator is None or not orchestrator.default:
        return
    members = tuple((models[target.model], target.weight) for target in orchestrator.default)
    yield _route(f"orchestrator/{orchestrator.name}", (orchestrator.name, ""), members, orchestrator.origin)


def _route(name: str, model_names: tuple[str, ...], members: tuple[tuple[Model, int], ...], origin: Position) -> Route:
    first = members[0][0]  # linking has made sure that the members agree in what a route decides: P216
    hash_keys = (model.load_balancing.hash_key for model, _ in members)
    return Route(
        name=name,
        model_names=model_names,
        shares=tuple(
            Share(model, version, percent * version.weight) for model, percent in members for version in model.versions
        ),
        hash_keys=tuple(dict.fromkeys(key for key in hash_keys if key is not None)),
        retries=first.retries,
        timeouts=first.timeouts,
        origin=origin,
    )
