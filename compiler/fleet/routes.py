"""A gateway's routes: which name in a request leads to which clusters, with exact shares.

The one place where splits are multiplied out. Istio and Envoy outputs both read it, so they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from compiler.diagnostics import Position
from compiler.fleet.gateway import Gateway, Orchestrator, Target
from compiler.fleet.model import Fleet, Model, Version
from compiler.fleet.rules import Condition
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
    """`model/<name>`, `orchestrator/<name>/rule/<rule>` or `orchestrator/<name>`, its default."""
    model_names: tuple[str, ...]
    """The names in a request that take this route; `""` stands for a request that names no model."""
    conditions: tuple[Condition, ...]
    """What a request that carries one of the names must meet besides; the first route that fits is taken."""
    shares: tuple[Share, ...]
    hash_keys: tuple[HashKey, ...]
    """What the clusters that balance by hash read, without repeats; the others ignore it."""
    retries: Retries
    timeouts: Timeouts
    origin: Position


def routes(fleet: Fleet, gateway: Gateway) -> tuple[Route, ...]:
    """The routes of `gateway`: its models by name, then its orchestrator's rules in order, then its default.

    Of the routes that carry a name, a request takes the first whose conditions it meets.
    """
    models = {model.name: model for model in fleet.models}
    return (
        *(_model_route(models[name]) for name in gateway.models),
        *_orchestrator_routes(gateway.orchestrator, models),
    )


def _model_route(model: Model) -> Route:
    members = ((model, 100),)
    return _route(
        f"model/{model.name}", (model.name, *model.aliases), (), members, model.retries, model.timeouts, model.origin
    )


def _orchestrator_routes(orchestrator: Orchestrator | None, models: Mapping[str, Model]) -> Iterator[Route]:
    if orchestrator is None:
        return
    name, names = f"orchestrator/{orchestrator.name}", (orchestrator.name, "")
    for rule in orchestrator.rules:
        members = _members(rule.targets, models)
        rule_name = f"{name}/rule/{rule.name}"
        yield _route(rule_name, names, rule.conditions, members, rule.retries, rule.timeouts, rule.origin)
    if orchestrator.default:
        members = _members(orchestrator.default, models)
        first = members[0][0]  # linking has made sure that the members agree in what a route decides: P216
        yield _route(name, names, (), members, first.retries, first.timeouts, orchestrator.origin)


def _members(targets: Iterable[Target], models: Mapping[str, Model]) -> tuple[tuple[Model, int], ...]:
    return tuple((models[target.model], target.weight) for target in targets)


def _route(
    name: str,
    model_names: tuple[str, ...],
    conditions: tuple[Condition, ...],
    members: tuple[tuple[Model, int], ...],
    retries: Retries,
    timeouts: Timeouts,
    origin: Position,
) -> Route:
    hash_keys = (model.load_balancing.hash_key for model, _ in members)
    return Route(
        name=name,
        model_names=model_names,
        conditions=conditions,
        shares=tuple(
            Share(model, version, percent * version.weight) for model, percent in members for version in model.versions
        ),
        hash_keys=tuple(dict.fromkeys(key for key in hash_keys if key is not None)),
        retries=retries,
        timeouts=timeouts,
        origin=origin,
    )
