"""The bootstrap, read back as Envoy's own messages and by Envoy itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2  # noqa: F401  known by name to ParseDict
from google.protobuf.json_format import MessageToDict, ParseDict

from tests.envoy.envoy_process import validate
from xds.bootstrap import bootstrap
from xds.translate.group import Placement, placement

ROOT = Path(__file__).parents[2]
NODE: dict[str, Any] = {"node_id": "gw-1", "cluster": "default", "zone": "az-1", "xds_address": "127.0.0.1:18000"}


def parsed(**changes: Any) -> Any:
    return ParseDict(json.loads(bootstrap(**{**NODE, **changes})), bootstrap_pb2.Bootstrap())


@pytest.mark.parametrize("delta", [True, False])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"port": 18080, "address": "127.0.0.1", "secrets": "/keys", "admin_port": 19001},
        {"xds_address": "control.example.com:443"},
        {"xds_address": "[::1]:18000"},
    ],
)
def test_envoy_accepts_it(tmp_path: Path, delta: bool, changes: dict[str, Any]) -> None:
    result = validate(bootstrap(**{**NODE, **changes, "delta": delta}), tmp_path)
    assert result.returncode == 0, result.stderr


def test_the_node_tells_its_group_its_zone_and_where_its_listeners_are() -> None:
    node = parsed(port=18080, address="127.0.0.1", secrets="/keys").node
    assert (node.id, node.cluster, node.locality.zone) == ("gw-1", "default", "az-1")
    assert placement(MessageToDict(node.metadata)) == Placement(18080, "127.0.0.1", "/keys")
    assert placement(MessageToDict(parsed().node.metadata)) == Placement()


@pytest.mark.parametrize(("delta", "api_type"), [(True, "DELTA_GRPC"), (False, "GRPC")])
def test_everything_comes_over_one_stream_that_is_soon_back(delta: bool, api_type: str) -> None:
    found = parsed(delta=delta)
    ads = MessageToDict(found.dynamic_resources.ads_config, preserving_proto_field_name=True)
    assert ads.pop("grpc_services") == [
        {
            "envoy_grpc": {
                "cluster_name": "turnout_xds",
                "retry_policy": {"retry_back_off": {"base_interval": "0.200s", "max_interval": "1s"}},
            }
        }
    ]
    assert ads == {"api_type": api_type, "transport_api_version": "V3", "set_node_on_first_message_only": True}


def test_an_envoy_that_has_been_told_nothing_waits_for_ever() -> None:
    found = parsed()
    layers = found.layered_runtime.layers
    assert [layer.name for layer in layers] == ["turnout", "admin"]
    assert layers[0].rtds_layer.name == "turnout"
    sources = [found.dynamic_resources.cds_config, found.dynamic_resources.lds_config, layers[0].rtds_layer.rtds_config]
    for source in sources:
        assert source.WhichOneof("config_source_specifier") == "ads"
        assert source.HasField("initial_fetch_timeout")
        assert source.initial_fetch_timeout.ToTimedelta().total_seconds() == 0


@pytest.mark.parametrize(
    ("xds_address", "kind", "host", "port"),
    [
        ("127.0.0.1:18000", "STATIC", "127.0.0.1", 18000),
        ("[::1]:18000", "STATIC", "::1", 18000),
        ("control.example.com:443", "STRICT_DNS", "control.example.com", 443),
    ],
)
def test_the_control_server_is_found_by_address_or_by_name(xds_address: str, kind: str, host: str, port: int) -> None:
    [cluster] = parsed(xds_address=xds_address).static_resources.clusters
    assert cluster.DiscoveryType.Name(cluster.type) == kind
    [locality] = cluster.load_assignment.endpoints
    found = locality.lb_endpoints[0].endpoint.address.socket_address
    assert (found.address, found.port_value) == (host, port)


@pytest.mark.parametrize(
    "xds_address", ["", "localhost", ":18000", "localhost:", "localhost:http", "localhost:0", "h:65536"]
)
def test_an_address_that_makes_no_sense_is_told(xds_address: str) -> None:
    with pytest.raises(ValueError, match="is no host:port"):
        bootstrap(**{**NODE, "xds_address": xds_address})


def test_it_is_the_same_every_time() -> None:
    assert bootstrap(**NODE) == bootstrap(**NODE)
    assert bootstrap(**NODE).endswith("}\n")


TLS = ("--tls-ca", "ca.crt", "--tls-cert", "tls.crt", "--tls-key", "tls.key")


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "xds.cli", "bootstrap", "--node", "gw-1", *words]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("server", "san", "sni"),
    [
        (("--xds", "control.example.com:443"), ("DNS", "control.example.com"), "control.example.com"),
        (("--xds", "[::1]:18000"), ("IP_ADDRESS", "::1"), None),
        (("--tls-server-name", "spiffe://example.com/control"), ("URI", "spiffe://example.com/control"), None),
    ],
)
def test_with_tls_the_command_writes_beside_it_where_the_certificates_are(
    tmp_path: Path, server: tuple[str, ...], san: tuple[str, str], sni: str | None
) -> None:
    made = run(tmp_path, *TLS, "--tls-sds", "sds", *server)
    assert made.returncode == 0, made.stderr
    (socket,) = [c["transport_socket"]["typed_config"] for c in json.loads(made.stdout)["static_resources"]["clusters"]]
    assert socket.get("sni") == sni
    files = {f.name: json.loads(f.read_text())["resources"][0] for f in (tmp_path / "sds").iterdir()}
    assert set(files) == {"turnout_certificate.json", "turnout_ca.json"}
    matchers = files["turnout_ca.json"]["validation_context"]["match_typed_subject_alt_names"]
    assert [(found["san_type"], found["matcher"]["exact"]) for found in matchers] == [san]


def test_half_of_tls_is_wrong_usage(tmp_path: Path) -> None:
    made = run(tmp_path, *TLS)
    said = "--tls-ca, --tls-cert, --tls-key and --tls-sds go together: --tls-sds is missing"
    assert (made.returncode, made.stderr) == (2, f"turnout bootstrap: {said}\n")
    made = run(tmp_path, *TLS, "--static")
    said = "--static asks no control server, so --tls-ca, --tls-cert and --tls-key are not for it"
    assert (made.returncode, made.stderr) == (2, f"turnout bootstrap: {said}\n")
    made = run(tmp_path, "--tls-server-name", "x")
    assert (made.returncode, "is of TLS, which needs" in made.stderr) == (2, True)
