"""Recorded requests, read for a change that is to be weighed by them.

A profile is JSONL, a request a line, as `turnout explain` takes it: `{"method", "path", "host", "headers", "tier",
"capability", "body", "prompt_length", "count"}`, each optional.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from compiler.request import (
    TIER_HEADER,
    Sent,
)

MOST_PROBLEMS = 20
MOST = 10**12
"""Of a number in a profile."""
KEYS = ("method", "path", "host", "headers", "tier", "capability", "body", "prompt_length", "count")


class ProfileError(ValueError):
    """Lines that are no requests; `args` are one text a line, each with the line's number."""


@dataclass(frozen=True, slots=True)
class Recorded:
    sent: Sent
    prompt_length: int | None
    """In place of the body's, in the gateway's unit: so that a recording need not have prompts."""
    count: int


def read_profile(lines: Iterable[str], name: str) -> tuple[Recorded, ...]:
    """Raises ProfileError for lines that are no requests: a share of the others would be a share of something else."""
    counted: dict[str, int] = {}
    parsed: dict[str, tuple[Sent, int | None]] = {}
    problems: list[str] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            document = _document(line)
            count = _whole(document, "count", 1)
            key = json.dumps({**document, "count": 1}, sort_keys=True)
            if key not in parsed:
                parsed[key] = (
                    _sent(document),
                    _whole(document, "prompt_length", 0) if "prompt_length" in document else None,
                )
            counted[key] = counted.get(key, 0) + count
        except (ValueError, RecursionError) as problem:
            problems.append(f"{name}:{number}: {problem}")
    if not problems and not parsed:
        problems.append(f"{name}: no requests: one JSON object a line")
    if problems:
        rest = len(problems) - MOST_PROBLEMS
        more = (f"{name}: and {rest:,} more such lines",) if rest > 0 else ()
        raise ProfileError(*problems[:MOST_PROBLEMS], *more)
    return tuple(Recorded(*parsed[key], count) for key, count in counted.items())


def _document(line: str) -> Mapping[str, Any]:
    try:
        document = json.loads(line)
    except (ValueError, RecursionError) as problem:
        raise ValueError(f"not JSON: {problem}") from None
    if not isinstance(document, dict):
        raise ValueError("not a JSON object")
    unknown = [key for key in document if key not in KEYS]
    if unknown:
        raise ValueError(f"unknown key '{unknown[0]}': one of {', '.join(KEYS)}")
    return document


def _sent(document: Mapping[str, Any]) -> Sent:
    headers = _mapping(document, "headers")
    given = [(name.lower(), text) for name, value in headers.items() for text in _texts(value, f"header {name}")]
    if "tier" in document:
        given.append((TIER_HEADER, _text(document, "tier", "")))
    asked = _texts(document.get("capability", []), "capability")
    if asked:
        given.append(("x-capability", ",".join(asked)))
    host = _text(document, "host", "")
    if host:
        given.append(("host", host))
    body = json.dumps(_mapping(document, "body")).encode()
    return Sent(_text(document, "method", "POST"), _text(document, "path", "/v1/chat/completions"), tuple(given), body)


def _mapping(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = document.get(key, {})
    if not isinstance(value, dict):
        raise ValueError(f"{key} is not an object")
    return value


def _text(document: Mapping[str, Any], key: str, default: str) -> str:
    value = document.get(key, default)
    if not isinstance(value, str):
        raise ValueError(f"{key} is not text")
    return value


def _texts(value: Any, what: str) -> list[str]:
    texts = value if isinstance(value, list) else [value]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{what} is not text")
    return texts


def _whole(document: Mapping[str, Any], key: str, least: int) -> int:
    value = document.get(key, 1)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= MOST:
        raise ValueError(f"{key} is no whole number from {least} to {MOST:,}")
    return value
