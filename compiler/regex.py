"""Regular expressions as Envoy and Istio run them: RE2, over the whole value."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import re2

from compiler.fleet.rules import MOST_OF_A_REGEX

_ENCODINGS = (re2.Options.Encoding.LATIN1, re2.Options.Encoding.UTF8)
"""How Envoys take text: 1.40 as bytes, a character each; others, which Istio may have, as UTF-8. Of ASCII it is one."""


def problem(pattern: str) -> str:
    """Why one Envoy or another would refuse `pattern`; empty where none would."""
    try:
        size = max(_compiled(pattern, encoding).programsize for encoding in _ENCODINGS)
    except re2.error as refused:
        (reason,) = refused.args
        return reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
    return f"{size:,} instructions, {MOST_OF_A_REGEX:,} at most" if size > MOST_OF_A_REGEX else ""


def matches(pattern: str, text: str) -> bool:
    """`pattern` is one without a problem."""
    compiled = _compiled(pattern, re2.Options.Encoding.LATIN1)
    return compiled.fullmatch(text.encode(errors="replace")) is not None


@lru_cache(1024)
def _compiled(pattern: str, encoding: Any) -> Any:
    options = re2.Options()
    options.log_errors, options.encoding = False, encoding
    return re2.compile(pattern.encode(), options)
