"""Groups of Envoys that are served alike, and what may differ between the Envoys of one group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from compiler.envoy.numeric import numeric_address
from compiler.fleet import Carrier, Fleet, Gateway, Host, Listener, Protocol
from compiler.fleet.names import SIDECAR

TENANTS_SIDECAR = f"{SIDECAR}."
"""With a tenant's name behind it: every model that is no tenant's alone, and the tenant's own."""
SIDECAR_PORT = 15080


@dataclass(frozen=True, slots=True)
class Placement:
    """Where an Envoy wants its listeners. Each part is `None` where it leaves that to policy."""

    port: int | None = None
    """Of the first listener; the i-th after it gets the i-th port after this."""
    address: str | None = None
    secrets: str | None = None
    """The folder on Envoy's own machine with `<secret>/tls.crt` and `<secret>/tls.key`."""


class PlacementError(ValueError):
    """An Envoy wants its listeners where there is no room for them."""


@dataclass(frozen=True, slots=True)
class Group:
    """What an Envoy says of itself that decides what it is sent."""

    name: str
    """A gateway's name, `sidecar` or `sidecar.<tenant>`: the node's cluster."""
    placement: Placement = Placement()


def group_names(fleet: Fleet) -> tuple[str, ...]:
    """Those that are there whether or not an Envoy asks. A tenant's sidecars are served when they do."""
    return tuple(sorted({*(gateway.name for gateway in fleet.gateways), SIDECAR}))


def served_as(fleet: Fleet, name: str) -> str | None:
    """The group whose resources Envoys of the group `name` get: another one where they see the same; `None` for an
    unknown group."""
    tenant = _tenant(name)
    if tenant is None:
        return name if name in group_names(fleet) else None
    if all(known.name != tenant for known in fleet.tenants):
        return None
    return name if any(model.tenant == tenant for model in fleet.models) else SIDECAR


def served_as_others(fleet: Fleet) -> dict[str, str]:
    """The groups of tenants that are served as another one, and that one."""
    owners = {model.tenant for model in fleet.models}
    return {f"{TENANTS_SIDECAR}{tenant.name}": SIDECAR for tenant in fleet.tenants if tenant.name not in owners}


def group_gateway(fleet: Fleet, name: str) -> Gateway | None:
    """The gateway that a group serves, with only those hosts that Envoy carries; `None` for an unknown group."""
    for gateway in fleet.gateways:
        if gateway.name == name:
            return replace(gateway, hosts=tuple(host for host in gateway.hosts if host.carrier is Carrier.ENVOY))
    return None if served_as(fleet, name) is None else _sidecar(fleet, _tenant(name))


def _tenant(name: str) -> str | None:
    """Whose sidecars are the group `name`; `None` for every other group."""
    return name.removeprefix(TENANTS_SIDECAR) if name.startswith(TENANTS_SIDECAR) else None


def _sidecar(fleet: Fleet, tenant: str | None) -> Gateway:
    first = fleet.gateways[0]
    models = tuple(fleet.by_name)
    if fleet.tenants:
        models = tuple([model.name for model in fleet.models if model.tenant in (None, tenant)])
    orchestrators = {gateway.orchestrator for gateway in fleet.gateways if gateway.orchestrator is not None}
    # With several nobody has said which of them chooses for a sidecar's client; nor may one choose what is another's.
    orchestrator = orchestrators.pop() if len(orchestrators) == 1 else None
    if orchestrator is not None and not orchestrator.leads_to.issubset(models):
        orchestrator = None
    return Gateway(
        name=SIDECAR,
        namespace=first.namespace,
        hosts=(Host("*", Carrier.ENVOY),),
        listeners=(Listener(SIDECAR_PORT, Protocol.HTTP, tls_secret=None),),
        models=models,
        orchestrator=orchestrator,
        max_request_bytes=max(gateway.max_request_bytes for gateway in fleet.gateways),
        labels=(),
        annotations=(),
        origin=first.origin,
    )


def placement(metadata: Mapping[str, object]) -> Placement:
    """The `turnout` part of a node's metadata. Raises ValueError, with what is wrong, where it makes no sense."""
    asked = metadata.get("turnout", {})
    if not isinstance(asked, Mapping):
        raise ValueError(f"node metadata turnout: {asked!r} is no map")
    unknown = sorted(str(key) for key in asked if key not in ("port", "address", "secrets"))
    if unknown:
        raise ValueError(f"node metadata turnout: unknown key {unknown[0]!r}, not one of port, address, secrets")
    return Placement(_port(asked.get("port")), _address(asked), _text(asked, "secrets"))


def _port(value: object) -> int | None:
    """Numbers of a protobuf Struct are floats, whole ones too."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not float(value).is_integer():
        raise ValueError(f"node metadata turnout.port: {value!r} is no whole number")
    if not 1 <= value <= 65535:
        raise ValueError(f"node metadata turnout.port: {int(value)} is outside 1-65535")
    return int(value)


def _address(asked: Mapping[str, object]) -> str | None:
    value = _text(asked, "address")
    try:
        return value and numeric_address(value)
    except ValueError:
        raise ValueError(f"node metadata turnout.address: {value!r} is no IP address") from None


def _text(asked: Mapping[str, object], key: str) -> str | None:
    value = asked.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or not value:
        raise ValueError(f"node metadata turnout.{key}: {value!r} is no text")
    return value
