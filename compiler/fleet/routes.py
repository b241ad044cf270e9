"""A gateway's routes: which name in a request leads to which clusters, with exact shares.

The one place where splits are multiplied out. Istio and Envoy outputs both read it, so they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from compiler.diagnostics import Position
from compiler.fleet.capabilities import capability_classes
from compiler.fleet.gateway import Fallback, Gateway, Orchestrator, Target
from compiler.fleet.model import Fleet, Model, Version
from compiler.fleet.names import cluster_name
from compiler.fleet.rules import Condition
from compiler.fleet.traffic import Fault, HashKey, Mirror, Retries, Timeouts
from compiler.kept import Kept

WHOLE = 10_000
"""The sum of a route's shares: percent of percent, so a split of splits is exact."""


class Backend(NamedTuple):
    model: Model
    version: Version

    @property
    def cluster(self) -> str:
        return cluster_name(self.model.name, self.version.name)


@dataclass(frozen=True, slots=True)
class Share:
    model: Model
    version: Version
    weight: int
    """Of `WHOLE`; 0 for a version that gets nothing yet but may by a live weight."""
    hops: tuple[Backend, ...] = ()
    """Who answers when this version has nothing healthy, in the order in which they are tried."""

    @property
    def backends(self) -> tuple[Backend, ...]:
        """The version itself, then its hops."""
        return (Backend(self.model, self.version), *self.hops)

    @property
    def cluster(self) -> str:
        """The Envoy cluster that requests of this share go to: with hops an aggregate, named by its members."""
        return "+".join(backend.cluster for backend in self.backends)


@dataclass(frozen=True, slots=True)
class MirrorShare:
    """A version that gets copies of requests."""

    model: Model
    version: Version
    weight: int
    """Of `WHOLE` requests of the route, 1 at least by policy."""
    percent: int
    """Of the route's requests, for all versions that are mirrored to together."""
    follows: bool
    """Whether the version's own weight decides; not where policy names the version."""


@dataclass(frozen=True, slots=True)
class Route:
    name: str
    """`model/<name>`, or `orchestrator/<name>` and then `/rule/<rule>`, `/capability/<a>+<b>`, `/fallback`, or nothing
    more for the default."""
    model_names: tuple[str, ...]
    """The names in a request that take this route; `""` stands for a request that names no model."""
    conditions: tuple[Condition, ...]
    """What a request that carries one of the names must meet besides; the first route that fits is taken."""
    shares: tuple[Share, ...]
    hash_keys: tuple[HashKey, ...]
    """What the clusters that balance by hash read, without repeats: the first of them that a request has."""
    retries: Retries
    timeouts: Timeouts
    origin: Position
    asks_within: tuple[str, ...] | None = None
    """Set: only for requests that ask for capabilities, and for none but these."""
    takes_unknown_names: bool = False
    """Whether a request that names a model that nobody has takes this route too."""
    mirrors: tuple[MirrorShare, ...] = ()
    fault: Fault | None = None

    @property
    def is_of_model(self) -> bool:
        """Whether it is the route of a model's own names, that no other route has."""
        return self.name.startswith("model/")

    @property
    def is_listed(self) -> bool:
        """Whether any instance is known that may answer, well or not."""
        taking = (share for share in self.shares if share.weight)
        return any(backend.version.endpoints for share in taking for backend in share.backends)


class _Settings(NamedTuple):
    """What a route decides, as the model or rule that it is made from says."""

    retries: Retries
    timeouts: Timeouts
    mirror: Mirror | None
    fault: Fault | None
    origin: Position


def routes(fleet: Fleet, gateway: Gateway, kept: Kept | None = None) -> tuple[Route, ...]:
    """The routes of `gateway`: its models by name, then its orchestrator's rules, capabilities, default and fallback.

    Of the routes that carry a name, a request takes the first whose conditions it meets. With `kept`, the lines that a
    route's settings name may be those of an earlier run.
    """
    kept = kept or Kept()
    # Two gateways that see the same have the same routes.
    seen = sees(gateway)
    view = kept.ordinal(seen)
    parts = (fleet.models, gateway.orchestrator, kept.same(("view", view), seen))
    return kept.last(("routes", view), parts, _routes, (fleet, gateway, kept))


