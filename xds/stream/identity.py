"""Who an Envoy is by its certificate, and which groups that identity may ask for. See docs/security.md."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from compiler.fleet import Fleet
from compiler.fleet.names import SIDECAR, envoys_account
from xds.tls.not_after import not_after
from xds.translate.group import TENANTS_SIDECAR

SPIFFE = "spiffe://"


@dataclass(frozen=True, slots=True)
class Identity:
    """Of a certificate that has been verified."""

    spiffe_id: str
    """Empty where it has none, or several, which SPIFFE forbids."""
    dns_names: tuple[str, ...]
    not_after: float
    """Seconds since 1970."""

    def __str__(self) -> str:
        return self.spiffe_id or ", ".join(self.dns_names) or "a certificate with neither SPIFFE ID nor DNS name"


def identity(peer: Mapping[str, Iterable[bytes]]) -> Identity | None:
    """Out of gRPC's `auth_context`; None where the connection has no TLS.

    Raises ValueError for what is no certificate.
    """
    certificate = next(iter(peer.get("x509_pem_cert", ())), None)
    if certificate is None:
        return None
    spiffe_ids = _texts(peer.get("peer_spiffe_id", ()))
    return Identity(
        spiffe_ids[0] if spiffe_ids else "", _texts(peer.get("peer_dns", ())), not_after(certificate).timestamp()
    )


def may_ask(who: Identity, group: str, fleet: Fleet) -> bool:
    """Whether Envoys of that identity may have what `group` has.

    `sidecar` is for everyone with a certificate. For other groups the certificate names the group, or the namespace of
    the gateway or tenant, as Kubernetes' identities do: a service account is whatever its namespace says it is.
    """
    if group == SIDECAR:
        return True
    if any(_is_of(name, group) for name in who.dns_names):
        return True
    match who.spiffe_id.removeprefix(SPIFFE).split("/")[1:]:
        case ["turnout", named]:
            return named == group
        case ["ns", namespace, "sa", account]:
            return _is_gateway_s(group, namespace, account, fleet) or _is_tenant_s(group, namespace, fleet)
        case _:
            return False


def _is_of(dns_name: str, group: str) -> bool:
    """`<group>.turnout`, alone or in a domain; no wildcards."""
    name, own = dns_name.lower(), f"{group}.turnout".lower()
    return name == own or name.startswith(f"{own}.")


def _is_gateway_s(group: str, namespace: str, account: str, fleet: Fleet) -> bool:
    if account != envoys_account(group):
        return False
    return any(gateway.name == group and gateway.namespace == namespace for gateway in fleet.gateways)


def _is_tenant_s(group: str, namespace: str, fleet: Fleet) -> bool:
    return any(group == f"{TENANTS_SIDECAR}{t.name}" and t.namespace == namespace for t in fleet.tenants)


def _texts(values: Iterable[bytes]) -> tuple[str, ...]:
    return tuple(value.decode("utf-8", errors="replace") for value in values)
