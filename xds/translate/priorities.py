"""In which order a version's instances are asked: by tier, and in a tier the active zones before the standby one."""

from __future__ import annotations

from itertools import groupby

from compiler.fleet import Backend, Endpoint, Tier

TIERS = tuple(Tier)


def priorities(backend: Backend) -> list[list[Endpoint]]:
    """Instances by Envoy's priority, 0 first. Counted, not computed: one without instances would be a gap."""
    zones = backend.model.zones

    def preference(endpoint: Endpoint) -> tuple[int, bool]:
        return TIERS.index(endpoint.tier), endpoint.zone == zones.standby

    def place(endpoint: Endpoint) -> tuple[str, str, int]:
        return endpoint.zone, endpoint.address, endpoint.port

    ordered = sorted(backend.version.endpoints, key=lambda endpoint: (preference(endpoint), place(endpoint)))
    return [list(group) for _, group in groupby(ordered, key=preference)]
