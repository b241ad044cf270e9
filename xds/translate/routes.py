"""The route table of a group: found by the model's name, whatever the number of models.

The name is looked up in a map (docs/design/002-model-lookup.md); what is not found there takes the fallback chain,
where policy gives unknown names to it, or one of three routes that answer by themselves.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.filters.http.fault.v3 import fault_pb2
from envoy.type.matcher.v3 import http_inputs_pb2
from google.protobuf.message import Message

from compiler.envoy.replies import CLIENT_FAULT, SERVER_FAULT, header, model_list
from compiler.envoy.request_pass import MODEL_HEADER, NO_CLUSTER_HEADER, STREAM_HEADER
from compiler.fleet import Fault, Gateway, Route
from xds.snapshot import ResourceSet
from xds.translate.conditions import asks_within, header_matchers
from xds.translate.messages import METADATA_NAMESPACE, message_resource, packed
from xds.translate.renaming import renaming_route
from xds.translate.replies import error_format
from xds.translate.request_pass import request_pass_settings
from xds.translate.route_actions import stream_action, unary_action

MODELS_PATH = "/v1/models"
DEFAULT_BODY_LIMIT = 4096


def route_configurations(gateway: Gateway, routes: Iterable[Route]) -> ResourceSet:
    """One, named like the gateway; none where no host is Envoy's to carry."""
    if not gateway.hosts:
        return ResourceSet()
    return ResourceSet([message_resource(gateway.name, route_configuration(gateway, tuple(routes)), gateway.origin)])


def route_configuration(gateway: Gateway, routes: tuple[Route, ...]) -> route_pb2.RouteConfiguration:
    models = json.dumps(model_list(routes), separators=(",", ":"))
    return route_pb2.RouteConfiguration(
        name=gateway.name,
        virtual_hosts=[_virtual_host(gateway, routes, models)],
        ignore_port_in_host_matching=True,
        max_direct_response_body_size_bytes={"value": max(DEFAULT_BODY_LIMIT, len(models))},
    )


def _virtual_host(gateway: Gateway, routes: tuple[Route, ...], models: str) -> route_components_pb2.VirtualHost:
    return route_components_pb2.VirtualHost(
        name=gateway.name,
        domains=[host.name for host in gateway.hosts],
        matcher={
            "matcher_tree": {
                "input": _extension("model", http_inputs_pb2.HttpRequestHeaderMatchInput(header_name=MODEL_HEADER)),
                "exact_match_map": {"map": {name: _take(found) for name, found in _by_name(routes).items()}},
            },
            "on_no_match": _take([_models(models), *_unknown_names(gateway, routes), _no_model()]),
        },
        typed_per_filter_config=request_pass_settings(gateway),
        request_body_buffer_limit={"value": gateway.max_request_bytes},
        response_headers_to_add=[
            header("x-turnout-model", f"%METADATA(UPSTREAM_HOST:{METADATA_NAMESPACE}:model)%"),
            header("x-turnout-version", f"%METADATA(UPSTREAM_HOST:{METADATA_NAMESPACE}:version)%"),
        ],
    )


def _by_name(routes: tuple[Route, ...]) -> dict[str, list[route_components_pb2.Route]]:
    """What each name leads to; the empty one stands for a request that could have named a model and did not."""
    found: dict[str, list[route_components_pb2.Route]] = {}
    for route in routes:
        for name in route.model_names:
            found.setdefault(name, []).extend(_model_routes(route))
    # A request that meets no rule and has no default must not go on to what is asked of other requests.
    everybodys = (route for route in routes if not route.conditions and route.asks_within is None)
    answered = {name for route in everybodys for name in route.model_names}
    for name in {"", *found} - answered:
        found.setdefault(name, []).append(_no_model())
    return found


