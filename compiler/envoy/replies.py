"""Answers that Envoy gives by itself, in the shape OpenAI's clients read, as Envoy's JSON has them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from compiler.fleet import Route

CLIENT_FAULT = "invalid_request_error"
SERVER_FAULT = "server_error"


def error_body(message: str, kind: str, code: str, param: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def listed_names(routes: Iterable[Route]) -> tuple[str, ...]:
    """The names that clients are told of, sorted."""
    return tuple(sorted({name for route in routes for name in route.model_names if name}))


def model_list(names: Iterable[str]) -> dict[str, Any]:
    """What `GET /v1/models` is answered."""
    models = [{"id": name, "object": "model", "created": 0, "owned_by": "turnout"} for name in names]
    return {"object": "list", "data": models}


def header(key: str, value: str) -> dict[str, Any]:
    """A HeaderValueOption that leaves exactly one header of this name."""
    return {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
