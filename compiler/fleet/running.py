"""How Turnout's own processes run in the cluster: the Envoys of gateways, and the control server."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from compiler.diagnostics import Position


@dataclass(frozen=True, slots=True)
class PodResources:
    cpu: int
    """In thousandths of a core."""
    memory: int
    """In bytes."""


ONE_CORE = PodResources(cpu=1000, memory=2**30)


class ServiceType(StrEnum):
    """Who can reach a gateway."""

    CLUSTER_IP = "ClusterIP"
    LOAD_BALANCER = "LoadBalancer"
    NODE_PORT = "NodePort"


@dataclass(frozen=True, slots=True)
class Repository:
    """Where the control server reads policies."""

    url: str
    revision: str
    """A branch, tag or commit."""
    path: str
    """Of the policies in it."""
    secret: str | None
    """The Kubernetes Secret with what a clone takes; None where anybody may."""


@dataclass(frozen=True, slots=True)
class ControlServer:
    replicas: int
    image: str
    git_sync_image: str
    resources: PodResources
    repository: Repository
    tls_secret: str | None
    """The Kubernetes Secret with its certificate and Envoys' authority; None where it speaks xDS without TLS."""
    environment: str
    """Of the policies, the one it serves; empty where they have none."""
    origin: Position
