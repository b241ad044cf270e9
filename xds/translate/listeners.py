"""Listeners: where a gateway's requests come in, and what is done with them before they are routed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import lru_cache
from typing import Any

from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.filters.http.fault.v3 import fault_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.extensions.http.early_header_mutation.header_mutation.v3 import header_mutation_pb2
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2
from google.protobuf import json_format
from google.protobuf.message import Message

from compiler.envoy.bootstrap import SECRETS
from compiler.envoy.local_replies import local_reply_config
from compiler.envoy.request_pass import INTERNAL_PREFIX
from compiler.fleet import Gateway, Listener, Protocol, Tracing
from compiler.fleet.names import SIDECAR
from xds.snapshot import ResourceSet
from xds.translate import renaming, request_pass
from xds.translate.group import Placement, PlacementError
from xds.translate.messages import ads_source, message_resource, packed
from xds.translate.tracing import tracing_of

CONNECTION_BUFFER_BYTES = 2**20
LAST_PORT = 65535
PLACEMENTS = 4096
"""Of which the listeners are kept."""

HTTP_FILTERS: Mapping[str, Callable[[], Message]] = {
    request_pass.FILTER: request_pass.request_pass,
    renaming.FILTER: renaming.renaming,
    "envoy.filters.http.fault": fault_pb2.HTTPFault,
    # Clients get the engines' headers, not Envoy's own.
    "envoy.filters.http.router": lambda: router_pb2.Router(suppress_envoy_headers=True),
}
"""What a request passes, in order.

The same for every gateway, whether it has a use for all of them: what policy says of them stands in the route table. A
listener that changes drains its connections, and streams that are under way by the end of that are cut.
"""


def listeners(gateway: Gateway, placement: Placement, tracing: Tracing | None = None) -> ResourceSet:
    """None where no host is Envoy's to carry. Names follow policy, so a moved listener stays the same listener.

    Raises PlacementError when the last of them would lie beyond port 65535.
    """
    if not gateway.hosts:
        return ResourceSet()
    # Percentages are the runtime layer's.
    asked = tracing and replace(tracing, percent=0)
    return _listeners(replace(gateway, models=(), orchestrator=None), placement, asked)


def listener_names(gateway: Gateway) -> tuple[str, ...]:
    """In policy's order."""
    return tuple(_name(gateway, entry) for entry in gateway.listeners) if gateway.hosts else ()


def moved(found: ResourceSet, order: Sequence[str], placement: Placement) -> ResourceSet:
    """Listeners at policy's placement, moved to another without the policy: `order` is that of `listener_names`.

    The same bytes as `listeners` makes. Raises PlacementError as it does.
    """
    _check_last_port(len(order), placement)
    return ResourceSet(
        message_resource(name, _moved(found[name].body, position, placement), found[name].origin)
        for position, name in enumerate(order)
    )


def _moved(body: bytes, position: int, placement: Placement) -> listener_pb2.Listener:
    message = listener_pb2.Listener.FromString(body)
    place = message.address.socket_address
    place.address = placement.address or place.address
    place.port_value = place.port_value if placement.port is None else placement.port + position
    for chain in message.filter_chains:
        if placement.secrets and chain.HasField("transport_socket"):
            context = tls_pb2.DownstreamTlsContext()
            chain.transport_socket.typed_config.Unpack(context)
            secret = context.common_tls_context.tls_certificates[0].private_key.filename.split("/")[-2]
            chain.transport_socket.typed_config.CopyFrom(packed(_tls_context(f"{placement.secrets}/{secret}")))
    return message


def _check_last_port(count: int, placement: Placement) -> None:
    last = (placement.port or 0) + count - 1
    if last > LAST_PORT:
        reason = f"with {count} listeners the last would be at port {last}, beyond {LAST_PORT}"
        raise PlacementError(f"node metadata turnout.port: {placement.port}: {reason}")


@lru_cache(PLACEMENTS)
def _listeners(gateway: Gateway, placement: Placement, tracing: Tracing | None) -> ResourceSet:
    """Most edits leave them alone, and of each placement there is one."""
    _check_last_port(len(gateway.listeners), placement)
    return ResourceSet(
        message_resource(_name(gateway, entry), listener(gateway, entry, position, placement, tracing), gateway.origin)
        for position, entry in enumerate(gateway.listeners)
    )


def listener(
    gateway: Gateway, entry: Listener, position: int, placement: Placement, tracing: Tracing | None = None
) -> listener_pb2.Listener:
    name = _name(gateway, entry)
    address = placement.address or ("127.0.0.1" if gateway.name == SIDECAR else "0.0.0.0")
    port = entry.port if placement.port is None else placement.port + position
    chain: dict[str, Any] = {
        "filters": [
            {
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": packed(_connection_manager(gateway, name, tracing)),
            }
        ]
    }
    if entry.protocol is Protocol.HTTPS:
        chain["transport_socket"] = {
            "name": "envoy.transport_sockets.tls",
            "typed_config": packed(_tls_context(f"{placement.secrets or SECRETS}/{entry.tls_secret}")),
        }
    return listener_pb2.Listener(
        name=name,
        address={"socket_address": {"address": address, "port_value": port}},
        filter_chains=[chain],
        # Bodies are held up to the virtual host's limit; this one is for everything else.
        per_connection_buffer_limit_bytes={"value": CONNECTION_BUFFER_BYTES},
    )


def _name(gateway: Gateway, entry: Listener) -> str:
    return f"{gateway.name}-{entry.port}"


def _connection_manager(
    gateway: Gateway, name: str, tracing: Tracing | None
) -> http_connection_manager_pb2.HttpConnectionManager:
    manager = http_connection_manager_pb2.HttpConnectionManager
    return manager(
        stat_prefix=name,
        rds={"route_config_name": gateway.name, "config_source": ads_source()},
        http_filters=[{"name": name, "typed_config": packed(config())} for name, config in HTTP_FILTERS.items()],
        # Before the first look at the routes: a client's own internal headers decide nothing, not for a moment.
        early_header_mutation_extensions=[
            {"name": "envoy.http.early_header_mutation.header_mutation", "typed_config": packed(_strip_internal())}
        ],
        # Routes give their own limits; these two would cut a stream in which nothing is said for 5 min.
        stream_idle_timeout=timedelta(0),
        request_timeout=timedelta(0),
        use_remote_address={"value": True},
        # Hashing and logs need the client's id, which Envoy would overwrite with its own.
        preserve_external_request_id=True,
        normalize_path={"value": True},
        merge_slashes=False,
        server_header_transformation=manager.PASS_THROUGH,
        **({} if tracing is None else tracing_of(gateway, tracing)),
        local_reply_config=json_format.ParseDict(local_reply_config(), http_connection_manager_pb2.LocalReplyConfig()),
    )


def _strip_internal() -> header_mutation_pb2.HeaderMutation:
    prefix = {"prefix": INTERNAL_PREFIX, "ignore_case": True}
    return header_mutation_pb2.HeaderMutation(mutations=[{"remove_on_match": {"key_matcher": prefix}}])


def _tls_context(folder: str) -> tls_pb2.DownstreamTlsContext:
    """Files on Envoy's own machine: a private key never passes through xDS."""
    certificate = {
        "certificate_chain": {"filename": f"{folder}/tls.crt"},
        "private_key": {"filename": f"{folder}/tls.key"},
    }
    return tls_pb2.DownstreamTlsContext(
        common_tls_context={"tls_certificates": [certificate], "alpn_protocols": ["h2", "http/1.1"]}
    )
