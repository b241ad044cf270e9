"""The routes of one gateway as Istio's proxies take them: the same, in the same order, as Turnout's own Envoys have.

They are found by the headers that the body pass has set (`gateway_filter`), so a request that has not come through it
is answered 404.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from compiler.emit.durations import duration
from compiler.emit.header_matches import PRESENT, header_matches
from compiler.emit.names import SERVICE_PORT, apex_host, service_host
from compiler.envoy.local_replies import NO_MODEL
from compiler.envoy.matches import any_of
from compiler.envoy.replies import CLIENT_FAULT, error_body, listed_names, model_list
from compiler.envoy.request_pass import MODEL_HEADER, STREAM_HEADER
from compiler.fleet import Fault, Field, Gateway, MirrorShare, Model, Retries, Route, Share, Version, slug

NONE = timedelta(0)
NOTHING: Mapping[str, Any] = {}
NO_MODEL_ROUTE = "no-model"
"""The last, which takes everything; every request has it until its body has been read."""


def http_routes(gateway: Gateway, own: tuple[Route, ...]) -> list[dict[str, Any]]:
    """In the order in which they are tried. `own` are the gateway's routes."""
    forwarding = [
        made for route in own for http_route in _forwarding(route) for made in _handed_over(route, http_route)
    ]
    return [_models(own), *forwarding, *_unknown_model(gateway, own), _no_model()]


def stream_route_name(route: Route) -> str:
    return f"{route.name}/stream"


def takes_streams(route: Route) -> bool:
    return not any(c.field is Field.STREAM and not c.values[0] for c in route.conditions)


def takes_others(route: Route) -> bool:
    return not any(c.field is Field.STREAM and c.values[0] for c in route.conditions)


def _models(own: tuple[Route, ...]) -> dict[str, Any]:
    return {
        "name": "models",
        "match": [{"uri": {"exact": "/v1/models"}, "method": {"exact": "GET"}}],
        **_answer(200, model_list(listed_names(own))),
    }


def flaggers_model(route: Route) -> Model | None:
    """The one model of the route, if Flagger moves it."""
    taking = {share.model.name: share.model for share in route.shares if share.weight}
    only = next(iter(taking.values())) if len(taking) == 1 else None
    return only if only is not None and only.is_flaggers else None


