"""What an Envoy in a pod listens on beside policy's own listeners: for Prometheus and probes, and to be drained.

Envoy's admin page can do anything, also end the process, and has no authentication: it stays on loopback, and these
listeners lead to the two of its paths that others need.
"""

from __future__ import annotations

from collections.abc import Collection
from importlib.resources import files
from typing import Any

Part = dict[str, Any]

ADMIN_CLUSTER = "turnout_admin"
STATS = "turnout_stats"
DRAIN = "turnout_drain"
"""Also the cluster with which the script there calls itself."""
READY, PROMETHEUS = "/ready", "/stats/prometheus"
DRAIN_PATH, WAIT_PATH = "/drain", "/wait"
_SCRAPE = "30s"
_GET = {"name": ":method", "string_match": {"exact": "GET"}}
_LUA = "envoy.filters.http.lua"
_FAULT = "envoy.filters.http.fault"
_ROUTER = "envoy.filters.http.router"


def free_ports(first: int, count: int, taken: Collection[int]) -> tuple[int, ...]:
    """The first `count` ports from `first` on that are not `taken`."""
    return tuple(port for port in range(first, first + count + len(taken)) if port not in taken)[:count]


def admin_cluster(port: int) -> Part:
    return _loopback(ADMIN_CLUSTER, port)


def drain_cluster(port: int) -> Part:
    return _loopback(DRAIN, port)


def stats_listener(port: int) -> Part:
    """GET of `/ready` and `/stats/prometheus`, exactly so, and nothing else of the admin page."""
    routes = [
        {"match": {"path": path, "headers": [_GET]}, "route": {"cluster": ADMIN_CLUSTER, "timeout": _SCRAPE}}
        for path in (READY, PROMETHEUS)
    ]
    return _listener(STATS, port, routes, [_filter(_ROUTER, "router.v3.Router")])


def drain_listener(port: int) -> Part:
    """GET of `/drain?least=15`: answers when no request is under way any more, and not before 15 seconds.

    For the kubelet alone, whose hook can neither POST nor do two things one after the other, and which waits for the
    answer before it ends Envoy. There is neither a shell nor a client in Envoy's distroless image.
    """
    second = {
        "delay": {"fixed_delay": "1s", "percentage": {"numerator": 100}},
    }
    routes = [
        {"match": {"path": DRAIN_PATH, "headers": [_GET]}, "direct_response": {"status": 200}},
        {
            "match": {"path": WAIT_PATH, "headers": [_GET]},
            "direct_response": {"status": 200},
            "typed_per_filter_config": {_FAULT: _typed("fault.v3.HTTPFault", second)},
        },
    ]
    script = files("compiler.envoy").joinpath("drain.lua").read_text(encoding="utf-8")
    filters = [
        _filter(_LUA, "lua.v3.Lua", {"default_source_code": {"inline_string": script}}),
        _filter(_FAULT, "fault.v3.HTTPFault"),
        _filter(_ROUTER, "router.v3.Router"),
    ]
    return _listener(DRAIN, port, routes, filters)


def socket(host: str, port: int) -> Part:
    return {"socket_address": {"address": host, "port_value": port}}


def _listener(name: str, port: int, routes: list[Part], filters: list[Part]) -> Part:
    manager = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    config = {
        "@type": f"type.googleapis.com/{manager}",
        "stat_prefix": name,
        "route_config": {"name": name, "virtual_hosts": [{"name": name, "domains": ["*"], "routes": routes}]},
        "http_filters": filters,
        # By default a request that hears nothing for five minutes is ended; a drain may take longer.
        "stream_idle_timeout": "0s",
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": config}]}
    return {"name": name, "address": socket("0.0.0.0", port), "filter_chains": [chain]}


def _filter(name: str, message: str, config: Part | None = None) -> Part:
    return {"name": name, "typed_config": _typed(message, config or {})}


def _typed(message: str, config: Part) -> Part:
    return {"@type": f"type.googleapis.com/envoy.extensions.filters.http.{message}", **config}


def _loopback(name: str, port: int) -> Part:
    endpoint = {"endpoint": {"address": socket("127.0.0.1", port)}}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
