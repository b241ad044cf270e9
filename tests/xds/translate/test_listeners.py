"""Where a gateway listens, and what its connection manager is told."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2
from google.protobuf.json_format import MessageToDict

from compiler.fleet import Gateway, Listener, Protocol
from compiler.fleet.names import SIDECAR
from tests.xds.translate.fleets import fleet, gateway, model
from xds.translate.group import Placement, PlacementError, group_gateway
from xds.translate.listeners import listener, listener_names, listeners, moved

TWO = (Listener(8080, Protocol.HTTP, None), Listener(8443, Protocol.HTTPS, "public-tls"))


def sockets(at: Gateway, placement: Placement) -> list[tuple[str, str, int]]:
    """Name, address and port of each listener."""
    built = [listener(at, entry, number, placement) for number, entry in enumerate(at.listeners)]
    return [
        (found.name, found.address.socket_address.address, found.address.socket_address.port_value) for found in built
    ]


def manager(at: Gateway) -> Any:
    found = http_connection_manager_pb2.HttpConnectionManager()
    built = listener(at, at.listeners[0], 0, Placement())
    assert built.filter_chains[0].filters[0].typed_config.Unpack(found)
    return found


def test_listeners_stand_where_policy_puts_them() -> None:
    assert sockets(gateway(("chat",), listeners=TWO), Placement()) == [
        ("default-8080", "0.0.0.0", 8080),
        ("default-8443", "0.0.0.0", 8443),
    ]


def test_a_placement_moves_all_listeners_and_keeps_their_names() -> None:
    assert sockets(gateway(("chat",), listeners=TWO), Placement(port=19000, address="127.0.0.2")) == [
        ("default-8080", "127.0.0.2", 19000),
        ("default-8443", "127.0.0.2", 19001),
    ]


@pytest.mark.parametrize(
    "placement",
    [
        Placement(),
        Placement(port=19000),
        Placement(address="::1"),
        Placement(secrets="/keys"),
        Placement(65534, "127.0.0.2", "/my/keys"),
    ],
)
def test_listeners_are_moved_without_the_policy_to_the_same_bytes(placement: Placement) -> None:
    at = gateway(("chat",), listeners=TWO[::-1])
    found = moved(listeners(at, Placement()), listener_names(at), placement)
    assert {name: r.body for name, r in found.items()} == {n: r.body for n, r in listeners(at, placement).items()}
    assert [r.origin for r in found.values()] == [at.origin] * 2


def test_listeners_are_not_moved_beyond_the_last_port() -> None:
    at = gateway(("chat",), listeners=TWO)
    with pytest.raises(PlacementError, match="beyond 65535"):
        moved(listeners(at, Placement()), listener_names(at), Placement(65535))


def test_a_sidecar_listens_on_loopback() -> None:
    sidecar = group_gateway(fleet(model("chat")), SIDECAR)
    assert sidecar is not None
    assert sockets(sidecar, Placement()) == [("sidecar-15080", "127.0.0.1", 15080)]


def test_a_certificate_is_read_from_the_folder_on_envoys_machine() -> None:
    def files(placement: Placement) -> dict[str, Any]:
        context = tls_pb2.DownstreamTlsContext()
        built = listener(gateway(("chat",), listeners=TWO), TWO[1], 1, placement)
        assert built.filter_chains[0].transport_socket.typed_config.Unpack(context)
        [certificate] = context.common_tls_context.tls_certificates
        return {field.name: value.filename for field, value in certificate.ListFields()}

    assert files(Placement()) == {
        "certificate_chain": "/etc/turnout/secrets/public-tls/tls.crt",
        "private_key": "/etc/turnout/secrets/public-tls/tls.key",
    }
    assert files(Placement(secrets="/keys"))["private_key"] == "/keys/public-tls/tls.key"


def test_nothing_is_left_to_envoys_defaults_that_would_hurt() -> None:
    written = MessageToDict(manager(gateway(("chat",))), preserving_proto_field_name=True)
    assert [entry["name"] for entry in written.pop("http_filters")] == [
        "envoy.filters.http.lua",
        "turnout.renaming",
        "envoy.filters.http.fault",
        "envoy.filters.http.router",
    ]
    [mutation] = written.pop("early_header_mutation_extensions")
    assert mutation["typed_config"]["mutations"] == [
        {"remove_on_match": {"key_matcher": {"prefix": "x-turnout-", "ignore_case": True}}}
    ]
    mappers = written.pop("local_reply_config")["mappers"]
    assert {mapper.get("status_code") for mapper in mappers} == {None, 404, 413, 503, 504}
    assert written == {
        "stat_prefix": "default-8080",
        "rds": {
            "route_config_name": "default",
            "config_source": {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"},
        },
        "stream_idle_timeout": "0s",
        "request_timeout": "0s",
        "use_remote_address": True,
        "preserve_external_request_id": True,
        "normalize_path": True,
        "server_header_transformation": "PASS_THROUGH",
    }


def test_a_listener_names_the_line_of_its_gateway() -> None:
    at = gateway(("chat",), listeners=TWO)
    assert {found.origin for found in listeners(at, Placement()).values()} == {at.origin}
