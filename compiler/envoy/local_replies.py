"""What Envoy says when it cannot get an answer: one OpenAI-shaped error for each cause.

Only Envoy's own replies pass here; an answer of an engine is never rewritten.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from compiler.envoy.replies import CLIENT_FAULT, SERVER_FAULT, error_body, header

RETRY_AFTER = 1
"""Seconds; an instance that is restarted or a queue that drains may be back by then."""


@dataclass(frozen=True, slots=True)
class LocalReply:
    status: int | None
    """`None`: the one that Envoy gave."""
    code: str
    message: str
    flags: tuple[str, ...] = ()
    """Envoy's response flags, any of which makes it this reply; empty: all."""
    own_status: int | None = None
    """The status that Envoy itself gave, where the flags do not say enough; `None`: any."""
    param: str | None = None
    retry: bool = False
    """Whether the client is told to come back, by `Retry-After`."""


NO_MODEL = LocalReply(
    404, "model_not_found", "No model was named and none is the default here", ("NC",), own_status=404, param="model"
)
LOCAL_REPLIES = (
    LocalReply(413, "request_too_large", "The request body is too large", own_status=413),
    LocalReply(None, "injected_fault", "A drill answers this request with an error", flags=("FI",)),
    NO_MODEL,
    LocalReply(503, "no_healthy_instance", "The model has no healthy instance", flags=("UH", "NC"), retry=True),
    LocalReply(503, "overloaded", "The model is overloaded", flags=("UO", "OM"), retry=True),
    LocalReply(504, "timeout", "The model did not answer in time", flags=("UT", "SI", "DT", "UMSDR")),
    LocalReply(503, "upstream_error", "The model's instance failed to answer", flags=("UF", "UC", "UR", "LR", "UPE")),
    LocalReply(404, "host_not_found", "Nothing is served at this host", flags=("NR",)),
)
"""The first that fits is taken."""


def local_reply_config(*only: Mapping[str, Any]) -> dict[str, Any]:
    """A LocalReplyConfig, in Envoy's JSON. `only`: AccessLogFilters that a request must pass besides."""
    return {"mappers": [_mapper(reply, only) for reply in LOCAL_REPLIES]}


def _mapper(reply: LocalReply, only: tuple[Mapping[str, Any], ...]) -> dict[str, Any]:
    kind = SERVER_FAULT if reply.status is None or reply.status >= 500 else CLIENT_FAULT
    filters = [*only, *_filters(reply)]
    return {
        "filter": {"and_filter": {"filters": filters}} if len(filters) > 1 else filters[0],
        **({} if reply.status is None else {"status_code": reply.status}),
        "body_format_override": _body_format(error_body(reply.message, kind, reply.code, reply.param)),
        **({"headers_to_add": [header("retry-after", str(RETRY_AFTER))]} if reply.retry else {}),
    }


def _body_format(body: Mapping[str, Any]) -> dict[str, Any]:
    """As text, because `json_format` would need the body's null, which not everything that carries YAML keeps."""
    text = json.dumps(body, separators=(",", ":")).replace("%", "%%")
    return {"text_format_source": {"inline_string": text}, "content_type": "application/json"}


def _filters(reply: LocalReply) -> Iterator[dict[str, Any]]:
    if reply.flags:
        yield {"response_flag_filter": {"flags": list(reply.flags)}}
    if reply.own_status is not None:
        value = {"default_value": reply.own_status, "runtime_key": f"local_reply.{reply.code}"}
        yield {"status_code_filter": {"comparison": {"op": "EQ", "value": value}}}
