"""Answers that Envoy gives by itself, in the shape OpenAI's clients read."""

from __future__ import annotations

from typing import Any

from xds.translate.messages import struct

CLIENT_FAULT = "invalid_request_error"
SERVER_FAULT = "server_error"


def error_format(message: str, kind: str, code: str, param: str | None = None) -> dict[str, Any]:
    """A SubstitutionFormatString. Envoy fills in `%COMMANDS%` in `message` and escapes them for JSON."""
    error = {"message": message, "type": kind, "param": param, "code": code}
    return {"json_format": struct({"error": error})}


def header(key: str, value: str) -> dict[str, Any]:
    """A HeaderValueOption that leaves exactly one header of this name."""
    return {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
