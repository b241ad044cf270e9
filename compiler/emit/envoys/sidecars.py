"""Bootstraps for Envoys beside clients: one for each namespace where Turnout knows who asks.

Which container a client's pod has is its own team's to say; docs/cluster.md shows the one that goes with these.
"""

from __future__ import annotations

from compiler.diagnostics import Position
from compiler.emit.envoys import authenticated
from compiler.emit.envoys.control_server import address
from compiler.emit.names import platform_owner, tenant_file, tenant_owner
from compiler.emit.object import Object, Owner, Wave, metadata
from compiler.envoy.bootstrap import bootstrap
from compiler.envoy.listening import admin_cluster, stats_listener
from compiler.fleet import Platform, Tenant
from compiler.fleet.names import SIDECAR
from compiler.yaml_text import yaml_text

_NAME = "turnout-sidecar"
_FOLDER = "/etc/turnout/envoy"
"""Where the container has it mounted."""
_STATS_PORT, _ADMIN_PORT = 15081, 15082
"""Beside 15080, where the client finds the models. Istio's own proxy has 15000 to 15090, but for these."""


def of_platform(platform: Platform) -> Object:
    owner = platform_owner(platform, platform.namespace)
    return _config_map("platform/sidecars.yaml", owner, platform.origin, SIDECAR, platform)


def of_tenant(tenant: Tenant, platform: Platform) -> Object:
    owner = tenant_owner(tenant, tenant.namespace)
    return _config_map(tenant_file(tenant), owner, tenant.origin, f"{SIDECAR}.{tenant.name}", platform)


def _config_map(file: str, owner: Owner, origin: Position, group: str, platform: Platform) -> Object:
    tls = authenticated.xds_tls(platform, _FOLDER)
    document = bootstrap(
        node={"cluster": group},
        xds_address=address(platform),
        admin_port=_ADMIN_PORT,
        tls=tls,
        listeners=[stats_listener(_STATS_PORT)],
        clusters=[admin_cluster(_ADMIN_PORT)],
    )
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(_NAME, owner, origin, Wave.ROUTING),
        "data": {"bootstrap.yaml": yaml_text(document), **authenticated.files(tls)},
    }
    return Object(file, body, origin)
