"""A running server, asked at its admin port."""

from __future__ import annotations

import json
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

TIMEOUT = 60
"""Seconds: a server that explains looks at every instance that a request may come to."""
NO_SERVER = "this is no control server's admin port"
"""Of an answer that is none of ours."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A token is for the server that was named, and for nobody whom it points to."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def asked_of(
    url: str, body: bytes | None = None, method: str | None = None, headers: Mapping[str, str] | None = None
) -> tuple[int, dict[str, Any]]:
    """Status and document of the answer, an empty one where it sends none. Past any proxy.

    Raises OSError or ValueError where there is no answer.
    """
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects())
    request = urllib.request.Request(url, body, dict(headers or {}), method=method)
    try:
        with opener.open(request, timeout=TIMEOUT) as answer:
            return answer.status, _json_or_nothing(answer.read())
    except HTTPError as refused:
        return refused.code, _json_or_nothing(refused.read())


def token_in(file: Path) -> bytes:
    """Raises OSError; ValueError for what is no token, without saying what it is."""
    if file.stat().st_mode & 0o007:
        print(f"turnout: {file} is open to everybody on this machine: chmod 600 {file}", file=sys.stderr)
    return token(file.read_bytes(), str(file))


def token(text: bytes, of: str) -> bytes:
    """Raises ValueError for what a header cannot carry, and names where it is from: `of`."""
    found = text.strip()
    if not found or not all(0x21 <= sign <= 0x7E for sign in found):
        raise ValueError(f"{of} holds no token: one word of ASCII")
    return found


def _json_or_nothing(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
