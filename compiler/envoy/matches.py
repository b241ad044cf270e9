"""In which header the routes find what a condition asks about, once the body pass is done, and how sets are matched."""

from __future__ import annotations

import re
from collections.abc import Iterable

from compiler.envoy.request_pass import (
    CAPABILITY_HEADER,
    MAX_TOKENS_HEADER,
    METADATA_PREFIX,
    MODEL_HEADER,
    PATH_HEADER,
    PROMPT_LENGTH_HEADER,
    STREAM_HEADER,
)
from compiler.fleet import Condition, Field
from compiler.request import TIER_HEADER

_HEADERS = {
    Field.MODEL: MODEL_HEADER,
    Field.USER_TIER: TIER_HEADER,
    Field.PATH: PATH_HEADER,
    Field.METHOD: ":method",
    Field.PROMPT_LENGTH: PROMPT_LENGTH_HEADER,
    Field.MAX_TOKENS: MAX_TOKENS_HEADER,
    Field.CAPABILITY: CAPABILITY_HEADER,
    Field.STREAM: STREAM_HEADER,
}


def header_of(condition: Condition) -> str:
    match condition.field:
        case Field.HEADER:
            return condition.key
        case Field.METADATA:
            return f"{METADATA_PREFIX}{condition.key}"
    return _HEADERS[condition.field]


def any_of(values: Iterable[str]) -> str:
    return f"({'|'.join(re.escape(value) for value in values)})"


def has_one_of(capabilities: Iterable[str]) -> str:
    """Sets are written `,chat,code,`; `contains` has one value, `in` any of several."""
    return f".*,{any_of(capabilities)},.*"


def has_none_but(capabilities: Iterable[str]) -> str:
    """Of a set that is not empty."""
    return f",({any_of(capabilities)},)+"
