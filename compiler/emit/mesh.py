"""Which models take requests by mutual TLS alone, and from whom: Istio's PeerAuthentication and AuthorizationPolicy.

Turnout's own Envoys speak plain HTTP to instances, so a model that they reach too takes both.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from compiler.emit.names import model_file, model_labels, model_owner
from compiler.emit.object import Object, Owner, Wave, metadata
from compiler.emit.spaces import Space
from compiler.fleet import Carrier, Model, slug

_API_VERSION = "security.istio.io/v1"
_INGRESS_NAMESPACES = "istio-*"
"""Istio's documentation puts its ingress gateway into istio-system or istio-ingress."""


def strict(space: Space, owner: Owner, file: str) -> Object:
    """What holds in a namespace of the mesh where a model's own does not say otherwise."""
    # https://istio.io/latest/docs/concepts/security/#peer-authentication
    body = {
        "apiVersion": _API_VERSION,
        "kind": "PeerAuthentication",
        "metadata": metadata("default", owner, space.origin, Wave.CLUSTER_SETTINGS),
        "spec": {"mtls": {"mode": "STRICT"}},
    }
    return Object(file, body, space.origin)


def of_model(model: Model, carriers: frozenset[Carrier]) -> tuple[Object, ...]:
    """Of a model in a namespace of the mesh."""
    return tuple(_of_model(model, carriers))


def _of_model(model: Model, carriers: frozenset[Carrier]) -> Iterator[Object]:
    if carriers != {Carrier.ISTIO}:
        yield _object(model, "PeerAuthentication", {"mtls": {"mode": "PERMISSIVE"}})
    elif model.tenant is not None:
        # Whoever asks has a certificate then, which says its namespace.
        allowed = {"namespaces": [_INGRESS_NAMESPACES, model.namespace]}
        yield _object(model, "AuthorizationPolicy", {"action": "ALLOW", "rules": [{"from": [{"source": allowed}]}]})


def _object(model: Model, kind: str, spec: dict[str, Any]) -> Object:
    labels = model_labels(model)
    body = {
        "apiVersion": _API_VERSION,
        "kind": kind,
        "metadata": metadata(slug(model.name), model_owner(model), model.origin, Wave.CLUSTER_SETTINGS, labels),
        "spec": {"selector": {"matchLabels": labels}, **spec},
    }
    return Object(model_file(model), body, model.origin)
