"""Answers that Envoy gives by itself, in the shape OpenAI's clients read, as Envoy's JSON has them."""

from __future__ import annotations

from typing import Any

CLIENT_FAULT = "invalid_request_error"
SERVER_FAULT = "server_error"


def error_body(message: str, kind: str, code: str, param: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def header(key: str, value: str) -> dict[str, Any]:
    """A HeaderValueOption that leaves exactly one header of this name."""
    return {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
