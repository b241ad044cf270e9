"""Where requests come in: hosts, listeners, and which models can be asked for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from compiler.diagnostics import Position
from compiler.fleet.rules import Condition, LengthUnit
from compiler.fleet.traffic import Retries, Timeouts


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
class Rule:
    """Sends requests that meet all its conditions to its targets."""

    name: str
    priority: int
    """The highest that matches decides."""
    conditions: tuple[Condition, ...]
    """All must hold; none at all holds for every request."""
    targets: tuple[Target, ...]
    retries: Retries
    timeouts: Timeouts
    origin: Position


@dataclass(frozen=True, slots=True)
class Orchestrator:
    """Chooses a model for a request that names none, or that names the orchestrator itself."""

    name: str
    rules: tuple[Rule, ...]
    """By priority, the highest first; the first that matches decides."""
    prompt_length_unit: LengthUnit
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

    @property
    def length_unit(self) -> LengthUnit:
        return LengthUnit.CHARACTERS if self.orchestrator is None else self.orchestrator.prompt_length_unit
