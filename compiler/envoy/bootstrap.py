"""The bootstrap with which a stock Envoy finds the control server, as the JSON that Envoy reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Any

from compiler.envoy.listening import socket
from compiler.envoy.xds_tls import XdsTls, transport_socket

XDS_CLUSTER = "turnout_xds"
RUNTIME_LAYER = "turnout"
XDS_PORT = 18000
"""Where the control server listens for Envoys, unless it is told otherwise."""
SECRETS = "/etc/turnout/secrets"
"""The folder with `<secret>/tls.crt` and `tls.key` of HTTPS listeners, unless the node says otherwise."""
RECONNECT_BASE = "0.200s"
RECONNECT_MAX = "1s"
KEEPALIVE = {"interval": "10s", "timeout": "5s"}
CONNECT_TIMEOUT = "1s"

Part = dict[str, Any]


def bootstrap(
    *,
    node: Mapping[str, Any],
    xds_address: str,
    admin_port: int,
    delta: bool = True,
    tls: XdsTls | None = None,
    listeners: Sequence[Part] = (),
    clusters: Sequence[Part] = (),
) -> Part:
    """Raises ValueError for an `xds_address` that is no `host:port`.

    `node` is Envoy's own description of itself, whose `cluster` is the group; what it lacks has to come from Envoy's
    command line. The admin page is on loopback only, at a free port for 0. `delta` chooses the protocol variant.
    There is no TLS to the control server without `tls`. `listeners` and `clusters` are there besides, and whatever the
    control server says.
    """
    static: Part = {"clusters": [_control_server(xds_address, tls), *clusters]}
    if listeners:
        static = {"listeners": list(listeners), **static}
    return {
        "node": dict(node),
        "static_resources": static,
        "dynamic_resources": {"lds_config": _from_ads(), "cds_config": _from_ads(), "ads_config": _ads(delta=delta)},
        "layered_runtime": {"layers": _runtime_layers()},
        "admin": {"address": socket("127.0.0.1", admin_port)},
    }


def _ads(*, delta: bool) -> Part:
    # Left to itself Envoy waits up to 30 s before it tries a server again that is back.
    back_off = {"base_interval": RECONNECT_BASE, "max_interval": RECONNECT_MAX}
    service = {"envoy_grpc": {"cluster_name": XDS_CLUSTER, "retry_policy": {"retry_back_off": back_off}}}
    return {
        "api_type": "DELTA_GRPC" if delta else "GRPC",
        "transport_api_version": "V3",
        "grpc_services": [service],
        # The node is 61 KB; otherwise each acknowledgement would carry it.
        "set_node_on_first_message_only": True,
    }


def _from_ads() -> Part:
    """Waits for ever: an Envoy that has been told nothing stays unready and refuses connections."""
    return {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"}


def _runtime_layers() -> list[Part]:
    """The later layer wins: what an operator sets at the admin page stands above what the server sends."""
    served = {"name": RUNTIME_LAYER, "rtds_config": _from_ads()}
    return [{"name": RUNTIME_LAYER, "rtds_layer": served}, {"name": "admin", "admin_layer": {}}]


def _control_server(xds_address: str, tls: XdsTls | None) -> Part:
    host, port = _host_and_port(xds_address)
    http2 = {"http2_protocol_options": {"connection_keepalive": dict(KEEPALIVE)}}
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    return {
        "name": XDS_CLUSTER,
        "type": "STATIC" if _is_ip(host) else "STRICT_DNS",
        "connect_timeout": CONNECT_TIMEOUT,
        "load_assignment": {
            "cluster_name": XDS_CLUSTER,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": socket(host, port)}}]}],
        },
        **({} if tls is None else {"transport_socket": transport_socket(tls)}),
        "typed_extension_protocol_options": {
            options: {"@type": f"type.googleapis.com/{options}", "explicit_http_config": http2}
        },
    }


def _host_and_port(xds_address: str) -> tuple[str, int]:
    host, _, port = xds_address.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise ValueError(f"{xds_address!r} is no host:port")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
