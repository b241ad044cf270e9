"""Names of objects and clusters, made from names in policy."""

from __future__ import annotations

from functools import lru_cache


@lru_cache(maxsize=1 << 14)  # every emitter asks for every model's, several times
def slug(name: str) -> str:
    """A policy name as Kubernetes takes it for a Service: dots become `-`, a leading digit gets `m-`."""
    dashed = name.replace(".", "-")
    return f"m-{dashed}" if dashed[0].isdigit() else dashed


def version_slug(version: str) -> str:
    """A version's part of an object name. A leading digit may stay: it never comes first."""
    return version.replace(".", "-")


def cluster_name(model: str, version: str) -> str:
    """The Envoy cluster of one version of a model, without dots: RTDS keys are split at dots."""
    return f"{slug(model)}_{version_slug(version)}"


def envoys_account(gateway: str) -> str:
    """The ServiceAccount of a gateway's Envoys, in the gateway's namespace: what is theirs there is called so."""
    return f"turnout-gateway-{slug(gateway)}"


SIDECAR = "sidecar"
"""The group of Envoys beside a client, and before a dot what those of one tenant begin with."""
LONGEST_NAMESPACE = 63
CLUSTERS_NAMESPACES = frozenset({"default", "istio-system", "kube-node-lease", "kube-public", "kube-system"})
"""They are there before anything of ours, and full of what is not ours: neither made nor labelled."""