def sees(gateway: Gateway) -> tuple[object, ...]:
    """Equal for gateways that see the same models, and whose orchestrator is the same."""
    return gateway.models, None if gateway.orchestrator is None else gateway.orchestrator.name


def _routes(fleet: Fleet, gateway: Gateway, kept: Kept) -> tuple[Route, ...]:
    models, orchestrator = fleet.by_name, gateway.orchestrator
    fallback = orchestrator.fallback if orchestrator is not None else Fallback()
    of_models = _of_models(fleet, gateway)
    if fallback.hops or any(kept.stretches(_mirror, of_models)):
        own = kept.rows(_model_route, [_parts(model, fallback, models) for model in of_models])
    else:
        own = kept.each(_model_route, of_models)
    if orchestrator is None:
        return own
    parts = (orchestrator, *(models.get(name) for name in _named(orchestrator, models)))
    chosen = kept.by("routes", parts, _orchestrator_routes, (orchestrator, models))
    return kept.joined([*kept.cut(own), kept.tuple_of(kept.same(("route", route.name), route) for route in chosen)])


def _of_models(fleet: Fleet, gateway: Gateway) -> tuple[Model, ...]:
    if gateway.models == tuple(fleet.by_name):
        return fleet.models  # of which the stretches are known
    return tuple([fleet.by_name[name] for name in gateway.models])


def _mirror(models: tuple[Model, ...]) -> bool:
    return any(model.mirror is not None for model in models)


def _named(orchestrator: Orchestrator, models: Mapping[str, Model]) -> tuple[str, ...]:
    """Every model that a route of `orchestrator` may lead to, as target, hop or mirror."""
    targets = (*orchestrator.default, *(target for rule in orchestrator.rules for target in rule.targets))
    members, hops = orchestrator.members, orchestrator.fallback.hops
    named = [*(t.model for t in targets), *(m.model for m in members), *(hop.model for hop in hops)]
    mirrors = (*(rule.mirror for rule in orchestrator.rules), *(models[name].mirror for name in named))
    return tuple(dict.fromkeys((*named, *(mirror.model for mirror in mirrors if mirror is not None))))


def routes_about(fleet: Fleet, gateway: Gateway, names: Container[str]) -> tuple[Route, ...]:
    """Those of `routes` that lead or mirror to the models called `names`, without making the others."""
    models = fleet.by_name
    asked_for = tuple(name for name in gateway.models if _concerns(models[name], names))
    found = routes(fleet, replace(gateway, models=asked_for))
    return tuple(route for route in found if any(model.name in names for model in _models_of(route)))


def _models_of(route: Route) -> Iterator[Model]:
    yield from (share.model for share in route.shares)
    yield from (mirror.model for mirror in route.mirrors)


def _concerns(model: Model, names: Container[str]) -> bool:
    return model.name in names or (model.mirror is not None and model.mirror.model in names)


def hop_backends(names: Iterable[str], models: Mapping[str, Model]) -> tuple[Backend, ...]:
    """The versions of the models called `names` that get requests, of each model the heaviest first."""
    return tuple(
        Backend(models[name], version)
        for name in names
        for version in sorted(models[name].versions, key=lambda version: -version.weight)
        if version.weight
    )


def mirror_shares(mirror: Mirror | None, models: Mapping[str, Model]) -> tuple[MirrorShare, ...]:
    if mirror is None:
        return ()
    model = models[mirror.model]
    chosen = [(v, 100 if mirror.version else v.weight) for v in model.versions if mirror.version in (None, v.name)]
    follows = mirror.version is None
    return tuple(
        MirrorShare(model, v, mirror.percent * weight, mirror.percent, follows) for v, weight in chosen if weight
    )


def _parts(model: Model, fallback: Fallback, models: Mapping[str, Model]) -> tuple[Model | None, ...]:
    """The models that have a say in the route of `model`: where its requests are mirrored to, and its hops."""
    mirrored = None if model.mirror is None else models.get(model.mirror.model)
    return (model, mirrored, *(models[hop] for hop in fallback.after_naming(model.name)))


