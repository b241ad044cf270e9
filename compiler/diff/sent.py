"""What of a change reaches Turnout's own Envoys: decisions, and what evaluate does not ask but their clusters have."""

from __future__ import annotations

from collections.abc import Iterable

from compiler.diff.leaves import Leaf
from compiler.diff.request_class import RequestClass
from compiler.diff.settings import Change, Setting
from compiler.fleet import Carrier, Fleet, Gateway, Model

_OF_CLUSTERS = ("loadBalancing", "outlierDetection")
_OF_VERSIONS = ("healthCheck", "endpoints", "connectionPool")
_OF_PODS = ("replicas", "resources", "serviceType")


def is_envoys(found: RequestClass) -> bool:
    gateways = (gateway for gateway in (found.place.before, found.place.after) if gateway is not None)
    hosts = (host for gateway in gateways for host in gateway.hosts if host.name in found.place.hosts)
    return any(host.carrier is Carrier.ENVOY for host in hosts)


def is_sent(before: Fleet, after: Fleet, classes: Iterable[RequestClass], settings: Iterable[Setting]) -> bool:
    """Whether the control server has anything of the change to send."""
    names = {of.name for fleet in (before, after) for of in fleet.gateways if _has_envoys(of)}
    served = served_by_envoys(before) | served_by_envoys(after)
    models = {model.name: model for model in after.models if model.name in served}

    def has(setting: Setting) -> bool:
        match setting.kind:
            case "model":
                model = models.get(setting.name)
                return model is not None and any(_is_of_clusters(leaf, model) for leaf in setting.leaves)
            case "gateway":
                is_of_pods = setting.change is Change.CHANGED and all(
                    leaf.path[0] in _OF_PODS for leaf in setting.leaves
                )
                return setting.name in names and not is_of_pods
            case "platform":
                return bool(names) and any(leaf.path[0] == "tracing" for leaf in setting.leaves)
        return False

    return any(is_envoys(found) for found in classes) or any(map(has, settings))


def served_by_envoys(fleet: Fleet) -> frozenset[str]:
    """Names of the models that Turnout's own Envoys lead to."""
    return frozenset(name for gateway in fleet.gateways if _has_envoys(gateway) for name in gateway.models)


def _has_envoys(gateway: Gateway) -> bool:
    return any(host.carrier is Carrier.ENVOY for host in gateway.hosts)


def _is_of_clusters(leaf: Leaf, model: Model) -> bool:
    if leaf.path[0] == "zones":
        return any(version.endpoints for version in model.versions)
    if leaf.path[0] == "versions":
        return any(part in _OF_VERSIONS for part in leaf.path[2:3])
    return leaf.path[0] in _OF_CLUSTERS
