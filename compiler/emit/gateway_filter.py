"""What Istio's own objects cannot say of a gateway, as patches of its proxies' configuration: an EnvoyFilter's.

A gateway's pods serve other hosts beside Turnout's, so what a patch does must not reach those. A listener, its filters
and its error bodies are shared: what stands there does nothing without a sign that only Turnout's requests bear, the
virtual host's choice of a script, and the header that this script sets.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from compiler.emit.durations import envoy_duration
from compiler.emit.header_matches import copies
from compiler.emit.names import gateway_owner, service_hosts
from compiler.emit.virtual_service import NO_MODEL_ROUTE, stream_route_name, takes_streams
from compiler.envoy.local_replies import local_reply_config
from compiler.envoy.request_pass import GATEWAY_HEADER, NO_CLUSTER_HEADER, shared_gateway_source
from compiler.fleet import Gateway, Model, Route, Version

_TYPES = "type.googleapis.com/envoy.extensions.filters"
_CONNECTION_MANAGER = "envoy.filters.network.http_connection_manager"
_SCRIPT = "request_pass"

Patch = dict[str, Any]


def config_patches(
    gateway: Gateway, hosts: Iterable[str], own: tuple[Route, ...], versions: Iterable[tuple[Model, Version]]
) -> list[Patch]:
    """For the `hosts` of `gateway`, whose routes are `own` and lead to `versions`."""
    domains = [host.lower() for host in hosts]  # as Istio writes them
    return [
        _body_pass(gateway, own),
        _error_bodies(gateway),
        *(_virtual_host(gateway, domain) for domain in domains),
        *(_no_model_route(domain) for domain in domains),
        *(_stream_route(route) for route in own if takes_streams(route)),
        *(_cluster(host) for model, version in versions for host in service_hosts(model, version)),
    ]


def _body_pass(gateway: Gateway, own: tuple[Route, ...]) -> Patch:
    """The script, there for those virtual hosts that call for it: without a default, it runs for no other.

    The very first filter. INSERT_BEFORE `envoy.filters.http.rbac` would be left out on a gateway that has no
    AuthorizationPolicy; and the script must remove a client's internal headers before jwt_authn may set one.
    """
    script = {"inline_string": shared_gateway_source(gateway, copies(own))}
    config = {"@type": f"{_TYPES}.http.lua.v3.Lua", "source_codes": {_SCRIPT: script}}
    value = {"name": _filter_name(gateway), "typed_config": config}
    return _patch("HTTP_FILTER", _listener(), "INSERT_FIRST", value)


def _error_bodies(gateway: Gateway) -> Patch:
    ours = {"header_filter": {"header": {"name": GATEWAY_HEADER, "string_match": {"exact": gateway.name}}}}
    manager = f"{_TYPES}.network.http_connection_manager.v3.HttpConnectionManager"
    config = {"@type": manager, "local_reply_config": local_reply_config(ours)}
    return _patch("NETWORK_FILTER", _listener(), "MERGE", {"name": _CONNECTION_MANAGER, "typed_config": config})


def _virtual_host(gateway: Gateway, domain: str) -> Patch:
    """Found by domain: Istio names a virtual host that stands for several hosts after one of them, and after a port."""
    script = {"@type": f"{_TYPES}.http.lua.v3.LuaPerRoute", "name": _SCRIPT}
    value = {
        "typed_per_filter_config": {_filter_name(gateway): script},
        "request_body_buffer_limit": gateway.max_request_bytes,
    }
    return _patch("VIRTUAL_HOST", {"routeConfiguration": {"vhost": {"domainName": domain}}}, "MERGE", value)


def _no_model_route(domain: str) -> Patch:
    """Every request has this route until its body has been read, and Envoy takes the limit of that body from a route
    that forwards only. So it forwards, to a cluster that no request has a header to name: answered 404 all the same.
    """
    value = {"route": {"cluster_header": NO_CLUSTER_HEADER, "cluster_not_found_response_code": "NOT_FOUND"}}
    match = {"vhost": {"domainName": domain, "route": {"name": NO_MODEL_ROUTE}}}
    return _patch("HTTP_ROUTE", {"routeConfiguration": match}, "MERGE", value)


def _stream_route(route: Route) -> Patch:
    """Found by its name, on every virtual host: two of policy's gateways have the same name for the same model only."""
    timeouts = route.timeouts
    action: dict[str, Any] = {
        "timeout": "0s",
        "idle_timeout": envoy_duration(timeouts.stream_idle),
        "max_stream_duration": {"max_stream_duration": envoy_duration(timeouts.stream_total)},
    }
    if not route.retries.attempts:
        # Istio makes no retry policy of 0 attempts, and the limit for the first byte is part of it.
        action["retry_policy"] = {"num_retries": 0, "per_try_timeout": envoy_duration(timeouts.stream_first_byte)}
    match = {"vhost": {"route": {"name": stream_route_name(route)}}}
    return _patch("HTTP_ROUTE", {"routeConfiguration": match}, "MERGE", {"route": action})


def _cluster(host: str) -> Patch:
    """Envoy's default holds changes of instances back for up to a second."""
    value = {"common_lb_config": {"update_merge_window": "0s"}}
    return _patch("CLUSTER", {"cluster": {"service": host}}, "MERGE", value)


def _filter_name(gateway: Gateway) -> str:
    return f"turnout.request_pass.{gateway_owner(gateway).slug}"


def _listener() -> dict[str, Any]:
    """All of the gateway's: which port a listener is bound to is the Service's affair, not policy's."""
    return {"listener": {"filterChain": {"filter": {"name": _CONNECTION_MANAGER}}}}


def _patch(apply_to: str, match: dict[str, Any], operation: str, value: dict[str, Any]) -> Patch:
    return {
        "applyTo": apply_to,
        "match": {"context": "GATEWAY", **match},
        "patch": {"operation": operation, "value": value},
    }
