"""A bootstrap with which a stock Envoy finds the control server: made for people to read, in Envoy's JSON."""

from __future__ import annotations

import json
from datetime import timedelta
from ipaddress import ip_address

from betterproto2 import Casing
from envoy_data_plane.envoy.config.bootstrap.v3 import (
    Admin,
    Bootstrap,
    BootstrapDynamicResources,
    BootstrapStaticResources,
    LayeredRuntime,
    RuntimeLayer,
    RuntimeLayerAdminLayer,
    RuntimeLayerRtdsLayer,
)
from envoy_data_plane.envoy.config.cluster.v3 import Cluster, ClusterDiscoveryType
from envoy_data_plane.envoy.config.core.v3 import (
    Address,
    AggregatedConfigSource,
    ApiConfigSource,
    ApiConfigSourceApiType,
    ApiVersion,
    BackoffStrategy,
    ConfigSource,
    GrpcService,
    GrpcServiceEnvoyGrpc,
    Http2ProtocolOptions,
    KeepaliveSettings,
    Locality,
    Node,
    RetryPolicy,
    SocketAddress,
)
from envoy_data_plane.envoy.config.endpoint.v3 import (
    ClusterLoadAssignment,
    Endpoint,
    LbEndpoint,
    LocalityLbEndpoints,
)
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import (
    HttpProtocolOptions,
    HttpProtocolOptionsExplicitHttpConfig,
)
from envoy_data_plane.google.protobuf import Any, Struct

from xds.bootstrap_tls import Tls, transport_socket

XDS_CLUSTER = "turnout_xds"
RUNTIME_LAYER = "turnout"
RECONNECT_BASE = timedelta(milliseconds=200)
RECONNECT_MAX = timedelta(seconds=1)
KEEPALIVE_INTERVAL = timedelta(seconds=10)
KEEPALIVE_TIMEOUT = timedelta(seconds=5)
CONNECT_TIMEOUT = timedelta(seconds=1)


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
    tls: Tls | None = None,
) -> str:
    """JSON for `envoy --config-path`. Raises ValueError for an `xds_address` that is no `host:port`.

    `cluster` is the group; `port`, `address` and `secrets` move its listeners (`None`: where policy puts them). The
    admin page is on loopback only, at a free port for 0. `delta` chooses the protocol variant. There is no TLS without
    `tls`.
    """
    placement = {"port": port, "address": address, "secrets": secrets}
    asked = {key: value for key, value in placement.items() if value is not None}
    message = Bootstrap(
        node=Node(
            id=node_id,
            cluster=cluster,
            locality=Locality(zone=zone),
            metadata=Struct.from_dict({"turnout": asked}) if asked else None,
        ),
        admin=Admin(address=_socket("127.0.0.1", admin_port)),
        dynamic_resources=BootstrapDynamicResources(
            ads_config=_ads(delta=delta), cds_config=_from_ads(), lds_config=_from_ads()
        ),
        static_resources=BootstrapStaticResources(clusters=[_control_server(xds_address, tls)]),
        layered_runtime=LayeredRuntime(layers=_runtime_layers()),
    )
    return json.dumps(message.to_dict(casing=Casing.SNAKE), indent=2) + "\n"


def _ads(*, delta: bool) -> ApiConfigSource:
    return ApiConfigSource(
        api_type=ApiConfigSourceApiType.DELTA_GRPC if delta else ApiConfigSourceApiType.GRPC,
        transport_api_version=ApiVersion.V3,
        # The node is 61 KB; otherwise each acknowledgement would carry it.
        set_node_on_first_message_only=True,
        grpc_services=[
            GrpcService(
                envoy_grpc=GrpcServiceEnvoyGrpc(
                    cluster_name=XDS_CLUSTER,
                    # Left to itself Envoy waits up to 30 s before it tries a server again that is back.
                    retry_policy=RetryPolicy(
                        retry_back_off=BackoffStrategy(base_interval=RECONNECT_BASE, max_interval=RECONNECT_MAX)
                    ),
                )
            )
        ],
    )


def _from_ads() -> ConfigSource:
    """Waits for ever: an Envoy that has been told nothing stays unready and refuses connections."""
    return ConfigSource(
        ads=AggregatedConfigSource(), resource_api_version=ApiVersion.V3, initial_fetch_timeout=timedelta(0)
    )


def _runtime_layers() -> list[RuntimeLayer]:
    """The later layer wins: what an operator sets at the admin page stands above what the server sends."""
    return [
        RuntimeLayer(name=RUNTIME_LAYER, rtds_layer=RuntimeLayerRtdsLayer(name=RUNTIME_LAYER, rtds_config=_from_ads())),
        RuntimeLayer(name="admin", admin_layer=RuntimeLayerAdminLayer()),
    ]


def _control_server(xds_address: str, tls: Tls | None) -> Cluster:
    host, port = _host_and_port(xds_address)
    endpoint = Endpoint(address=_socket(host, port))
    keepalive = KeepaliveSettings(interval=KEEPALIVE_INTERVAL, timeout=KEEPALIVE_TIMEOUT)
    http2 = HttpProtocolOptionsExplicitHttpConfig(
        http2_protocol_options=Http2ProtocolOptions(connection_keepalive=keepalive)
    )
    return Cluster(
        name=XDS_CLUSTER,
        type=ClusterDiscoveryType.STATIC if _is_ip(host) else ClusterDiscoveryType.STRICT_DNS,
        connect_timeout=CONNECT_TIMEOUT,
        load_assignment=ClusterLoadAssignment(
            cluster_name=XDS_CLUSTER,
            endpoints=[LocalityLbEndpoints(lb_endpoints=[LbEndpoint(endpoint=endpoint)])],
        ),
        transport_socket=None if tls is None else transport_socket(tls),
        typed_extension_protocol_options={
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": Any.pack(
                HttpProtocolOptions(explicit_http_config=http2)
            )
        },
    )


def _socket(host: str, port: int) -> Address:
    return Address(socket_address=SocketAddress(address=host, port_value=port))


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