def _model_routes(route: Route) -> list[route_components_pb2.Route]:
    """The route for requests that stream and the one for those that do not, in order."""
    conditions = [*header_matchers(route.conditions), *asks_within(route.asks_within)]
    if not route.is_listed:
        return [_not_ready(route, conditions)]
    streams = {"prefix": "/", "headers": [*conditions, _is(STREAM_HEADER, "true")]}
    others = {"prefix": "/", "headers": conditions}
    drill = _drill(route.fault)
    return [
        route_components_pb2.Route(
            name=f"{route.name}/stream", match=streams, route=stream_action(route), typed_per_filter_config=drill
        ),
        route_components_pb2.Route(
            name=route.name, match=others, route=unary_action(route), typed_per_filter_config=drill
        ),
    ]


def _not_ready(route: Route, conditions: list[dict[str, Any]]) -> route_components_pb2.Route:
    """Nobody is there yet. Were there instances that are not well, Envoy's own `UH` would say so (`local_replies`)."""
    chosen = max(route.shares, key=lambda share: share.weight)
    load_time = math.ceil(chosen.version.cold_start.cold.total_seconds())
    said = f"The model `{chosen.model.name}` has no instance yet"
    return route_components_pb2.Route(
        name=route.name,
        match={"prefix": "/", "headers": conditions},
        direct_response={"status": 503, "body_format": error_format(said, SERVER_FAULT, "model_not_ready")},
        response_headers_to_add=[header("retry-after", str(load_time))],
    )


def _drill(fault: Fault | None) -> dict[str, Any]:
    if fault is None:
        return {}
    config = fault_pb2.HTTPFault()
    if fault.delay_percent:
        config.delay.fixed_delay.FromTimedelta(fault.delay)
        config.delay.percentage.numerator = fault.delay_percent
    if fault.abort_percent:
        config.abort.http_status = fault.abort_status
        config.abort.percentage.numerator = fault.abort_percent
    return {"envoy.filters.http.fault": packed(config)}


def _models(models: str) -> route_components_pb2.Route:
    return route_components_pb2.Route(
        name="models",
        match={"path": MODELS_PATH, "headers": [_is(":method", "GET")]},
        direct_response={"status": 200, "body": {"inline_string": models}},
        response_headers_to_add=[header("content-type", "application/json")],
    )


def _unknown_names(gateway: Gateway, routes: tuple[Route, ...]) -> list[route_components_pb2.Route]:
    """For requests whose name is none of the map's."""
    taking = next((route for route in routes if route.takes_unknown_names), None)
    if taking is None:
        return [_unknown_model()]
    found = _model_routes(taking)
    for route in found:
        route.match.headers.add(name=MODEL_HEADER, present_match=True)
        for name, config in renaming_route(gateway).items():
            route.typed_per_filter_config[name].CopyFrom(config)
    return found


def _unknown_model() -> route_components_pb2.Route:
    message = f"The model `%REQ({MODEL_HEADER})%` does not exist"
    body = error_format(message, CLIENT_FAULT, "model_not_found", "model")
    return route_components_pb2.Route(
        name="unknown-model",
        match={"prefix": "/", "headers": [{"name": MODEL_HEADER, "present_match": True}]},
        direct_response={"status": 404, "body_format": body},
    )


def _no_model() -> route_components_pb2.Route:
    """Leads nowhere: no request has the header that would name the cluster. `local_replies` words the 404.

    It is also the route of every request until its body has been read, and Envoy takes the limit of that body from a
    route that forwards only: behind a direct response the listener's 1 MiB would hold.
    """
    return route_components_pb2.Route(
        name="no-model",
        match={"prefix": "/"},
        route={
            "cluster_header": NO_CLUSTER_HEADER,
            "cluster_not_found_response_code": route_components_pb2.RouteAction.NOT_FOUND,
        },
    )


def _is(name: str, value: str) -> dict[str, Any]:
    return {"name": name, "string_match": {"exact": value}}


def _take(routes: list[route_components_pb2.Route]) -> dict[str, Any]:
    return {"action": _extension("routes", route_components_pb2.RouteList(routes=routes))}


def _extension(name: str, config: Message) -> Mapping[str, Any]:
    return {"name": name, "typed_config": packed(config)}
