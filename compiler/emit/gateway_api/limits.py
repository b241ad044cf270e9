"""What of policy the Gateway API has no words for. What policy does not say itself is left out without a word."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from compiler.diagnostics import BUILT_IN, Diagnostic, Position, error, info, warning
from compiler.emit.gateway_api.conditions import paths, why_not
from compiler.emit.gateway_api.gateway import LONGEST_NAME, MOST_LISTENERS, listener_name
from compiler.emit.gateway_api.http_routes import MOST_BACKENDS, ways
from compiler.emit.gateway_api.match import MOST_HEADERS
from compiler.fleet import (
    Carrier,
    Fault,
    Gateway,
    Host,
    Model,
    Orchestrator,
    Platform,
    Retries,
    Rollout,
    RolloutEngine,
    Route,
    Rule,
    Timeouts,
)
from compiler.fleet.capabilities import capability_classes
from compiler.request import path_name


def of_gateway(gateway: Gateway, hosts: list[str], own: tuple[Route, ...]) -> Iterator[Diagnostic]:
    """`own` are its routes."""
    way_out = _own_envoys(hosts)
    said = "a model that the body alone names: such a request is answered 404"
    yield info("P301", gateway.origin, _cannot(said), "header model-name, or path /v1/models/<name>")
    if gateway.limit_origin != BUILT_IN:
        yield error("P301", gateway.limit_origin, _cannot("maxRequestBytes"), way_out)
    yield from _listeners(gateway, hosts)
    yield from _addresses(gateway)
    for route in own:
        taking = sum(1 for share in route.shares if share.weight)
        if max(taking, len(route.mirrors)) > MOST_BACKENDS:
            many = f"'{route.name}': more than {MOST_BACKENDS} versions at a time"
            yield error("P301", route.origin, _cannot(many), way_out)
    if gateway.orchestrator is not None:
        yield from _of_orchestrator(gateway.orchestrator, gateway, own, way_out)


def of_model(model: Model, hosts: Sequence[str]) -> tuple[Diagnostic, ...]:
    """`hosts` are those that lead to it."""
    return tuple(_of_model(model, _own_envoys(hosts)))


def of_platform(platform: Platform, hosts: Sequence[str]) -> Iterator[Diagnostic]:
    if platform.tracing is not None:
        said = _cannot(f"tracing: requests to {', '.join(hosts)} leave no spans")
        yield warning("P301", platform.tracing.origin, said, _own_envoys(hosts))


def _cannot(setting: str) -> str:
    return f"the Gateway API cannot express {setting}"


def _own_envoys(hosts: Sequence[str]) -> str:
    return f"own Envoys for {', '.join(hosts)}"


def _listeners(gateway: Gateway, hosts: list[str]) -> Iterator[Diagnostic]:
    count = len(hosts) * len(gateway.listeners)
    if count > MOST_LISTENERS:
        said = f"{count} listeners, one for each host and port; it takes {MOST_LISTENERS}"
        yield error("P301", gateway.origin, _cannot(said), "several gateways")
    for host in _carried(gateway):
        if max(len(listener_name(listener, host.name)) for listener in gateway.listeners) > LONGEST_NAME:
            said = _cannot(f"host {host.name}: its listener's name is too long")
            yield error("P301", host.origin, said, "a shorter one")


def _addresses(gateway: Gateway) -> Iterator[Diagnostic]:
    """Its schema takes them, and says that they are not allowed.

    https://gateway-api.sigs.k8s.io/reference/spec/#hostname
    """
    for host in _carried(gateway):
        if all(part.isdecimal() for part in host.name.split(".")):
            said = _cannot(f"host {host.name}: an address is no name of a host")
            yield error("P301", host.origin, said, f"a domain, '*', or {_own_envoys([host.name])}")


def _carried(gateway: Gateway) -> Iterator[Host]:
    return (host for host in gateway.hosts if host.carrier is Carrier.GATEWAY_API)


def _of_orchestrator(
    orchestrator: Orchestrator, gateway: Gateway, own: tuple[Route, ...], way_out: str
) -> Iterator[Diagnostic]:
    if orchestrator.fallback.hops:
        hop = orchestrator.fallback.hops[0]
        yield error("P301", hop.origin, _cannot("a fallback chain"), way_out)
    if classes := capability_classes(orchestrator.members):
        said = f"a choice by capability: {', '.join('+'.join(asked) for asked, _ in classes)}"
        first = min(member.origin for member in orchestrator.members)
        yield error("P301", first, _cannot(said), way_out)
    others = {name for route in own if route.is_of_model for name in route.model_names}
    for rule in orchestrator.rules:
        yield from _of_conditions(rule, others, way_out)
        yield from _of_route(rule.retries, rule.timeouts, rule.fault, way_out)
    found = ways(own, orchestrator.name)
    if found is None:
        said = f"the order of the rules of '{orchestrator.name}': it would take too many matches"
        yield error("P301", orchestrator.origin, _cannot(said), "fewer conditions that meet each other")
    elif max((len(match.headers) for match, _ in found.matches), default=0) > MOST_HEADERS:
        said = (
            f"rules of '{orchestrator.name}' that one request meets: together they ask for over {MOST_HEADERS} headers"
        )
        yield error("P301", orchestrator.origin, _cannot(said), way_out)


def _of_conditions(rule: Rule, models: set[str], way_out: str) -> Iterator[Diagnostic]:
    for condition in rule.conditions:
        why = why_not(condition)
        if why is not None:
            yield error("P301", condition.origin, _cannot(f"{condition}: {why}"), way_out)
        for path in paths(condition):
            if (name := path_name(path)) in models:
                said = f"{condition}: a path that names {name} leads there before any rule"
                yield error("P301", condition.origin, _cannot(said), way_out)


def _of_model(model: Model, way_out: str) -> Iterator[Diagnostic]:
    yield from _of_route(model.retries, model.timeouts, model.fault, way_out)
    said = [(model.load_balancing.origin, "loadBalancing")]
    if model.outlier_detection.consecutive_5xx_errors:
        said.append((model.outlier_detection.origin, "outlierDetection"))
    said += [(version.connection_pool.origin, "connectionPool") for version in model.versions]
    yield from _refused(dict.fromkeys(said), way_out)
    for version in model.versions:
        if version.has_standbys:
            standbys = f"standbys of {model.name}: a Service asks every tier alike"
            yield error("P301", version.standby_origin, _cannot(standbys), way_out)
    if model.rollout is not None and model.rollout.engine is RolloutEngine.TURNOUT:
        yield from _of_rollout(model.rollout, way_out)


def _of_rollout(rollout: Rollout, way_out: str) -> Iterator[Diagnostic]:
    said = f"rollout {rollout.name}: it has no live weights"
    yield error("P301", rollout.engine_origin, _cannot(said), way_out)
    if rollout.sticky_by is not None:
        yield error("P301", rollout.origin, _cannot(f"stickyBy of rollout {rollout.name}"), way_out)


def _of_route(retries: Retries, timeouts: Timeouts, fault: Fault | None, way_out: str) -> Iterator[Diagnostic]:
    said = [(timeouts.stream_origin, "timeouts.stream: nothing but the body tells who streams")]
    if retries.attempts:
        said.append((retries.origin, "retries"))
    if fault is not None:
        said.append((fault.origin, "fault"))
    yield from _refused(said, way_out)


def _refused(
    said: Sequence[tuple[Position, str]] | dict[tuple[Position, str], None], way_out: str
) -> Iterator[Diagnostic]:
    """What stands in policy; built-in defaults ask nobody for anything."""
    for origin, setting in said:
        if origin != BUILT_IN:
            yield error("P301", origin, _cannot(setting), way_out)
