"""Answers of Envoy's own as messages."""

from __future__ import annotations

from typing import Any

from compiler.envoy.replies import SERVER_FAULT, error_body
from xds.translate.messages import struct


def error_format(message: str, kind: str, code: str, param: str | None = None) -> dict[str, Any]:
    """A SubstitutionFormatString. Envoy fills in `%COMMANDS%` in `message` and escapes them for JSON."""
    return {"json_format": struct(error_body(message, kind, code, param))}


def held_back_format(route: str) -> dict[str, Any]:
    """Of a route that is not fit to be served."""
    return error_format(f"The route `{route}` is held back", SERVER_FAULT, "model_not_ready")
