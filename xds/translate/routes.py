"""The route table of a group: found by the model's name, whatever the number of models.

The name is looked up in a map (docs/design/002-model-lookup.md); what is not found there takes the fallback chain,
where policy gives unknown names to it, or one of three routes that answer by themselves.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.filters.http.fault.v3 import fault_pb2
from envoy.type.matcher.v3 import http_inputs_pb2
from google.protobuf.message import Message

from compiler.diagnostics import Position
from compiler.envoy.replies import CLIENT_FAULT, SERVER_FAULT, header, listed_names, model_list
from compiler.envoy.request_pass import MODEL_HEADER, NO_CLUSTER_HEADER, STREAM_HEADER
from compiler.fleet import Fault, Gateway, Route
from compiler.fleet.routes import sees
from compiler.kept import Kept
from xds.route_table import Lines, entry, route_table
from xds.snapshot import Resource, ResourceSet, alike
from xds.translate.conditions import asks_within, header_matchers
from xds.translate.messages import METADATA_NAMESPACE, packed
from xds.translate.renaming import renaming_route
from xds.translate.replies import error_format
from xds.translate.request_pass import request_pass_settings
from xds.translate.route_actions import stream_action, unary_action
from xds.translate.together import together
from xds.type.matcher.v3 import matcher_pb2
from xds.wire import Frame, frame

MODELS_PATH = "/v1/models"
DEFAULT_BODY_LIMIT = 4096


def route_configurations(gateway: Gateway, routes: tuple[Route, ...], kept: Kept) -> ResourceSet:
    """One, named like the gateway; none where no host is Envoy's to carry."""
    if not gateway.hosts:
        return ResourceSet()
    view, settings = kept.ordinal(sees(gateway)), request_pass_settings(gateway)
    shared = kept.last(("shared", view), (routes,), _shared, (view, routes, kept))
    said = (gateway.name, gateway.hosts, gateway.max_request_bytes, gateway.origin, *map(str, settings.values()))
    parts = kept.same(("said", gateway.name), said), shared.models, shared.usual, shared.taking
    around = kept.last(("frame", gateway.name, view), parts, _frame, (gateway, shared))
    made_of = around, shared.entries, shared.lines
    return kept.last(("table", gateway.name, view), made_of, _table, (gateway, *made_of))


class _Shared(NamedTuple):
    """What the tables of gateways that see the same have in common: nearly all of them."""

    models: str
    """The list that clients are told."""
    entries: ResourceSet
    """Of the map: what each name leads to."""
    usual: bytes
    """The retry policy of the virtual host."""
    taking: Route | None
    """The route for names that nobody has."""
    lines: Lines
    """The line of each route, with its name."""


def _shared(view: int, routes: tuple[Route, ...], kept: Kept) -> _Shared:
    usual = _usual_retries(view, routes, kept)
    names = kept.same(("names", view), kept.chained(_names, routes))
    chosen = kept.tuple_of(kept.chained(_chosen, routes))
    entries = [
        *kept.cut(kept.chained(_entries_of_model, routes, usual, using=(kept,))),
        kept.last(("other entries", view), (chosen, usual), _other_entries, (chosen, usual)),
    ]
    return _Shared(
        models=kept.last(("model list", view), (names,), _model_list, (routes,)),
        entries=together(("entries", view), kept.joined(entries), kept),
        usual=usual,
        taking=next((route for route in chosen if route.takes_unknown_names), None),
        lines=kept.same(("lines", view), kept.each(_line, routes)),
    )


def _line(route: Route) -> tuple[str, Position]:
    return route.name, route.origin


def _names(route: Route) -> tuple[str, ...]:
    return route.model_names


def _chosen(route: Route) -> tuple[Route, ...]:
    """Those that an orchestrator chooses."""
    return () if route.is_of_model else (route,)


def _model_list(routes: tuple[Route, ...]) -> str:
    return json.dumps(model_list(listed_names(routes)), separators=(",", ":"))


def _frame(gateway: Gateway, shared: _Shared) -> Frame:
    """A RouteConfiguration but for the entries of its map."""
    table = route_pb2.RouteConfiguration(
        name=gateway.name,
        ignore_port_in_host_matching=True,
        max_direct_response_body_size_bytes={"value": max(DEFAULT_BODY_LIMIT, len(shared.models))},
    )
    host = route_components_pb2.VirtualHost(
        name=gateway.name,
        domains=[host.name for host in gateway.hosts],
        typed_per_filter_config=request_pass_settings(gateway),
        request_body_buffer_limit={"value": gateway.max_request_bytes},
        response_headers_to_add=list(_who_answered()),
        retry_policy=route_components_pb2.RetryPolicy.FromString(shared.usual),
    )
    unmatched = [_models(shared.models), *_unknown_names(gateway, shared.taking), _no_model()]
    matcher = matcher_pb2.Matcher(on_no_match=_take(unmatched))
    name_asked = _extension("model", http_inputs_pb2.HttpRequestHeaderMatchInput(header_name=MODEL_HEADER))
    tree = matcher_pb2.Matcher.MatcherTree(input=name_asked)
    return frame((table, "virtual_hosts"), (host, "matcher"), (matcher, "matcher_tree"), (tree, "exact_match_map"))


