"""Tracing: spans of every gateway's requests, by OTLP to the platform's collector."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.trace.v3 import opentelemetry_pb2
from envoy.extensions.request_id.uuid.v3 import uuid_pb2
from envoy.extensions.tracers.opentelemetry.resource_detectors.v3 import static_config_resource_detector_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2

from compiler.fleet import Gateway, OtlpProtocol, Tracing
from xds.snapshot import Resource
from xds.translate.messages import HTTP_OPTIONS, METADATA_NAMESPACE, message_resource, packed

COLLECTOR = "tracing-collector"
"""No cluster of a model is called so: theirs have a `_`."""
TRACES_PATH = "/v1/traces"
EXPORT_TIMEOUT = timedelta(seconds=5)
SAMPLING_KEY = "tracing.random_sampling"
TAGS = {
    "turnout.rule": "%ROUTE_NAME%",
    # Of the answer, so that they tell who stood in. Routes put them there.
    "turnout.model": "%RESP(x-turnout-model)%",
    "turnout.version": "%RESP(x-turnout-version)%",
    "turnout.tier": f"%METADATA(UPSTREAM_HOST:{METADATA_NAMESPACE}:tier)%",
    "turnout.prompt_length": "%REQ(x-turnout-prompt-length)%",
}
"""Attributes of a span beside Envoy's own, which has the request's id, status, sizes and cluster."""


def tracing_of(gateway: Gateway, tracing: Tracing) -> dict[str, Any]:
    """Fields of the connection manager.

    Without the percentage, which the runtime layer has: a listener that changes drains its connections.
    """
    return {
        "tracing": {
            "provider": {
                "name": "envoy.tracers.opentelemetry",
                "typed_config": packed(_provider(gateway, tracing)),
            },
            "random_sampling": {"value": 0},
            "overall_sampling": {"value": 100},
            # Otherwise a client could have all its requests traced by a header of Envoy's own.
            "client_sampling": {"value": 0},
            "custom_tags": [{"tag": tag, "value": value} for tag, value in TAGS.items()],
        },
        # By default Envoy writes into the id that a request is traced: it would no longer be the client's.
        "request_id_extension": {
            "typed_config": packed(uuid_pb2.UuidRequestIdConfig(pack_trace_reason={"value": False}))
        },
    }


def _provider(gateway: Gateway, tracing: Tracing) -> opentelemetry_pb2.OpenTelemetryConfig:
    attributes = static_config_resource_detector_pb2.StaticConfigResourceDetectorConfig(
        attributes={"service.namespace": gateway.namespace}
    )
    detector = {
        "name": "envoy.tracers.opentelemetry.resource_detectors.static_config",
        "typed_config": packed(attributes),
    }
    return opentelemetry_pb2.OpenTelemetryConfig(
        **_exporter(tracing), service_name=f"turnout-{gateway.name}", resource_detectors=[detector]
    )


def _exporter(tracing: Tracing) -> dict[str, Any]:
    if tracing.protocol is OtlpProtocol.GRPC:
        return {"grpc_service": {"envoy_grpc": {"cluster_name": COLLECTOR}, "timeout": EXPORT_TIMEOUT}}
    uri = f"http://{tracing.host}:{tracing.port}{TRACES_PATH}"
    return {"http_service": {"http_uri": {"uri": uri, "cluster": COLLECTOR, "timeout": EXPORT_TIMEOUT}}}


def sampling(tracing: Tracing) -> Mapping[str, Mapping[str, Any]]:
    """Of the runtime layer. Envoy samples by the request's id, modulo 10,000."""
    return {SAMPLING_KEY: {"numerator": round(tracing.percent * 100), "denominator": "TEN_THOUSAND"}}


def collector_resource(tracing: Tracing) -> Resource:
    return message_resource(COLLECTOR, collector(tracing), tracing.origin)


def collector(tracing: Tracing) -> cluster_pb2.Cluster:
    address = {"address": tracing.host, "port_value": tracing.port}
    speaks = "http2_protocol_options" if tracing.protocol is OtlpProtocol.GRPC else "http_protocol_options"
    options = http_protocol_options_pb2.HttpProtocolOptions(explicit_http_config={speaks: {}})
    return cluster_pb2.Cluster(
        name=COLLECTOR,
        type=cluster_pb2.Cluster.STRICT_DNS,
        connect_timeout=timedelta(seconds=1),
        load_assignment={
            "cluster_name": COLLECTOR,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"socket_address": address}}}]}],
        },
        # Requests are served whether or not there is anybody to tell of them.
        wait_for_warm_on_init={"value": False},
        typed_extension_protocol_options={HTTP_OPTIONS: packed(options)},
    )
