"""The filter of access logs that Istio is given, run by a real Envoy."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from typing import Any

from compiler.emit.observability.telemetry import telemetry
from tests.compiler.emit.fleets import rich_fleet
from tests.envoy.envoy_process import envoy_process, free_port

ENVOY_LOG = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"
CEL = "type.googleapis.com/envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter"
MANAGER = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"


def bootstrap(expression: str, port: int, log: Path) -> str:
    """As istiod makes one: the expression stands in the logger's filter."""
    logger: dict[str, Any] = {
        "name": "file",
        "filter": {"extension_filter": {"name": "cel", "typed_config": {"@type": CEL, "expression": expression}}},
        "typed_config": {
            "@type": ENVOY_LOG,
            "path": str(log),
            "log_format": {"text_format_source": {"inline_string": "%REQ(:AUTHORITY)%\n"}},
        },
    }
    answer = {"match": {"prefix": "/"}, "direct_response": {"status": 200}}
    manager = {
        "@type": MANAGER,
        "stat_prefix": "test",
        "access_log": [logger],
        "http_filters": [{"name": "router", "typed_config": {"@type": ROUTER}}],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [answer]}]},
    }
    listener = {
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    admin = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}}
    return json.dumps({"admin": admin, "static_resources": {"listeners": [listener]}})


def test_only_our_hosts_are_logged(tmp_path: Path) -> None:
    tracing = rich_fleet().platform.tracing
    assert tracing is not None
    [logging] = telemetry(tracing, ("mesh.example.com", "*.models.example.com"))["accessLogging"]
    port, log = free_port(), tmp_path / "access.log"
    ours = ["mesh.example.com", "mesh.example.com:8443", "chat.models.example.com", "chat.models.example.com:80"]
    others = ["shop.example.com", "mesh.example.com.evil.org", "models.example.com", "amesh.example.com"]
    with envoy_process(bootstrap(logging["filter"]["expression"], port, log), tmp_path):
        for host in (*ours, *others):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("GET", "/", headers={"host": host})
            assert connection.getresponse().status == 200
            connection.close()
    assert sorted(log.read_text().split()) == sorted(ours)
