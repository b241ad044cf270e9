"""A bootstrap for one Envoy, as a person or a script on a machine asks for it."""

from __future__ import annotations

import json
from typing import Any

from betterproto2 import Casing
from envoy_data_plane.envoy.config.bootstrap.v3 import Bootstrap

# Known by name to what reads the bootstrap back.
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import UpstreamTlsContext  # noqa: F401
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import HttpProtocolOptions  # noqa: F401

from compiler.envoy import bootstrap as made
from compiler.envoy.xds_tls import XdsTls


def bootstrap(
    *,
    node_id: str,
    cluster: str,
    zone: str,
    xds_address: str,
    port: int | None = None,
    address: str | None = None,
    secrets: str | None = None,
    admin_port: int = 0,
    delta: bool = True,
    tls: XdsTls | None = None,
) -> str:
    """JSON for `envoy --config-path`. Raises ValueError for an `xds_address` that is no `host:port`.

    `cluster` is the group; `port`, `address` and `secrets` move its listeners (`None`: where policy puts them). The
    admin page is on loopback only, at a free port for 0. `delta` chooses the protocol variant. There is no TLS without
    `tls`.
    """
    placement = {"port": port, "address": address, "secrets": secrets}
    asked = {key: value for key, value in placement.items() if value is not None}
    node: dict[str, Any] = {"id": node_id, "cluster": cluster}
    if asked:
        node["metadata"] = {"turnout": asked}
    node["locality"] = {"zone": zone}
    return as_envoy_reads_it(
        made.bootstrap(node=node, xds_address=xds_address, admin_port=admin_port, delta=delta, tls=tls)
    )


def as_envoy_reads_it(document: dict[str, Any]) -> str:
    """Its text, after a way through Envoy's own messages: a field that these do not know is a KeyError."""
    return json.dumps(Bootstrap.from_dict(document).to_dict(casing=Casing.SNAKE), indent=2) + "\n"
