"""Where requests come in: hosts, listeners, and which models can be asked for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from compiler.diagnostics import BUILT_IN, Position
from compiler.fleet.rules import Condition, LengthUnit
from compiler.fleet.running import ONE_CORE, PodResources, ServiceType
from compiler.fleet.traffic import Fault, Mirror, Retries, Timeouts


class Carrier(StrEnum):
    """Who carries a host's traffic; one for each host."""

    ENVOY = "envoy"
    """Turnout's own Envoys, over xDS."""
    ISTIO = "istio"
    GATEWAY_API = "gatewayApi"
    """An implementation of the Kubernetes Gateway API. It reads no body."""


class Protocol(StrEnum):
    HTTP = "HTTP"
    HTTPS = "HTTPS"


@dataclass(frozen=True, slots=True)
class Host:
    name: str
    """A domain, `*.` domain, or `*`."""
    carrier: Carrier
    origin: Position = BUILT_IN


@dataclass(frozen=True, slots=True)
class Listener:
    port: int
    protocol: Protocol
    tls_secret: str | None
    """The Kubernetes Secret with `tls.crt` and `tls.key`; set exactly for HTTPS."""
    origin: Position = BUILT_IN
    """Of its port."""


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
    mirror: Mirror | None = None
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class Member:
    """A model that the orchestrator may choose for the capabilities a request asks for."""

    model: str
    capabilities: tuple[str, ...]
    """The model's own and those that the orchestrator adds, sorted."""
    origin: Position


class OnExplicitModel(StrEnum):
    """Whether another model may answer a client that has named one."""

    NEVER = "never"
    ON_UNAVAILABLE = "onUnavailable"
    """Hops declared equivalent to the model that was named."""
    ALWAYS = "always"
    """Any hop, and for names that no model has, too."""


@dataclass(frozen=True, slots=True)
class Hop:
    model: str
    equivalent_to: tuple[str, ...]
    """Models that a client may have named and be answered by this one."""
    origin: Position


@dataclass(frozen=True, slots=True)
class Fallback:
    """Who answers when the model that was chosen has nothing healthy. Never after the first byte of an answer."""

    hops: tuple[Hop, ...] = ()
    """In the order in which they are tried; each model once."""
    on_explicit_model: OnExplicitModel = OnExplicitModel.NEVER

    def after_choice(self, model: str) -> tuple[str, ...]:
        """The hops for a request for which the orchestrator has chosen `model`."""
        return tuple(hop.model for hop in self.hops if hop.model != model)

    def after_naming(self, model: str) -> tuple[str, ...]:
        """The hops for a request whose client has named `model`."""
        match self.on_explicit_model:
            case OnExplicitModel.NEVER:
                return ()
            case OnExplicitModel.ON_UNAVAILABLE:
                return tuple(hop.model for hop in self.hops if model in hop.equivalent_to)
        return self.after_choice(model)

    @property
    def takes_unknown_names(self) -> bool:
        return bool(self.hops) and self.on_explicit_model is OnExplicitModel.ALWAYS


@dataclass(frozen=True, slots=True)
class Orchestrator:
    """Chooses a model for a request that names none, or that names the orchestrator itself."""

    name: str
    rules: tuple[Rule, ...]
    """By priority, the highest first; the first that matches decides."""
    prompt_length_unit: LengthUnit
    default: tuple[Target, ...]
    """The default stage; empty when policy gives none."""
    origin: Position
    members: tuple[Member, ...] = ()
    """In the order in which the capability stage prefers them: the smallest first, then by name."""
    fallback: Fallback = Fallback()

    @property
    def leads_to(self) -> frozenset[str]:
        """Every model that it may choose, or send copies to."""
        targets = (*self.default, *(target for rule in self.rules for target in rule.targets))
        return frozenset(
            (
                *(target.model for target in targets),
                *(member.model for member in self.members),
                *(hop.model for hop in self.fallback.hops),
                *(rule.mirror.model for rule in self.rules if rule.mirror is not None),
            )
        )


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
    replicas: int = 2
    """Envoys of Turnout's own."""
    resources: PodResources = ONE_CORE
    """Of each of them."""
    service_type: ServiceType = ServiceType.CLUSTER_IP
    limit_origin: Position = BUILT_IN
    """Of the policy that says `max_request_bytes`."""

    @property
    def length_unit(self) -> LengthUnit:
        return LengthUnit.CHARACTERS if self.orchestrator is None else self.orchestrator.prompt_length_unit
