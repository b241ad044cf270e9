"""Traces in OTLP's JSON, read back by the protocol's own messages."""

from __future__ import annotations

import json
from itertools import count

from google.protobuf import json_format
from opentelemetry.proto.trace.v1 import trace_pb2

from xds.otlp.document import document
from xds.spans import Span, Trace


def test_a_trace_is_a_root_and_its_parts_in_otlps_own_json() -> None:
    numbers = count(1)
    root = Span("policy change", 1.5, 3.25, {"turnout.digest": "abc", "turnout.streams": 2}, "1 errors")
    trace = Trace(root, (Span("load", 1.5, 2.0), Span("clock set back", 2.0, 1.0)))
    found = document([trace, trace], {"service.name": "turnout"}, lambda size: next(numbers).to_bytes(size).hex())
    (of_resource,) = json.loads(json.dumps(found))["resourceSpans"]
    assert of_resource["resource"] == {"attributes": [{"key": "service.name", "value": {"stringValue": "turnout"}}]}
    (scope,) = of_resource["scopeSpans"]
    first, load, back, *again = scope["spans"]
    assert first == {
        "traceId": "00000000000000000000000000000001",
        "spanId": "0000000000000002",
        "name": "policy change",
        "kind": 1,
        "startTimeUnixNano": "1500000000",
        "endTimeUnixNano": "3250000000",
        "attributes": [
            {"key": "turnout.digest", "value": {"stringValue": "abc"}},
            {"key": "turnout.streams", "value": {"intValue": "2"}},
        ],
        "status": {"code": 2, "message": "1 errors"},
    }
    assert (load["parentSpanId"], load["traceId"], load["status"]) == (first["spanId"], first["traceId"], {})
    assert back["endTimeUnixNano"] == back["startTimeUnixNano"]
    assert {span["traceId"] for span in again} == {"00000000000000000000000000000005"}
    # Ids are the one thing that OTLP writes otherwise than protobuf's own JSON.
    for span in scope["spans"]:
        shape = {key: value for key, value in span.items() if not key.endswith("Id")}
        assert json_format.ParseDict(shape, trace_pb2.Span()).kind == trace_pb2.Span.SPAN_KIND_INTERNAL
