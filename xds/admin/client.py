"""Asks the admin port of a running control server, with the standard library alone."""

from __future__ import annotations

import json
import urllib.request
from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError

TIMEOUT = 60
"""Seconds for a server to look at every instance that a request may come to; the longest that an answer takes."""
NO_SERVER = "this is no control server's admin port"


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


def ask(address: str, path: str, body: bytes | None = None) -> Answer:
    """The answer to a GET, or with `body` to a POST. Raises NotAnsweredError.

    `address` is a URL, or `HOST:PORT`. No proxy is asked: the server is on this machine, or near it.
    """
    root = address if "://" in address else f"http://{address}"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(f"{root.rstrip('/')}{path}", body), timeout=TIMEOUT) as answer:
            return Answer(200, _document(answer.read()))
    except HTTPError as refused:
        return Answer(refused.code, _document(refused.read()))
    except (OSError, ValueError) as problem:
        raise NotAnsweredError(f"{address}: {getattr(problem, 'reason', problem)}") from None


def _document(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
