"""Where a model that Flagger moves meets what else the fleet has: gateways, rules, mirrors and engines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from compiler.diagnostics import BUILT_IN, Diagnostic, error
from compiler.emit.flagger.metrics import query, templates
from compiler.emit.names import apex_host, gateway_owner
from compiler.fleet import (
    Autoscaler,
    Carrier,
    Fleet,
    Gateway,
    Metric,
    Model,
    Rollout,
    RolloutEngine,
    Route,
    routes,
    slug,
)
from compiler.kept import Kept


def diagnostics(fleet: Fleet, kept: Kept) -> Iterator[Diagnostic]:
    moved = {model.name: model for model in kept.chained(_moved, fleet.models)}
    if not moved:
        return
    reached: dict[str, list[Gateway]] = {name: [] for name in moved}
    for gateway in fleet.gateways:
        own = routes(fleet, gateway, kept)
        for name in _models(own) & moved.keys():
            reached[name].append(gateway)
        if _carried(gateway, Carrier.ISTIO):
            yield from _second_writers(gateway, own)
            yield from _same_name(gateway, moved.values())
    for name, model in moved.items():
        assert model.rollout is not None
        if model.is_flaggers:
            yield from _not_istios(model, model.rollout, reached[name])
            yield from _engine_tells_nothing(model, model.rollout)
            yield from _scaled(model, model.rollout, fleet.platform.autoscaler)
        else:
            yield from _istios(model, model.rollout, reached[name])


def _moved(model: Model) -> tuple[Model, ...]:
    return () if model.rollout is None else (model,)


def _models(own: tuple[Route, ...]) -> set[str]:
    return {share.model.name for route in own for share in route.shares}


def _carried(gateway: Gateway, carrier: Carrier) -> list[str]:
    return [host.name for host in gateway.hosts if host.carrier is carrier]


def _at(gateway: Gateway, hosts: list[str]) -> str:
    named = ", ".join(hosts)
    return named if gateway.origin == BUILT_IN else f"{named} ({gateway.origin})"


def _second_writers(gateway: Gateway, own: tuple[Route, ...]) -> Iterator[Diagnostic]:
    """Routes of ours that would split, or copy to, what Flagger splits."""
    for route in own:
        taking = {share.model.name: share.model for share in route.shares if share.weight}
        for model in taking.values() if len(taking) > 1 else ():
            if model.rollout is not None and model.is_flaggers:
                host = f"{apex_host(model)} ({model.rollout.engine_origin})"
                said = f"Flagger owns host {host}; our VirtualService would be a second writer: {route.name} splits it"
                yield error("P451", route.origin, said, f"{model.name} alone, or engine: turnout")
        for mirror in {share.model.name: share.model for share in route.mirrors if share.model.is_flaggers}.values():
            assert mirror.rollout is not None
            said = f"Istio cannot express a mirror to {mirror.name}: Flagger moves it ({mirror.rollout.engine_origin})"
            yield error("P301", route.origin, said, "another model, or engine: turnout")


def _same_name(gateway: Gateway, moved: Iterable[Model]) -> Iterator[Diagnostic]:
    for model in moved:
        if model.rollout is None or not model.is_flaggers or model.namespace != gateway.namespace:
            continue
        if gateway_owner(gateway).slug == slug(model.name):
            named = f"VirtualService {slug(model.name)} ({model.rollout.engine_origin})"
            said = f"Flagger owns {named}; our VirtualService would be a second writer"
            yield error("P451", gateway.origin, said, "another name for the gateway")


def _not_istios(model: Model, rollout: Rollout, gateways: list[Gateway]) -> Iterator[Diagnostic]:
    way_out = f"engine: turnout, or gateways of Istio's for {model.name}"
    for gateway in gateways:
        for carrier, who in ((Carrier.ENVOY, "Turnout's own Envoys carry"), (Carrier.GATEWAY_API, "HTTPRoutes carry")):
            if hosts := _carried(gateway, carrier):
                said = f"Flagger cannot move {model.name} at {_at(gateway, hosts)}: {who} it"
                yield error("P301", rollout.engine_origin, said, way_out)
    if not gateways:
        said = f"Flagger cannot move {model.name}: no gateway has it"
        yield error("P301", rollout.engine_origin, said, way_out)


def _istios(model: Model, rollout: Rollout, gateways: list[Gateway]) -> Iterator[Diagnostic]:
    assert rollout.engine is RolloutEngine.TURNOUT
    for gateway in gateways:
        if hosts := _carried(gateway, Carrier.ISTIO):
            at = _at(gateway, hosts)
            yield error("P306", rollout.engine_origin, f"Istio host {at}: no live weights", "engine: flagger")
            if rollout.sticky_by is not None:
                said = f"Istio keeps no cohorts in a split, which {model.name} has at {at}"
                yield error("P308", rollout.origin, said, "own Envoys, or no stickyBy")


def _engine_tells_nothing(model: Model, rollout: Rollout) -> Iterator[Diagnostic]:
    for metric in templates(rollout):
        if query(model, metric) is None:
            framework = next((str(version.engine.framework) for version in model.deployed), "")
            said = f"{framework} has no {metric.name}: its metrics do not tell it"
            yield error("P307", metric.origin, said, "a metric with a query of your own")


def _scaled(model: Model, rollout: Rollout, by: Autoscaler) -> Iterator[Diagnostic]:
    """What scales the copy that serves, Flagger copies too, with its queries: they must be of each one's own pods."""
    for version in model.deployed:
        scaling = version.autoscaling
        if scaling is None:
            continue
        asked = f"for {model.name} ({rollout.engine_origin})"
        if by is Autoscaler.KEDA:
            said = f"Flagger cannot express autoscaler: keda {asked}: both copies would be scaled by the same series"
            yield error("P301", scaling.origin, said, "autoscaler: hpa")
        elif any(target.metric is Metric.LATENCY for target in scaling.metrics):
            said = f"Flagger cannot express autoscaling by latency {asked}: both copies would have that of one version"
            yield error("P301", scaling.origin, said, "running_requests, or another metric of instances")
