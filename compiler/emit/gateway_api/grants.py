"""Whose HTTPRoutes may lead to Services of another namespace than their own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from compiler.emit.names import model_file, model_labels, model_owner, service_name
from compiler.emit.object import Object, Wave, metadata
from compiler.fleet import Model, Route, Version, slug

# v1beta1 is what every release serves.
_API_VERSION = "gateway.networking.k8s.io/v1beta1"
_ROUTES = {"group": "gateway.networking.k8s.io", "kind": "HTTPRoute"}

Grant = tuple[Model, str, tuple[Version, ...]]
"""A model, the namespace of the HTTPRoutes, and the versions that those lead or mirror to."""


def grants(namespaces: Iterable[tuple[str, tuple[Route, ...]]]) -> Iterator[Grant]:
    """`namespaces` of gateways, each with the routes of one."""
    needed: dict[tuple[str, str], tuple[Model, dict[str, Version]]] = {}
    for namespace, own in namespaces:
        for model, version in (pair for route in own for pair in _asked(route)):
            if model.namespace != namespace:
                needed.setdefault((model.name, namespace), (model, {}))[1][version.name] = version
    for (_, namespace), (model, versions) in needed.items():
        yield model, namespace, tuple(version for version in model.versions if version.name in versions)


def grant(model: Model, namespace: str, *versions: Version) -> Object:
    """Before the routes that need it."""
    body = {
        "apiVersion": _API_VERSION,
        "kind": "ReferenceGrant",
        "metadata": metadata(
            f"{slug(model.name)}.{namespace}",
            model_owner(model),
            model.origin,
            Wave.CLUSTER_SETTINGS,
            model_labels(model),
        ),
        "spec": {
            "from": [{**_ROUTES, "namespace": namespace}],
            "to": [{"group": "", "kind": "Service", "name": service_name(model, version)} for version in versions],
        },
    }
    return Object(model_file(model), body, model.origin)


def _asked(route: Route) -> Iterator[tuple[Model, Version]]:
    yield from ((share.model, share.version) for share in route.shares if share.weight)
    yield from ((mirror.model, mirror.version) for mirror in route.mirrors)
