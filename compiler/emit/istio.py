"""What Istio needs to carry a gateway's hosts: Gateway, VirtualService, and a DestinationRule for each Service."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from compiler.diagnostics import Diagnostic, error, info, warning
from compiler.emit.destination_rule import standby_tiers, traffic_policy
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
from compiler.fleet import Carrier, Fleet, Gateway, Listener, Model, Strategy, Version, routes

_API_VERSION = "networking.istio.io/v1"
_INGRESS = {"istio": "ingressgateway"}
"""The pods of Istio's own ingress gateway, as its charts label them."""


def objects(fleet: Fleet) -> Iterator[Object]:
    for model, version in _carried_versions(fleet):
        yield _destination_rule(model, version)
    for gateway in fleet.gateways:
        hosts = _hosts(gateway)
        if hosts:
            yield _gateway(gateway, hosts)
            yield _virtual_service(fleet, gateway, hosts)


def diagnostics(fleet: Fleet) -> Iterator[Diagnostic]:
    for gateway in fleet.gateways:
        yield from _host_diagnostics(gateway)
    for model in dict.fromkeys(model for model, _ in _carried_versions(fleet)):
        yield from _model_diagnostics(model)


def _hosts(gateway: Gateway) -> list[str]:
    return [host.name for host in gateway.hosts if host.carrier is Carrier.ISTIO]


def _carried_versions(fleet: Fleet) -> tuple[tuple[Model, Version], ...]:
    """Every version that a route of an Istio-carried gateway names, those that get nothing yet too."""
    gateways = (gateway for gateway in fleet.gateways if _hosts(gateway))
    shares = (share for gateway in gateways for route in routes(fleet, gateway) for share in route.shares)
    return tuple(dict.fromkeys((share.model, share.version) for share in shares))


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


def _virtual_service(fleet: Fleet, gateway: Gateway, hosts: list[str]) -> Object:
    own = f"{gateway.namespace}/{gateway_owner(gateway).slug}"
    return _gateway_object(
        gateway, "VirtualService", {"hosts": hosts, "gateways": [own], "http": http_routes(fleet, gateway)}
    )


def _gateway_object(gateway: Gateway, kind: str, spec: dict[str, Any]) -> Object:
    owner = gateway_owner(gateway)
    body = {
        "apiVersion": _API_VERSION,
        "kind": kind,
        "metadata": metadata(owner.slug, owner, gateway.origin, Wave.ROUTING),
        "spec": spec,
    }
    return Object(gateway_file(gateway), body, gateway.origin)


def _host_diagnostics(gateway: Gateway) -> Iterator[Diagnostic]:
    hosts = _hosts(gateway)
    for host in hosts:
        yield warning(
            "P301",
            gateway.origin,
            f"Istio cannot express for {host}: the body's `model` and `stream`, maxRequestBytes; "
            "requests are routed by header model-name and path, with the longer of both total timeouts",
            f"own Envoys for {host}",
        )
        for rule in gateway.orchestrator.rules if gateway.orchestrator else ():
            said = f"Istio cannot express for {host}: rule '{rule.name}'"
            yield error("P301", rule.origin, said, f"own Envoys for {host}")
    if hosts:
        yield info("P310", gateway.origin, "Istio has no active probes; readiness stands in")


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
