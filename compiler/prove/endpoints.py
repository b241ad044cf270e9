"""Which versions get requests from Envoys that know no instance of theirs, where policy lists those of others."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.diagnostics import Diagnostic, warning
from compiler.fleet import Carrier, Fleet, Model
from compiler.kept import Kept


def findings(fleet: Fleet, kept: Kept) -> Iterator[Diagnostic]:
    """Of models at hosts that Turnout's own Envoys carry, less those of which nothing is listed: they may be there for
    the host of another carrier."""
    served = {
        name
        for gateway in fleet.gateways
        if any(host.carrier is Carrier.ENVOY for host in gateway.hosts)
        for name in gateway.models
    }
    models = tuple(model for model in fleet.models if model.name in served)
    return iter(kept.chained(_of_model, models))


def _of_model(model: Model) -> tuple[Diagnostic, ...]:
    if not any(version.endpoints for version in model.versions):
        return ()
    return tuple(
        warning(
            "P447", version.origin, f"version '{version.name}' has weight {version.weight} and no endpoint", _WAY_OUT
        )
        for version in model.versions
        if version.weight and not version.endpoints
    )


_WAY_OUT = "endpoints, or weight: 0; Turnout's own Envoys know no other instances"
