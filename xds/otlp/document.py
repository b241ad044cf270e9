"""Traces as OTLP writes them in JSON: https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from xds.spans import Span, Trace

Document = dict[str, Any]
Identify = Callable[[int], str]
"""As many random bytes, in hexadecimal."""

INTERNAL, FAILED = 1, 2
"""SPAN_KIND_INTERNAL, STATUS_CODE_ERROR: in OTLP's JSON enums are numbers."""
SCOPE = "turnout"


def document(traces: Iterable[Trace], resource: Mapping[str, str], identify: Identify) -> Document:
    """The body of a request to export them."""
    spans = [span for trace in traces for span in _spans(trace, identify)]
    scopes = [{"scope": {"name": SCOPE}, "spans": spans}]
    return {"resourceSpans": [{"resource": {"attributes": _attributes(resource)}, "scopeSpans": scopes}]}


def _spans(trace: Trace, identify: Identify) -> Iterator[Document]:
    trace_id, root_id = identify(16), identify(8)
    yield _span(trace.root, trace_id, root_id)
    for part in trace.parts:
        yield _span(part, trace_id, identify(8)) | {"parentSpanId": root_id}


def _span(span: Span, trace_id: str, span_id: str) -> Document:
    return {
        "traceId": trace_id,
        "spanId": span_id,
        "name": span.name,
        "kind": INTERNAL,
        "startTimeUnixNano": _nanoseconds(span.began),
        "endTimeUnixNano": _nanoseconds(max(span.began, span.ended)),
        "attributes": _attributes(span.attributes),
        "status": {"code": FAILED, "message": span.error} if span.error else {},
    }


def _nanoseconds(moment: float) -> str:
    """64-bit integers are strings."""
    return str(int(moment * 1_000_000) * 1_000)


def _attributes(values: Mapping[str, str | int]) -> list[Document]:
    return [
        {"key": key, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}}
        for key, value in values.items()
    ]
