"""What is the same for the whole fleet."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from compiler.diagnostics import BUILT_IN, Position
from compiler.fleet.names import CLUSTERS_NAMESPACES
from compiler.fleet.running import ControlServer
from compiler.fleet.scaling import Autoscaler

IN_CLUSTER = "https://kubernetes.default.svc"
"""The API server of the cluster in which who asks is itself."""


class OtlpProtocol(StrEnum):
    GRPC = "grpc"
    HTTP = "http"


@dataclass(frozen=True, slots=True)
class Tracing:
    """Where Envoys send their spans, and of how many requests."""

    protocol: OtlpProtocol
    host: str
    port: int
    percent: float
    """Of the requests, 0-100."""
    origin: Position


@dataclass(frozen=True, slots=True)
class Argocd:
    """How Argo CD syncs what is rendered."""

    repo_url: str
    target_revision: str
    path: str
    """Of the rendered folder in the repository."""
    project: str
    namespace: str
    """Where Argo CD looks for Applications."""
    server: str
    """The API server of the cluster that is synced."""
    origin: Position


def clusters_namespaces(argocd: Argocd | None) -> frozenset[str]:
    """With Argo CD's own: a policy of ours for every pod in it would keep Argo CD from working."""
    return CLUSTERS_NAMESPACES if argocd is None else CLUSTERS_NAMESPACES | {argocd.namespace}


@dataclass(frozen=True, slots=True)
class Platform:
    namespace: str = "ai-inference"
    """Of every object whose policy names none, and of the control server."""
    origin: Position = BUILT_IN
    kubernetes: str = "1.34"
    """The release of the cluster's API server, `major.minor`."""
    pods_know_zones: bool = False
    """Whether that release tells a pod its node's zone."""
    labels: tuple[tuple[str, str], ...] = ()
    """The owner's own, sorted; on every object that no other policy is the origin of."""
    annotations: tuple[tuple[str, str], ...] = ()
    argocd: Argocd | None = None
    prometheus: str | None = None
    """Its address; None where nothing is rendered for it, as prometheus-operator may be missing."""
    autoscaler: Autoscaler = Autoscaler.HPA
    tracing: Tracing | None = None
    control_server: ControlServer | None = None
    """None where neither it nor Envoys of Turnout's own are rendered."""
    envoy_image: str = "envoyproxy/envoy:distroless-v1.40.0"
    allowed_signers: tuple[str, ...] | None = None
    """Who may sign the commit after the one that this is of; None where nobody need."""
    gateway_class: str | None = None
    """The GatewayClass of every Gateway of the Gateway API; set where that carries a host."""


BUILT_IN_PLATFORM = Platform()
"""Where policy has none."""
