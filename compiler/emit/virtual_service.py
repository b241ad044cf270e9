"""The routes of one gateway as Istio's proxies take them: by header, else by path, else the default, else 404."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from compiler.emit.durations import duration
from compiler.emit.names import SERVICE_PORT, service_host
from compiler.fleet import Fleet, Gateway, Retries, Route, Share, Timeouts, routes

_MODEL_HEADER = "model-name"
_OPENAI_PATHS = "/v1/(chat/completions|completions|embeddings)"
_NO_MODEL_HEADER: dict[str, dict[str, str]] = {_MODEL_HEADER: {}}


def http_routes(fleet: Fleet, gateway: Gateway) -> list[dict[str, Any]]:
    """In the order in which they are tried; the last takes everything."""
    own = routes(fleet, gateway)
    defaults = (_default(route) for route in own if "" in route.model_names)
    return [_model_list(own), *map(_named, own), _unknown_model(), *defaults, _no_model()]


def _model_list(own: tuple[Route, ...]) -> dict[str, Any]:
    names = sorted({name for route in own for name in route.model_names if name})
    data = [{"id": name, "object": "model", "created": 0, "owned_by": "turnout"} for name in names]
    return {
        "name": "models",
        "match": [{"uri": {"exact": "/v1/models"}, "method": {"exact": "GET"}}],
        **_answer(200, {"object": "list", "data": data}),
    }


def _named(route: Route) -> dict[str, Any]:
    names = [name for name in route.model_names if name]
    return {
        "name": route.name,
        "match": [*map(_by_header, names), *map(_by_path, names)],
        **_forward(route),
    }


def _unknown_model() -> dict[str, Any]:
    named = [{"headers": {_MODEL_HEADER: {}}}, {"uri": {"prefix": "/v1/models/"}}]
    return {"name": "unknown-model", "match": named, **_model_not_found("The model does not exist")}


def _default(route: Route) -> dict[str, Any]:
    # Behind `unknown-model`, so neither header nor path names a model.
    posts = {"uri": {"regex": _OPENAI_PATHS}, "method": {"exact": "POST"}}
    return {"name": f"{route.name}/default", "match": [posts], **_forward(route)}


def _no_model() -> dict[str, Any]:
    said = "No model was named, by header model-name or by path, and none is the default here"
    return {"name": "no-model", **_model_not_found(said)}


def _by_header(name: str) -> dict[str, Any]:
    return {"headers": {_MODEL_HEADER: {"exact": name}}}


def _by_path(name: str) -> dict[str, Any]:
    # A regex, because uri.prefix knows no segment border: /v1/models/llama would take /v1/models/llama-70b.
    # The header wins where a request names two models.
    pattern = f"/v1/models/{name.replace('.', '[.]')}(/.*)?"
    return {"uri": {"regex": pattern}, "withoutHeaders": _NO_MODEL_HEADER}


def _forward(route: Route) -> dict[str, Any]:
    return {
        "route": _destinations(route.shares),
        "timeout": duration(_timeout(route.timeouts)),
        "retries": _retries(route.retries),
    }


def _destinations(shares: tuple[Share, ...]) -> list[dict[str, Any]]:
    taking = [share for share in shares if share.weight]
    whole = all(share.weight % 100 == 0 for share in taking)
    return [
        {
            "destination": {"host": service_host(share.model, share.version), "port": {"number": SERVICE_PORT}},
            "weight": share.weight // 100 if whole else share.weight,
            "headers": {
                "response": {"set": {"x-turnout-model": share.model.name, "x-turnout-version": share.version.name}}
            },
        }
        for share in taking
    ]


def _timeout(timeouts: Timeouts) -> timedelta:
    # Without the body nothing tells a stream from a whole answer, so the longer limit stands for both: the shorter one
    # would cut streams. For the same reason there is no perTryTimeout: a whole answer's first byte comes after its
    # generation, which a try's limit would kill and start again.
    return max(timeouts.stream_total, timeouts.unary_total)


def _retries(retries: Retries) -> dict[str, Any]:
    # Written where there are none, too: Istio retries twice by default.
    if not retries.attempts:
        return {"attempts": 0}
    return {
        "attempts": retries.attempts,
        "retryOn": ",".join((*retries.retry_on, *map(str, retries.status_codes))),
        "backoff": duration(retries.backoff),
        # Istio drops its own default for hashed targets.
        "retryIgnorePreviousHosts": True,
        # Leaves a tier that has failed twice.
        "retryRemoteLocalities": True,
    }


def _model_not_found(message: str) -> dict[str, Any]:
    error = {"message": message, "type": "invalid_request_error", "param": "model", "code": "model_not_found"}
    return _answer(404, {"error": error})


def _answer(status: int, body: dict[str, Any]) -> dict[str, Any]:
    return {
        "directResponse": {"status": status, "body": {"string": json.dumps(body, separators=(",", ":"))}},
        "headers": {"response": {"set": {"content-type": "application/json"}}},
    }
