"""Policies, each valid alone, made one fleet valid together."""

from __future__ import annotations

from compiler.decode import Policies
from compiler.diagnostics import BUILT_IN, Diagnostic, has_errors
from compiler.fleet import ControlServer, Fleet, Platform
from compiler.kept import Kept
from compiler.kinds.platform import PlatformSpec
from compiler.link.control_server import control_server, envoy_image
from compiler.link.gateways import gateways
from compiler.link.models import models
from compiler.link.names import check_names
from compiler.link.platform import KUBERNETES_OF_ZONES_IN_PODS, Settings, settings
from compiler.link.pools import pools
from compiler.link.recovery import recoveries
from compiler.link.rollouts import with_rollouts
from compiler.link.tenants import check_namespaces, tenants, tenants_of_models

__all__ = ["Settings", "link", "settings"]


def link(policies: Policies, kept: Kept | None = None, environment: str = "") -> tuple[Fleet | None, list[Diagnostic]]:
    """The fleet that `policies` describe in `environment`, and every problem among them.

    None when there are errors: half a fleet would be another fleet.
    """
    kept = kept or Kept()
    found: list[Diagnostic] = []
    platform = kept.same("platform", settings(policies, found))
    server = control_server(policies, platform, environment, found)
    recovery = recoveries(policies, kept, found)
    check_names(policies, kept, found)
    fleet_tenants = tenants(policies, platform, kept, found)
    theirs = tenants_of_models(policies, fleet_tenants, kept, found)
    fleet_pools = pools(policies, platform, kept, found)
    by_name = models(policies, platform, recovery, theirs, fleet_pools, kept, found)
    by_name = with_rollouts(by_name, policies, platform, kept, found)
    fleet_models = tuple(by_name.values())
    fleet_gateways = gateways(policies, platform, fleet_models, by_name, kept, found)
    if policies.platform_known:
        check_namespaces(policies, platform, fleet_tenants, fleet_models, fleet_gateways, found)
    if not policies.complete:
        found = [d for d in found if d.code != "P203"]
    if has_errors(found) or not (policies.complete and policies.platform_known):
        return None, found
    fleet_platform = _platform(policies, platform, server)
    return Fleet(fleet_models, fleet_gateways, fleet_platform, tenants=fleet_tenants, pools=fleet_pools.valid), found


def _platform(policies: Policies, platform: Settings, server: ControlServer | None) -> Platform:
    policy = policies.platform
    metadata = None if policy is None else policy.body.metadata
    return Platform(
        namespace=platform.namespace,
        origin=BUILT_IN if policy is None else policy.at("metadata", "name"),
        kubernetes=".".join(map(str, platform.kubernetes)),
        pods_know_zones=platform.kubernetes >= KUBERNETES_OF_ZONES_IN_PODS,
        labels=tuple(sorted(metadata.labels.items())) if metadata else (),
        annotations=tuple(sorted(metadata.annotations.items())) if metadata else (),
        argocd=platform.argocd,
        prometheus=platform.prometheus,
        tracing=platform.tracing,
        autoscaler=platform.autoscaler,
        control_server=server,
        envoy_image=envoy_image(PlatformSpec() if policy is None else policy.body.spec),
        gateway_class=platform.gateway_class,
        allowed_signers=platform.allowed_signers,
    )