def _table(gateway: Gateway, around: Frame, entries: ResourceSet, lines: Lines) -> ResourceSet:
    """Put together from parts that need not be made again."""
    return ResourceSet([route_table(gateway.name, around, entries, gateway.origin, lines)])


def _who_answered() -> Iterator[dict[str, Any]]:
    """Headers that tell it; none where nobody has. Of an aggregate the instance says it, of any other the cluster."""
    for key in ("model", "version"):
        of_cluster = f"xds.cluster_metadata.filter_metadata['{METADATA_NAMESPACE}']['{key}']"
        yield header(f"x-turnout-{key}", f"%CEL(upstream.port > 0 ? {of_cluster} : '')%")
        yield header(f"x-turnout-{key}", f"%METADATA(UPSTREAM_HOST:{METADATA_NAMESPACE}:{key})%")


def _entries_of_model(route: Route, usual: bytes, kept: Kept) -> tuple[Resource, ...]:
    """Of the map, for the names that are a model's own."""
    if not route.is_of_model:
        return ()
    routes = _route_list(_model_routes(route, usual))
    # Most edits change where a route's instances are, and nothing that stands in the table.
    return tuple(kept.same(("entry", name), entry(name, routes), alike) for name in route.model_names)


def _other_entries(routes: tuple[Route, ...], usual: bytes) -> tuple[Resource, ...]:
    """For names that lead to several of `routes`, in order; the empty name stands for a request that could have named a
    model and did not."""
    by_name: dict[str, list[Route]] = {"": []}
    for route in routes:
        for name in route.model_names:
            by_name.setdefault(name, []).append(route)
    return tuple(entry(name, _several(led_to, usual)) for name, led_to in by_name.items())


def _several(routes: list[Route], usual: bytes) -> bytes:
    lists = [_route_list(_model_routes(route, usual)) for route in routes]
    if all(route.conditions or route.asks_within is not None for route in routes):
        # A request that meets no rule and has no default must not go on to what is asked of other requests.
        lists.append(_route_list([_no_model()]))
    return b"".join(lists)


def _route_list(routes: list[route_components_pb2.Route]) -> bytes:
    """A RouteList; several of them one after the other are the list of all."""
    return bytes(route_components_pb2.RouteList(routes=routes).SerializeToString(deterministic=True))


def _usual_retries(view: int, routes: tuple[Route, ...], kept: Kept) -> bytes:
    """The retry policy of most routes for requests that do not stream, which need not repeat it: it is the better part
    of their bytes."""
    found = kept.folded(("retries", view), kept.each(_retries, routes), Counter, _recounted)
    usual = max(found, key=lambda policy: (found[policy], policy), default=b"")
    return kept.same(("retries", usual), usual)


def _recounted(before: Counter[bytes], gone: Sequence[bytes], come: Sequence[bytes]) -> Counter[bytes]:
    return before - Counter(gone) + Counter(come)


def _retries(route: Route) -> bytes:
    return bytes(unary_action(route).retry_policy.SerializeToString(deterministic=True))


def _model_routes(route: Route, usual: bytes) -> list[route_components_pb2.Route]:
    """The route for requests that stream and the one for those that do not, in order. `usual` retries are the
    virtual host's, and stand in no route."""
    conditions = [*header_matchers(route.conditions), *asks_within(route.asks_within)]
    if not route.is_listed:
        return [_not_ready(route, conditions)]
    streams = {"prefix": "/", "headers": [*conditions, _is(STREAM_HEADER, "true")]}
    others = {"prefix": "/", "headers": conditions}
    drill = _drill(route.fault)
    unary = unary_action(route)
    if unary.retry_policy.SerializeToString(deterministic=True) == usual:
        unary.ClearField("retry_policy")
    return [
        route_components_pb2.Route(
            name=f"{route.name}/stream", match=streams, route=stream_action(route), typed_per_filter_config=drill
        ),
        route_components_pb2.Route(name=route.name, match=others, route=unary, typed_per_filter_config=drill),
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


def _unknown_names(gateway: Gateway, taking: Route | None) -> list[route_components_pb2.Route]:
    """For requests whose name is none of the map's."""
    if taking is None:
        return [_unknown_model()]
    found = _model_routes(taking, usual=b"")
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
