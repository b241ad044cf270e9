"""Regular expressions as Envoy and Istio run them: RE2, over the whole value."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import re2

from compiler.fleet.rules import MOST_OF_A_REGEX

_QUIET = re2.Options()
_QUIET.log_errors = False


def problem(pattern: str) -> str:
    """Why Envoy would refuse `pattern`; empty where it would not."""
    try:
        size = _compiled(pattern).programsize
    except re2.error as refused:
        (reason,) = refused.args
        return reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
    return f"{size:,} instructions, {MOST_OF_A_REGEX:,} at most" if size > MOST_OF_A_REGEX else ""


def matches(pattern: str, text: str) -> bool:
    """`pattern` is one without a problem."""
    return _compiled(pattern).fullmatch(text) is not None


@lru_cache(1024)
def _compiled(pattern: str) -> Any:
    return re2.compile(pattern, _QUIET)
