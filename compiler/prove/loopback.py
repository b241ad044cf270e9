"""Which instances given by hand no cluster can reach."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from compiler.diagnostics import Diagnostic, warning
from compiler.fleet import Carrier, Fleet, Model
from compiler.kept import Kept


def findings(fleet: Fleet, kept: Kept) -> Iterator[Diagnostic]:
    """Of models that others than Turnout's own Envoys serve. Those may run on the machine whose loopback is meant."""
    served = {
        name
        for gateway in fleet.gateways
        if any(host.carrier is not Carrier.ENVOY for host in gateway.hosts)
        for name in gateway.models
    }
    models = tuple(model for model in fleet.models if model.name in served) if served else ()
    return iter(kept.chained(_of_model, models))


def _of_model(model: Model) -> tuple[Diagnostic, ...]:
    return tuple(
        warning("P315", endpoint.origin, f"{endpoint.address} is not rendered: Kubernetes refuses loopback", _WAY_OUT)
        for version in model.versions
        for endpoint in version.endpoints
        if ipaddress.ip_address(endpoint.address).is_loopback
    )


_WAY_OUT = "instances of a cluster come from its Deployments"
