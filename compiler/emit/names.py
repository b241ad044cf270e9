"""Names and labels that workloads, Services and routes of a model must agree on."""

from __future__ import annotations

from compiler.diagnostics import Position
from compiler.emit.object import Owner
from compiler.fleet import Gateway, Model, Platform, Priority, Tenant, Tier, Version, slug
from compiler.fleet.names import version_slug

APP = "app.kubernetes.io/name"
"""Of the labels by which Flagger can tell pods apart, the one that Turnout uses."""
SERVICE_PORT = 80
CONTAINER_PORT = 8000

GATEWAY_APP = "turnout-gateway"
CONTROL_APP = "turnout-control"
"""`app.kubernetes.io/name` of pods, beside `app.kubernetes.io/managed-by: turnout`."""

MODEL_LABEL = "turnout.dev/model"
WEIGHTS_LABEL = "turnout.dev/weights"
"""Of pods: the scheme of the model's path, which says what they must reach to start."""
TENANT_LABEL = "turnout.dev/tenant"
"""Of namespaces: whose alone it is."""
SIDECARS_LABEL = "turnout.dev/sidecars"
"""Of namespaces, set to "true" by whoever runs the cluster: Envoys beside clients there may reach models."""
ISTIO_INGRESS = {"istio": "ingressgateway"}
"""The pods of Istio's own ingress gateway, as its charts label them."""
GATEWAY_NAME_LABEL = "gateway.networking.k8s.io/gateway-name"
"""Of the pods that an implementation of the Gateway API runs for the Gateway of that name.

https://gateway-api.sigs.k8s.io/geps/gep-1762
"""
CONTROL_METRICS = "http-metrics"
"""Name of the control server's port for people and Prometheus; `/metrics`."""
GATEWAY_LABEL = "turnout.dev/gateway"
"""Of a gateway's pods: whose they are."""
GATEWAY_METRICS = "stats"
"""Name of the port at which a gateway's pods tell metrics, `/stats/prometheus`, and whether they are ready."""

_TIERS = tuple(Tier)
_RANKED = (Tier.WARM, Tier.HOT, Tier.ACTIVE)

FAILOVER_PRIORITY = tuple(f"turnout.dev/le-{tier}=true" for tier in _RANKED)
"""Istio gives an endpoint the priority n - i, where i is the first of these n labels it lacks, and 0 when it has all.

So active pods come at 0, hot at 1, warm at 2, cold at 3.
https://github.com/istio/istio/blob/master/pilot/pkg/networking/core/loadbalancer/loadbalancer.go
"""


def failover_labels(tier: Tier) -> dict[str, str]:
    """The labels of a tier's pods that `FAILOVER_PRIORITY` compares: `le-hot` on every pod that is hot or better."""
    rank = _TIERS.index(tier)
    return {f"turnout.dev/le-{other}": "true" for other in _RANKED if rank <= _TIERS.index(other)}


def model_owner(model: Model) -> Owner:
    return Owner(slug(model.name), model.namespace, model.labels, model.annotations)


def model_file(model: Model) -> str:
    return f"models/{slug(model.name)}.yaml"


def model_labels(model: Model) -> dict[str, str]:
    return {MODEL_LABEL: slug(model.name)}


def version_labels(model: Model, version: Version) -> dict[str, str]:
    """What a version's Service selects: its pods of every tier."""
    return {**model_labels(model), "turnout.dev/version": version.name}


def weights_labels(version: Version) -> dict[str, str]:
    return {WEIGHTS_LABEL: str(version.engine.model_path.scheme)}


def app_labels(model: Model) -> dict[str, str]:
    """What Flagger tells the pods by that are on trial; those that stand get another value: `<slug>-primary`."""
    return {APP: slug(model.name)} if model.is_flaggers else {}


def tier_labels(model: Model, version: Version, tier: Tier) -> dict[str, str]:
    """What selects a tier's pods and no others."""
    return {**version_labels(model, version), "turnout.dev/tier": str(tier)}


def tier_origin(version: Version, tier: Tier) -> Position:
    """Of the policy without which the tier would not be there."""
    return version.origin if tier is Tier.ACTIVE else version.standby_origin


def priority_class(priority: Priority) -> str:
    return f"turnout-{priority}"


def version_annotations(version: Version) -> dict[str, str]:
    return {"turnout.dev/model-name": version.model_name}


def service_name(model: Model, version: Version) -> str:
    return f"{slug(model.name)}-{version_slug(version.name)}"


def service_host(model: Model, version: Version) -> str:
    return f"{service_name(model, version)}.{model.namespace}.svc.cluster.local"


def apex_host(model: Model, suffix: str = "") -> str:
    """Of the Services that Flagger has for a model: all requests', `-primary` and `-canary`."""
    return f"{slug(model.name)}{suffix}.{model.namespace}.svc.cluster.local"


def service_hosts(model: Model, version: Version) -> tuple[str, ...]:
    """Every host that requests for the version may be sent to."""
    if model.is_flaggers:
        return tuple(apex_host(model, of) for of in ("", "-primary", "-canary")) if version in model.deployed else ()
    return (service_host(model, version),)


def deployment_name(model: Model, version: Version, tier: Tier) -> str:
    """For a model that Flagger moves it stays the same from version to version."""
    name = slug(model.name) if model.is_flaggers else service_name(model, version)
    return name if tier is Tier.ACTIVE else f"{name}-{tier}"


def gateway_owner(gateway: Gateway) -> Owner:
    return Owner(slug(gateway.name), gateway.namespace, gateway.labels, gateway.annotations)


def gateway_file(gateway: Gateway) -> str:
    return f"traffic/{slug(gateway.name)}.yaml"


def platform_owner(platform: Platform, namespace: str | None) -> Owner:
    """Of what belongs to the fleet as a whole."""
    return Owner("platform", namespace, platform.labels, platform.annotations)


def tenant_owner(tenant: Tenant, namespace: str | None) -> Owner:
    return Owner(slug(tenant.name), namespace, tenant.labels, tenant.annotations)


def tenant_file(tenant: Tenant) -> str:
    return f"tenants/{slug(tenant.name)}.yaml"
