"""Which route of a VirtualService a request takes: Istio's matching, over the headers that the body pass would set."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import re2

from compiler.emit.header_matches import copies
from compiler.envoy.request_pass import INTERNAL_PREFIX, settings
from compiler.fleet import Fleet, Gateway, routes
from compiler.request import OPENAI_PATHS, Request


def route_of(http: Sequence[Mapping[str, Any]], headers: Mapping[str, str]) -> Any:
    """The first with a match whose every part holds; `headers` with `:path` and `:method`."""
    return next(route for route in http if any(_matches(match, headers) for match in route.get("match", [{}])))


def headers_after_the_pass(of: Fleet, at: Gateway, request: Request) -> dict[str, str]:
    """As tests/envoy/test_istio_gateway.py sees the script itself do."""
    headers = {name: value for name, value in request.headers.items() if not name.startswith(INTERNAL_PREFIX)}
    headers |= {":path": request.path, ":method": request.method, "x-turnout-gateway": at.name}
    if request.path != "/v1/models":
        headers |= dict(_facts(request)) | ({"x-turnout-path": request.path} if settings(at)["tell_path"] else {})
    for source, name in copies(routes(of, at)):
        if source in headers and (source, headers[source]) != ("x-turnout-model", ""):
            headers[name] = headers[source]
    return headers


def _facts(request: Request) -> Iterable[tuple[str, str]]:
    if request.model is not None or (request.method == "POST" and request.path in OPENAI_PATHS):
        yield "x-turnout-model", request.model or ""
    if request.stream:
        yield "x-turnout-stream", "true"
    if request.prompt_length is not None:
        yield "x-turnout-prompt-length", str(request.prompt_length)
    if request.max_tokens is not None:
        yield "x-turnout-max-tokens", str(request.max_tokens)
    if request.capabilities:
        yield "x-turnout-capability", f",{','.join(sorted(request.capabilities))},"
    for key, value in request.metadata.items():
        yield f"x-turnout-metadata-{key}", value


def _matches(match: Mapping[str, Any], headers: Mapping[str, str]) -> bool:
    assert set(match) <= {"uri", "method", "headers", "withoutHeaders"}
    special = [(match[key], headers[name]) for key, name in (("uri", ":path"), ("method", ":method")) if key in match]
    return (
        all(_fits(how, value) for how, value in special)
        and all(name in headers and _fits(how, headers[name]) for name, how in match.get("headers", {}).items())
        and not any(_is_without(name, how, headers) for name, how in match.get("withoutHeaders", {}).items())
    )


def _is_without(name: str, how: Mapping[str, str], headers: Mapping[str, str]) -> bool:
    """Whether an inverted match refuses: it takes a header that is not there for an empty one, unless it asks whether
    the header is there."""
    return _fits(how, headers.get(name, "")) if how else name in headers


def _fits(how: Mapping[str, str], value: str) -> bool:
    if not how:
        return True
    ((kind, text),) = how.items()
    match kind:
        case "exact":
            return value == text
        case "prefix":
            return value.startswith(text)
    assert kind == "regex"
    assert len(text) <= 1024
    return re2.fullmatch(text, value) is not None


def is_plain_name(name: str) -> bool:
    """Whether Istio's validation takes it for a header of a match."""
    return re.fullmatch("[-_A-Za-z0-9]+", name) is not None
