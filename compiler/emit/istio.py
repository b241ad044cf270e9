"""What Istio needs to carry a gateway's hosts: Gateway, VirtualService, EnvoyFilter, a DestinationRule per Service."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from compiler.diagnostics import Diagnostic, error, info, warning
from compiler.emit.destination_rule import standby_tiers, traffic_policy
from compiler.emit.gateway_filter import config_patches
from compiler.emit.header_matches import LONGEST_REGEX, header_matches
from compiler.emit.names import (
    gateway_file,
    gateway_owner,
    model_file,
    model_owner,
    service_host,
    service_name,
    version_annotations,
    version_labels,
)
from compiler.emit.object import Object, Wave, metadata
from compiler.emit.virtual_service import http_routes
from compiler.fleet import Carrier, Fleet, Gateway, Listener, Model, Route, Strategy, Version, routes
from compiler.fleet.capabilities import capability_classes
from compiler.kept import Kept

_API_VERSION = "networking.istio.io/v1"
_FILTER_API_VERSION = "networking.istio.io/v1alpha3"
_INGRESS = {"istio": "ingressgateway"}
"""The pods of Istio's own ingress gateway, as its charts label them."""
_ROOT_NAMESPACE = "istio-system"
"""Istio's default. An EnvoyFilter elsewhere reaches the pods of its own namespace only; a gateway's are in another."""


def objects(fleet: Fleet, kept: Kept) -> Iterator[Object]:
    # Of a model that Flagger moves, Flagger writes them.
    own_rules = [(model, version) for model, version in _carried_versions(fleet, kept) if not model.is_flaggers]
    yield from kept.rows(_destination_rule, own_rules)
    for gateway in fleet.gateways:
        hosts = _hosts(gateway)
        if hosts:
            own = routes(fleet, gateway, kept)
            yield _gateway(gateway, hosts)
            yield _virtual_service(gateway, hosts, own)
            yield _envoy_filter(gateway, hosts, own, kept)


def diagnostics(fleet: Fleet, kept: Kept) -> Iterator[Diagnostic]:
    for gateway in fleet.gateways:
        if hosts := _hosts(gateway):
            yield from _gateway_diagnostics(gateway, hosts, routes(fleet, gateway, kept), kept)
    yield from _port_diagnostics(fleet.gateways)
    carried = tuple(dict.fromkeys(model for model, _ in _carried_versions(fleet, kept)))
    yield from kept.chained(_of_model, carried)


def _of_model(model: Model) -> tuple[Diagnostic, ...]:
    return tuple(_model_diagnostics(model))


def _hosts(gateway: Gateway) -> list[str]:
    return [host.name for host in gateway.hosts if host.carrier is Carrier.ISTIO]


def _carried_versions(fleet: Fleet, kept: Kept) -> tuple[tuple[Model, Version], ...]:
    """Every version that a route of an Istio-carried gateway names, those that get nothing yet too."""
    gateways = (gateway for gateway in fleet.gateways if _hosts(gateway))
    return _distinct(pair for gateway in gateways for pair in _versions(routes(fleet, gateway, kept), kept))


def _versions(own: tuple[Route, ...], kept: Kept) -> tuple[tuple[Model, Version], ...]:
    """Those that get requests, or copies of some."""
    return _distinct((*kept.chained(_asked, own), *kept.chained(_copied, own)))


def _asked(route: Route) -> tuple[tuple[Model, Version], ...]:
    return tuple((share.model, share.version) for share in route.shares)


def _copied(route: Route) -> tuple[tuple[Model, Version], ...]:
    return tuple((mirror.model, mirror.version) for mirror in route.mirrors)


def _distinct(pairs: Iterable[tuple[Model, Version]]) -> tuple[tuple[Model, Version], ...]:
    """By name: to compare whole models would take longer than all else."""
    return tuple({(model.name, version.name): (model, version) for model, version in pairs}.values())


def _destination_rule(model: Model, version: Version) -> Object:
    # One host each, no wildcard and no subsets: of two rules for one host only the more specific one counts.
    body = {
        "apiVersion": _API_VERSION,
        "kind": "DestinationRule",
        "metadata": metadata(
            service_name(model, version),
            model_owner(model),
            version.origin,
            Wave.CLUSTER_SETTINGS,
            version_labels(model, version),
            version_annotations(version),
        ),
        "spec": {"host": service_host(model, version), "trafficPolicy": traffic_policy(model, version)},
    }
    return Object(model_file(model), body, version.origin)


def _gateway(gateway: Gateway, hosts: list[str]) -> Object:
    spec = {"selector": _INGRESS, "servers": [_server(listener, hosts) for listener in gateway.listeners]}
    return _gateway_object(gateway, "Gateway", spec)


def _server(listener: Listener, hosts: list[str]) -> dict[str, Any]:
    protocol = str(listener.protocol)
    server: dict[str, Any] = {
        "port": {"number": listener.port, "name": f"{protocol.lower()}-{listener.port}", "protocol": protocol},
        "hosts": hosts,
    }
    if listener.tls_secret is not None:
        server["tls"] = {"mode": "SIMPLE", "credentialName": listener.tls_secret}
    return server


