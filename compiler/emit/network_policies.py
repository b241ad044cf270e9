"""Who may talk to models, and with whom they may: NetworkPolicies of one namespace.

A kubelet's probes need no rule: what comes from a pod's own node is always let in.
https://kubernetes.io/docs/concepts/services-networking/network-policies
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from compiler.emit.names import (
    APP,
    CONTAINER_PORT,
    CONTROL_APP,
    GATEWAY_APP,
    GATEWAY_NAME_LABEL,
    ISTIO_INGRESS,
    MODEL_LABEL,
    SIDECARS_LABEL,
    WEIGHTS_LABEL,
)
from compiler.emit.object import Object, Owner, Wave, metadata
from compiler.emit.peers import OF_NO_TENANT, PROMETHEUS, Peer, in_namespaces, pods, tcp
from compiler.emit.spaces import Space
from compiler.fleet import Scheme

_MODELS = {"matchExpressions": [{"key": MODEL_LABEL, "operator": "Exists"}]}
_HTTPS, _DNS, _ISTIOD = 443, 53, 15012
_TRITON_METRICS = 8002
_MERGED_METRICS = 15020
"""Where Istio's proxy serves its own metrics and its container's, also to those who have no certificate of the mesh."""
_IDENTITY: Mapping[Scheme, tuple[tuple[str, int], ...]] = {
    # https://cloud.google.com/kubernetes-engine/docs/how-to/network-policy
    Scheme.GS: (("169.254.169.252/32", 988), ("169.254.169.254/32", 80)),
    # https://docs.aws.amazon.com/eks/latest/userguide/pod-id-how-it-works.html
    Scheme.S3: (("169.254.170.23/32", 80), ("fd00:ec2::23/128", 80)),
}
"""Where a cloud tells a pod who it is. Not the metadata server of EC2, which tells it that it is the node."""
_DOWNLOADED = (Scheme.GS, Scheme.HF, Scheme.S3)
"""Fetched by the pod itself; images and volumes come by way of the node."""


def network_policies(space: Space, platform_namespace: str, owner: Owner, file: str) -> Iterator[Object]:
    def policy(name: str, spec: dict[str, Any]) -> Object:
        body = {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": metadata(name, owner, space.origin, Wave.ACCESS),
            "spec": spec,
        }
        return Object(file, body, space.origin)

    if space.is_ours:
        yield policy("turnout-default-deny", {"podSelector": _denied(space), "policyTypes": ["Ingress"]})
    if space.has_models:
        yield policy("turnout-models", _models(space, platform_namespace))
    for scheme in _DOWNLOADED:
        if scheme in space.schemes:
            yield policy(f"turnout-weights-{scheme}", _weights(scheme))


def _denied(space: Space) -> dict[str, Any]:
    """Gateways and the control server have policies of their own; a tenant's namespace has neither."""
    if space.tenant is not None:
        return {}
    denied: list[dict[str, Any]] = [{"key": APP, "operator": "NotIn", "values": [CONTROL_APP, GATEWAY_APP]}]
    if space.runs_gateway_api:
        denied.append({"key": GATEWAY_NAME_LABEL, "operator": "DoesNotExist"})
    return {"matchExpressions": denied}


def _models(space: Space, platform_namespace: str) -> dict[str, Any]:
    return {
        "podSelector": _MODELS,
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [
            {"from": list(_asking(space, platform_namespace)), "ports": tcp(CONTAINER_PORT)},
            {
                "from": [PROMETHEUS],
                "ports": tcp(CONTAINER_PORT, _TRITON_METRICS, *([_MERGED_METRICS] if space.in_mesh else [])),
            },
        ],
        "egress": list(_asked(space)),
    }


def _asking(space: Space, platform_namespace: str) -> Iterator[Peer]:
    if space.gateways:
        yield {**in_namespaces(*space.gateways), **pods({APP: GATEWAY_APP})}
    yield {**in_namespaces(platform_namespace), **pods({APP: CONTROL_APP})}
    if space.in_mesh:
        yield {**OF_NO_TENANT, **pods(ISTIO_INGRESS)}
    if space.gateway_api:
        # In which namespace they are is the implementation's choice.
        named = {"key": GATEWAY_NAME_LABEL, "operator": "In", "values": [*space.gateway_api]}
        yield {**OF_NO_TENANT, "podSelector": {"matchExpressions": [named]}}
    # Envoys beside clients: whoever may label namespaces decides where those are.
    yield {"namespaceSelector": {"matchLabels": {SIDECARS_LABEL: "true"}}}
    if space.tenant is not None:
        yield {"podSelector": {}}


def _asked(space: Space) -> Iterator[dict[str, Any]]:
    node_local = {"ipBlock": {"cidr": "169.254.20.10/32"}}  # NodeLocal DNSCache
    yield {
        "to": [{**in_namespaces("kube-system"), **pods({"k8s-app": "kube-dns"})}, node_local],
        "ports": [{"protocol": "UDP", "port": _DNS}, *tcp(_DNS)],
    }
    if space.in_mesh:
        yield {"to": [{"namespaceSelector": {}, **pods({"app": "istiod"})}], "ports": tcp(_ISTIOD)}


def _weights(scheme: Scheme) -> dict[str, Any]:
    identity = [{"to": [{"ipBlock": {"cidr": cidr}}], "ports": tcp(port)} for cidr, port in _IDENTITY.get(scheme, ())]
    return {
        "podSelector": {"matchLabels": {WEIGHTS_LABEL: str(scheme)}},
        "policyTypes": ["Egress"],
        "egress": [{"ports": tcp(_HTTPS)}, *identity],
    }
