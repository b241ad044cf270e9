"""Where requests come in: hosts, listeners, and which models can be asked for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from compiler.diagnostics import Position


class Carrier(StrEnum):
    """Who carries a host's traffic; one for each host."""

    ENVOY = "envoy"
    """Turnout's own Envoys, over xDS."""
    ISTIO = "istio"


class Protocol(StrEnum):
    HTTP = "HTTP"
    HTTPS = "HTTPS"


@dataclass(frozen=True, slots=True)
class Host:
    name: str
    """A domain, `*.` domain, or `*`."""
    carrier: Carrier


@dataclass(frozen=True, slots=True)
class Listener:
    port: int
    protocol: Protocol
    tls_secret: str | None
    """The Kubernetes Secret with `tls.crt` and `tls.key`; set exactly for HTTPS."""


@dataclass(frozen=True, slots=True)
class Target:
    model: str
    weight: int
    """Percent points; the targets of one stage sum to 100."""


@dataclass(frozen=True, slots=True)
class Orchestrator:
    """Chooses a model for a request that names none, or that names the orchestrator itself."""

    name: str
    default: tuple[Target, ...]
    """The default stage; empty when policy gives none, and then such a request is answered 404."""
    origin: Position


@dataclass(frozen=True, slots=True)
class Gateway:
    name: str
    """Also the node cluster of the Envoys that serve it."""
    namespace: str
    hosts: tuple[Host, ...]
    listeners: tuple[Listener, ...]
    models: tuple[str, ...]
    """Names of the models that can be asked for here, sorted."""
    orchestrator: Orchestrator | None
    max_request_bytes: int
    labels: tuple[tuple[str, str], ...]
    annotations: tuple[tuple[str, str], ...]
    origin: Position
