"""A collector of spans on loopback, by OTLP over HTTP or gRPC."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from compiler.fleet import OtlpProtocol
from tests.envoy.upstream import upstreams

SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"


@dataclass(frozen=True)
class Span:
    name: str
    resource: dict[str, str]
    attributes: dict[str, str]


@dataclass(frozen=True)
class Collector:
    port: int
    received: Callable[[], list[bytes]]
    """What was exported, in the order of arrival."""

    @property
    def spans(self) -> list[Span]:
        return [span for body in self.received() for span in _spans(body)]


def _spans(body: bytes) -> Iterator[Span]:
    for by_resource in trace_service_pb2.ExportTraceServiceRequest.FromString(body).resource_spans:
        resource = _texts(by_resource.resource.attributes)
        # Its second field was renamed to scope_spans since: the same on the wire.
        for scope in getattr(by_resource, by_resource.DESCRIPTOR.fields_by_number[2].name):
            yield from (Span(span.name, resource, _texts(span.attributes)) for span in scope.spans)


def _texts(attributes: Any) -> dict[str, str]:
    return {entry.key: str(getattr(entry.value, entry.value.WhichOneof("value"))) for entry in attributes}


@contextmanager
def collector(protocol: OtlpProtocol) -> Iterator[Collector]:
    with _over_grpc() if protocol is OtlpProtocol.GRPC else _over_http() as found:
        yield found


@contextmanager
def _over_http() -> Iterator[Collector]:
    with upstreams("collector") as servers:
        server = servers["collector"]
        yield Collector(server.port, lambda: [r.body for r in server.received if r.path == "/v1/traces"])


@contextmanager
def _over_grpc() -> Iterator[Collector]:
    received: list[bytes] = []

    def export(request: bytes, _: grpc.ServicerContext) -> bytes:
        received.append(request)
        return b""

    server = grpc.server(futures.ThreadPoolExecutor(1))
    methods = {"Export": grpc.unary_unary_rpc_method_handler(export)}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, methods)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield Collector(port, lambda: received)
    finally:
        server.stop(None).wait()