def _model_route(model: Model, mirrored: Model | None = None, *hops: Model) -> Route:
    names, involved = (model.name, *model.aliases), {of.name: of for of in (model, mirrored, *hops) if of is not None}
    member = (model, 100, tuple(hop.name for hop in hops))
    return _route(f"model/{model.name}", names, (member,), _of_model(model), involved)


def _orchestrator_routes(orchestrator: Orchestrator, models: Mapping[str, Model]) -> tuple[Route, ...]:
    return tuple(_chosen_routes(orchestrator, models))


def _chosen_routes(orchestrator: Orchestrator, models: Mapping[str, Model]) -> Iterator[Route]:
    name, names = f"orchestrator/{orchestrator.name}", (orchestrator.name, "")
    fallback = orchestrator.fallback
    for rule in orchestrator.rules:
        settings = _Settings(rule.retries, rule.timeouts, rule.mirror, rule.fault, rule.origin)
        members = _members(rule.targets, fallback, models)
        yield _route(f"{name}/rule/{rule.name}", names, members, settings, models, conditions=rule.conditions)
    for asked, (first, *others) in capability_classes(orchestrator.members):
        chosen = models[first]
        hops = tuple(dict.fromkeys((*others, *fallback.after_choice(first))))
        settings = _of_model(chosen)._replace(origin=orchestrator.origin)
        own_name = f"{name}/capability/{'+'.join(asked)}"
        yield _route(own_name, names, ((chosen, 100, hops),), settings, models, asks_within=asked)
    if orchestrator.default:
        members = _members(orchestrator.default, fallback, models)
        # Linking has made sure that the members agree in what a route decides: P216.
        settings = _of_model(members[0][0])._replace(origin=orchestrator.origin)
        yield _route(name, names, members, settings, models)
    if fallback.hops and (not orchestrator.default or fallback.takes_unknown_names):
        first, *others = (hop.model for hop in fallback.hops)
        yield _route(
            f"{name}/fallback",
            () if orchestrator.default else names,
            ((models[first], 100, tuple(others)),),
            _of_model(models[first])._replace(origin=fallback.hops[0].origin),
            models,
            takes_unknown_names=fallback.takes_unknown_names,
        )


_Member = tuple[Model, int, tuple[str, ...]]
"""A model, its share in percent points, and the models that answer in its place."""


def _members(targets: Iterable[Target], fallback: Fallback, models: Mapping[str, Model]) -> tuple[_Member, ...]:
    return tuple((models[t.model], t.weight, fallback.after_choice(t.model)) for t in targets)


def _of_model(model: Model) -> _Settings:
    return _Settings(model.retries, model.timeouts, model.mirror, model.fault, model.origin)


def _route(
    name: str,
    model_names: tuple[str, ...],
    members: tuple[_Member, ...],
    settings: _Settings,
    models: Mapping[str, Model],
    *,
    conditions: tuple[Condition, ...] = (),
    asks_within: tuple[str, ...] | None = None,
    takes_unknown_names: bool = False,
) -> Route:
    shares = tuple(
        Share(model, version, percent * version.weight, hop_backends(hops, models))
        for model, percent, hops in members
        for version in model.versions
    )
    # Those who are chosen before those who stand in: the first that a request has decides.
    chosen = [share.model for share in shares]
    models_in_turn = (*chosen, *(hop.model for share in shares for hop in share.hops))
    hash_keys = (model.load_balancing.hash_key for model in models_in_turn)
    return Route(
        name=name,
        model_names=model_names,
        conditions=conditions,
        shares=shares,
        hash_keys=tuple(dict.fromkeys(key for key in hash_keys if key is not None)),
        retries=settings.retries,
        timeouts=settings.timeouts,
        origin=settings.origin,
        asks_within=asks_within,
        takes_unknown_names=takes_unknown_names,
        mirrors=mirror_shares(settings.mirror, models),
        fault=settings.fault,
    )