def _handed_over(route: Route, http_route: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The route itself; for a model that Flagger moves, one that takes the split from Flagger's VirtualService.

    Istio leaves that one out as long as there is none: Flagger makes it when a first copy of the model is ready, which
    may take as long as a load. Until then the next one answers. What else a route says, the delegate takes over from
    here. https://istio.io/latest/docs/reference/config/networking/virtual-service/#Delegate
    """
    model = flaggers_model(route)
    if model is None:
        yield http_route
        return
    answer = {"headers": {"response": {"set": {"x-turnout-model": model.name}}}}
    split = {"delegate": {"name": slug(model.name), "namespace": model.namespace}}
    apex = {"route": [{"destination": {"host": apex_host(model), "port": {"number": SERVICE_PORT}}}]}
    for way in (split, apex):
        named = {key: value for key, value in http_route.items() if key in ("name", "match")}
        rest = {key: value for key, value in http_route.items() if key not in ("name", "match", "route")}
        yield {**named, **way, **answer, **rest}


def _forwarding(route: Route) -> Iterator[dict[str, Any]]:
    """The route for requests that stream and the one for those that do not, in order."""
    timeouts = route.timeouts
    if takes_streams(route):
        yield {
            "name": stream_route_name(route),
            "match": _matches(route, headers={STREAM_HEADER: {"exact": "true"}}),
            **_forward(route),
            # No timeout, as Istio's default is: the CRD refuses 0s. What limits a stream, `gateway_filter` writes.
            "retries": _retries(route.retries, per_try=timeouts.stream_first_byte),
        }
    if takes_others(route):
        yield {
            "name": route.name,
            # Behind the one for streams it gets none.
            "match": _matches(route, without={} if takes_streams(route) else {STREAM_HEADER: PRESENT}),
            **_forward(route),
            **_unless_zero("timeout", timeouts.unary_total),
            # Without a limit for one try: the first byte comes when the whole answer has been generated.
            "retries": _retries(route.retries, per_try=NONE),
        }


def _matches(
    route: Route, headers: Mapping[str, Any] = NOTHING, without: Mapping[str, Any] = NOTHING
) -> list[dict[str, Any]]:
    """Any of which will do; with `headers` and `without` what the route asks besides."""
    asked = header_matches(route)
    refused = {**without, **asked.without}
    inverted = {"withoutHeaders": refused} if refused else {}
    return [{"headers": {MODEL_HEADER: name, **headers, **asked.headers}, **inverted} for name in _names(route)]


def _names(route: Route) -> list[dict[str, str]]:
    """Matches of the header that holds the model's name; it is empty where a request could name one and does not."""
    names = [name for name in route.model_names if name]
    if route.takes_unknown_names:
        return [{"regex": ".*" if "" in route.model_names else ".+"}]
    if "" in route.model_names:
        return [{"regex": f"{any_of(names)}?"}]
    return [{"exact": name} for name in names]


def _unknown_model(gateway: Gateway, own: tuple[Route, ...]) -> Iterator[dict[str, Any]]:
    if any(route.takes_unknown_names for route in own):
        return
    named: dict[str, Any] = {"headers": {MODEL_HEADER: {"regex": ".+"}}}
    if gateway.orchestrator is not None:
        # A request that leaves the choice to it, and for which it has none, is no request for an unknown model.
        named["withoutHeaders"] = {MODEL_HEADER: {"exact": gateway.orchestrator.name}}
    yield {"name": "unknown-model", "match": [named], **_model_not_found("The model does not exist")}


def _no_model() -> dict[str, Any]:
    return {"name": NO_MODEL_ROUTE, **_model_not_found(NO_MODEL.message)}


def _forward(route: Route) -> dict[str, Any]:
    return {
        "route": _destinations(route.shares),
        **({"mirrors": [_mirror(share) for share in route.mirrors]} if route.mirrors else {}),
        **({"fault": _fault(route.fault)} if route.fault is not None else {}),
    }


def _destinations(shares: tuple[Share, ...]) -> list[dict[str, Any]]:
    taking = [share for share in shares if share.weight]
    whole = all(share.weight % 100 == 0 for share in taking)
    return [
        {
            "destination": _destination(share.model, share.version),
            "weight": share.weight // 100 if whole else share.weight,
            "headers": {
                "response": {"set": {"x-turnout-model": share.model.name, "x-turnout-version": share.version.name}}
            },
        }
        for share in taking
    ]


def _destination(model: Model, version: Version) -> dict[str, Any]:
    return {"host": service_host(model, version), "port": {"number": SERVICE_PORT}}


def _mirror(share: MirrorShare) -> dict[str, Any]:
    return {"destination": _destination(share.model, share.version), "percentage": {"value": _percent(share.weight)}}


def _percent(weight: int) -> int | float:
    return weight / 100 if weight % 100 else weight // 100


def _fault(fault: Fault) -> dict[str, Any]:
    """`percentage`, because `abort.percent` is in no CRD, and `delay.percent` knows whole numbers only."""
    parts: dict[str, Any] = {}
    if fault.delay_percent and fault.delay:
        parts["delay"] = {"percentage": {"value": fault.delay_percent}, "fixedDelay": duration(fault.delay)}
    if fault.abort_percent:
        parts["abort"] = {"percentage": {"value": fault.abort_percent}, "httpStatus": fault.abort_status}
    return parts


def _retries(retries: Retries, per_try: timedelta) -> dict[str, Any]:
    # Written where there are none, too: Istio retries twice by default. It takes nothing else beside 0 attempts.
    if not retries.attempts:
        return {"attempts": 0}
    return {
        "attempts": retries.attempts,
        **_unless_zero("perTryTimeout", per_try),
        "retryOn": ",".join((*retries.retry_on, *map(str, retries.status_codes))),
        "backoff": duration(retries.backoff),
        # Istio drops its own default for hashed targets.
        "retryIgnorePreviousHosts": True,
        # Leaves a tier that has failed twice.
        "retryRemoteLocalities": True,
    }


def _unless_zero(field: str, limit: timedelta) -> dict[str, str]:
    """Zero is no limit, and the CRD takes no less than a millisecond."""
    return {field: duration(limit)} if limit else {}


def _model_not_found(message: str) -> dict[str, Any]:
    return _answer(404, error_body(message, CLIENT_FAULT, "model_not_found", "model"))


def _answer(status: int, body: dict[str, Any]) -> dict[str, Any]:
    return {
        "directResponse": {"status": status, "body": {"string": json.dumps(body, separators=(",", ":"))}},
        "headers": {"response": {"set": {"content-type": "application/json"}}},
    }
