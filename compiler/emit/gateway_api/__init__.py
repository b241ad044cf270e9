"""What an implementation of the Gateway API needs to carry a gateway's hosts: Gateway, HTTPRoutes, ReferenceGrants."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from compiler.diagnostics import Diagnostic, Position
from compiler.emit.gateway_api import limits
from compiler.emit.gateway_api.gateway import spec
from compiler.emit.gateway_api.grants import grant, grants
from compiler.emit.gateway_api.http_routes import Ways, parts, rules_of, rules_of_model, ways
from compiler.emit.names import gateway_file, gateway_owner
from compiler.emit.object import Object, Owner, Wave, metadata
from compiler.fleet import Carrier, Fleet, Gateway, Model, Route, Version, routes, slug
from compiler.kept import Kept

_API_VERSION = "gateway.networking.k8s.io/v1"


class _Parent(NamedTuple):
    """What the HTTPRoutes of a gateway have of it."""

    owner: Owner
    file: str


def objects(fleet: Fleet, kept: Kept) -> Iterator[Object]:
    carried = [(gateway, hosts) for gateway in fleet.gateways if (hosts := _hosts(gateway))]
    for gateway, hosts in carried:
        own = routes(fleet, gateway, kept)
        parent = kept.same(("gateway api", gateway.name), _Parent(gateway_owner(gateway), gateway_file(gateway)))
        yield _gateway(gateway, hosts, fleet.platform.gateway_class)
        yield from kept.chained(_of_model, own, parent)
        if gateway.orchestrator is not None:
            found = ways(own, gateway.orchestrator.name)
            if found is not None:
                yield from _chosen(gateway, found, parent)
    yield from kept.rows(grant, _grants(fleet, kept, [gateway for gateway, _ in carried]))


def diagnostics(fleet: Fleet, kept: Kept) -> Iterator[Diagnostic]:
    led_to: dict[str, list[str]] = {}
    for gateway in fleet.gateways:
        if hosts := _hosts(gateway):
            own = routes(fleet, gateway, kept)
            yield from limits.of_gateway(gateway, hosts, own)
            for name in dict.fromkeys(kept.chained(_models, own)):
                led_to.setdefault(name, []).extend(hosts)
    if led_to:
        yield from limits.of_platform(fleet.platform, sorted({host for hosts in led_to.values() for host in hosts}))
    of_models = [(model, kept.same(("led to", model.name), tuple(led_to[model.name])))
                 for model in fleet.models if model.name in led_to]  # fmt: skip
    for found in kept.rows(limits.of_model, of_models):
        yield from found


def _hosts(gateway: Gateway) -> list[str]:
    return [host.name for host in gateway.hosts if host.carrier is Carrier.GATEWAY_API]


def _models(route: Route) -> frozenset[str]:
    return frozenset((*(share.model.name for share in route.shares), *(mirror.model.name for mirror in route.mirrors)))


def _gateway(gateway: Gateway, hosts: list[str], gateway_class: str | None) -> Object:
    assert gateway_class is not None  # linking has seen to it
    parent = _Parent(gateway_owner(gateway), gateway_file(gateway))
    return _object(parent, "Gateway", parent.owner.slug, gateway.origin, spec(gateway, hosts, gateway_class))


def _of_model(route: Route, parent: _Parent) -> tuple[Object, ...]:
    if not route.is_of_model:
        return ()
    [model] = {share.model.name for share in route.shares}
    rules = rules_of_model(route, _namespace(parent))
    return tuple(_http_routes(parent, f"model.{slug(model)}", route.origin, rules))


def _chosen(gateway: Gateway, found: Ways, parent: _Parent) -> Iterator[Object]:
    assert gateway.orchestrator is not None
    rules = rules_of(found, _namespace(parent))
    name = f"orchestrator.{slug(gateway.orchestrator.name)}"
    yield from _http_routes(parent, name, gateway.orchestrator.origin, rules)


def _http_routes(parent: _Parent, name: str, origin: Position, rules: list[dict[str, Any]]) -> Iterator[Object]:
    """Dots stand in no slug, so no two gateways share a name."""
    for number, some in enumerate(parts(rules), 1):
        own_name = f"{parent.owner.slug}.{name}" + (f".{number}" if number > 1 else "")
        # Without hosts of its own it is for all listeners of the gateway.
        yield _object(
            parent, "HTTPRoute", own_name, origin, {"parentRefs": [{"name": parent.owner.slug}], "rules": some}
        )


def _object(parent: _Parent, kind: str, name: str, origin: Position, body: dict[str, Any]) -> Object:
    made = {
        "apiVersion": _API_VERSION,
        "kind": kind,
        "metadata": metadata(name, parent.owner, origin, Wave.ROUTING),
        "spec": body,
    }
    return Object(parent.file, made, origin)


def _namespace(parent: _Parent) -> str:
    assert parent.owner.namespace is not None
    return parent.owner.namespace


def _grants(fleet: Fleet, kept: Kept, gateways: list[Gateway]) -> list[tuple[Model | str | Version, ...]]:
    found = grants((gateway.namespace, routes(fleet, gateway, kept)) for gateway in gateways)
    return [
        (model, kept.same(("grant", model.name, namespace), namespace), *versions)
        for model, namespace, versions in found
    ]
