"""Policies, each valid alone, made one fleet valid together."""

from __future__ import annotations

from compiler.decode import Policies
from compiler.diagnostics import BUILT_IN, Diagnostic, has_errors
from compiler.fleet import Fleet, Platform
from compiler.kept import Kept
from compiler.link.gateways import gateways
from compiler.link.models import models
from compiler.link.names import check_names
from compiler.link.platform import Settings, settings
from compiler.link.pools import pools
from compiler.link.recovery import recoveries

__all__ = ["Settings", "link", "settings"]


def link(policies: Policies, kept: Kept | None = None) -> tuple[Fleet | None, list[Diagnostic]]:
    """The fleet that `policies` describe, and every problem among them.

    None when there are errors: half a fleet would be another fleet.
    """
    kept = kept or Kept()
    found: list[Diagnostic] = []
    platform = kept.same("platform", settings(policies, found))
    recovery = recoveries(policies, kept, found)
    check_names(policies, kept, found)
    fleet_pools = pools(policies, platform, kept, found)
    fleet_models = models(policies, platform, recovery, kept, found, fleet_pools)
    fleet_gateways = gateways(policies, platform, fleet_models, kept, found)
    if not policies.complete:
        found = [d for d in found if d.code != "P203"]
    if has_errors(found) or not (policies.complete and policies.platform_known):
        return None, found
    return Fleet(fleet_models, fleet_gateways, _platform(policies, platform), pools=fleet_pools.valid), found


def _platform(policies: Policies, platform: Settings) -> Platform:
    policy = policies.platform
    return Platform(platform.namespace, BUILT_IN if policy is None else policy.at("metadata", "name"))
