"""A running control server, asked at its admin port, with the standard library alone."""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit

from xds.loopback import is_loopback

TIMEOUT = 10
"""Seconds."""
LOOKING = 60
"""Seconds for a server to look at every instance that a request may come to; the longest that an answer takes."""
TOKEN = "TURNOUT_ADMIN_TOKEN"
"""The environment's variable."""
NO_SERVER = "this is no control server's admin port"
"""Of an answer that is none of ours."""


class NotAnsweredError(Exception):
    """Nobody answers at that address, or it is no HTTP address at all: the message says both."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    document: dict[str, Any]
    """Empty where the answer is not a JSON object, as that of any other server."""

    @property
    def error(self) -> str:
        """In the server's own words, or that it is none of ours."""
        return str(self.document.get("error", NO_SERVER))


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A token is for the server that was named, and for nobody whom it points to."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def ask(
    address: str,
    path: str,
    body: bytes | None = None,
    method: str | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = TIMEOUT,
) -> Answer:
    """The answer to a GET, or with `body` to a POST, where `method` names no other. Raises NotAnsweredError.

    `address` is a URL, or `HOST:PORT`. No proxy is asked: the server is on this machine, or near it. Of https those
    are trusted whom the machine trusts; `SSL_CERT_FILE` in the environment names others.
    """
    root = address if "://" in address else f"http://{address}"
    if headers and "Authorization" in headers and not _is_safe(root):
        raise NotAnsweredError(f"{address}: a token goes to another machine over https only")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects())
    try:
        request = urllib.request.Request(f"{root.rstrip('/')}{path}", body, dict(headers or {}), method=method)
        with opener.open(request, timeout=timeout) as answer:
            return Answer(answer.status, _document(answer.read()))
    except HTTPError as refused:
        return Answer(refused.code, _document(refused.read()))
    except HTTPException:
        raise NotAnsweredError(f"{address}: {NO_SERVER}") from None
    except (OSError, ValueError) as problem:
        raise NotAnsweredError(f"{address}: {getattr(problem, 'reason', problem)}") from None


def _is_safe(root: str) -> bool:
    try:
        parts = urlsplit(root)
        return parts.scheme == "https" or is_loopback(parts.hostname or "")
    except ValueError:
        return False


def authorization(file: Path | None) -> dict[str, str]:
    """The header with the token in `file`, or else in the environment; none where neither has one: the server says
    what it needs. Raises as `token_in`."""
    if file is not None:
        found = token_in(file)
    elif os.environ.get(TOKEN):
        found = token(os.environb[TOKEN.encode()], TOKEN)
    else:
        return {}
    return {"Authorization": f"Bearer {found.decode()}"}


def _document(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _printed(warning: str) -> None:
    print(f"turnout: {warning}", file=sys.stderr)


def token_in(file: Path, warn: Callable[[str], None] = _printed) -> bytes:
    """Raises OSError; ValueError for what is no token, without saying what it is."""
    if file.exists() and not file.is_file():
        raise ValueError(f"{file} is no file")
    if file.stat().st_mode & 0o007:
        warn(f"{file} is open to everybody on this machine: chmod 600 {file}")
    return token(file.read_bytes(), str(file))


def token(text: bytes, of: str) -> bytes:
    """Raises ValueError for what a header cannot carry, and names where it is from: `of`."""
    found = text.strip()
    if not found or not all(0x21 <= sign <= 0x7E for sign in found):
        raise ValueError(f"{of} holds no token: one word of ASCII")
    return found