def _virtual_service(gateway: Gateway, hosts: list[str], own: tuple[Route, ...]) -> Object:
    at = f"{gateway.namespace}/{gateway_owner(gateway).slug}"
    return _gateway_object(
        gateway, "VirtualService", {"hosts": hosts, "gateways": [at], "http": http_routes(gateway, own)}
    )


def _envoy_filter(gateway: Gateway, hosts: list[str], own: tuple[Route, ...], kept: Kept) -> Object:
    owner = gateway_owner(gateway)._replace(namespace=_ROOT_NAMESPACE)
    patches = config_patches(gateway, hosts, own, _versions(own, kept))
    body = {
        "apiVersion": _FILTER_API_VERSION,
        "kind": "EnvoyFilter",
        # The namespace is not only ours: hence the prefix. Before the routes, which look for the headers it sets.
        "metadata": metadata(f"turnout-{owner.slug}", owner, gateway.origin, Wave.CLUSTER_SETTINGS),
        "spec": {"workloadSelector": {"labels": _INGRESS}, "configPatches": patches},
    }
    return Object(gateway_file(gateway), body, gateway.origin)


def _gateway_object(gateway: Gateway, kind: str, spec: dict[str, Any]) -> Object:
    owner = gateway_owner(gateway)
    body = {
        "apiVersion": _API_VERSION,
        "kind": kind,
        "metadata": metadata(owner.slug, owner, gateway.origin, Wave.ROUTING),
        "spec": spec,
    }
    return Object(gateway_file(gateway), body, gateway.origin)


def _gateway_diagnostics(
    gateway: Gateway, hosts: list[str], own: tuple[Route, ...], kept: Kept
) -> Iterator[Diagnostic]:
    way_out = f"own Envoys for {', '.join(hosts)}"
    for route, length in zip(own, kept.each(_longest_regex, own), strict=True):
        if length > LONGEST_REGEX:
            said = f"Istio cannot express '{route.name}': a regular expression of {length:,} characters"
            yield error("P301", route.origin, f"{said}; it takes {LONGEST_REGEX:,}", way_out)
    yield from _fallback_diagnostics(gateway, way_out)
    yield info("P310", gateway.origin, "Istio has no active probes; readiness stands in")


def _port_diagnostics(gateways: Iterable[Gateway]) -> Iterator[Diagnostic]:
    """One set of pods opens the ports of all gateways: of two protocols at one port istiod leaves one out.

    https://github.com/istio/istio/blob/master/pilot/pkg/model/gateway.go, mergeGateways
    """
    first: dict[int, tuple[Gateway, Listener]] = {}
    for gateway in gateways:
        if not (hosts := _hosts(gateway)):
            continue
        for listener in gateway.listeners:
            other, before = first.setdefault(listener.port, (gateway, listener))
            if other is not gateway and listener.protocol is not before.protocol:
                said = f"{listener.protocol} at port {listener.port}, where {other.name} has {before.protocol}"
                way_out = f"another port, or own Envoys for {', '.join(hosts)}"
                yield error("P301", listener.origin, f"Istio cannot express {said} ({before.origin})", way_out)


def _longest_regex(route: Route) -> int:
    return header_matches(route).longest_regex


def _fallback_diagnostics(gateway: Gateway, way_out: str) -> Iterator[Diagnostic]:
    orchestrator = gateway.orchestrator
    if orchestrator is None:
        return
    if orchestrator.fallback.hops:
        hop = orchestrator.fallback.hops[0]
        yield error("P304", hop.origin, "Istio has no fallback across models", way_out)
    for asked, (first, *others) in capability_classes(orchestrator.members):
        if others:
            said = f"for {'+'.join(asked)} it asks model {first}, healthy or not, and never {', '.join(others)}"
            yield warning("P304", orchestrator.origin, f"Istio has no fallback across models: {said}", way_out)


def _model_diagnostics(model: Model) -> Iterator[Diagnostic]:
    if model.load_balancing.strategy is Strategy.WEIGHTED_RANDOM:
        yield error("P303", model.origin, "Istio has no weights from load", "least_connections")
    most = max(map(standby_tiers, model.versions))
    if not most:
        return
    # Its retries leave a tier after two tries, so each tier further costs two.
    attempts, needed = model.retries.attempts, 2 * most
    if attempts < needed:
        message = f"Istio leaves a tier at the third try: attempts {attempts}, needs {needed}"
        yield warning("P311", model.origin, message, f"retries.attempts: {needed}")
    if not model.outlier_detection.consecutive_5xx_errors:
        yield error("P312", model.origin, "tiers on Istio need outlierDetection", "consecutive5xxErrors: 5")
    yield info("P313", model.origin, "on Istio a standby joins below 72 % healthy")
