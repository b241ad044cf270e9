"""Every setting of a cluster, as Envoy gets it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2
from google.protobuf.json_format import MessageToDict

from compiler.fleet import (
    Backend,
    ConnectionPool,
    HashAlgorithm,
    HashKey,
    HashSource,
    HealthCheck,
    LoadBalancing,
    Model,
    OutlierDetection,
    SlowStart,
    Strategy,
    Version,
    routes,
)
from compiler.kept import Kept
from tests.xds.translate.fleets import fleet, model, seconds, version
from xds.translate.clusters import HTTP_OPTIONS, cluster, clusters

UNLIMITED = 4294967295


def written(of: Model, at: Version | None = None) -> dict[str, Any]:
    """The cluster as JSON with Envoy's field names; what is absent is left to Envoy."""
    backend = Backend(of, at or of.versions[0])
    message = cluster(backend.cluster, *backend)
    message.ClearField("typed_extension_protocol_options")
    return MessageToDict(message, preserving_proto_field_name=True)


def balanced(strategy: Strategy, algorithm: HashAlgorithm = HashAlgorithm.MAGLEV, window: float = 0) -> dict[str, Any]:
    key = HashKey(HashSource.HEADER, "x-user") if strategy is Strategy.CONSISTENT_HASH else None
    policy = LoadBalancing(strategy, key, algorithm, SlowStart(seconds(window), 10))
    return {name: value for name, value in written(model("m", load_balancing=policy)).items() if "lb_" in name}


def http_options(pool: ConnectionPool) -> dict[str, Any]:
    packed = cluster("m_1", model("m"), version(connection_pool=pool)).typed_extension_protocol_options[HTTP_OPTIONS]
    options = http_protocol_options_pb2.HttpProtocolOptions()
    assert packed.Unpack(options)
    return MessageToDict(options, preserving_proto_field_name=True)


def test_a_cluster_writes_every_default_that_envoy_would_choose_otherwise() -> None:
    assert written(model("llama-2.7b", (version("1.0"),))) == {
        "name": "llama-2-7b_1-0",
        "type": "EDS",
        "eds_cluster_config": {
            "eds_config": {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"},
        },
        "connect_timeout": "1s",
        "lb_policy": "LEAST_REQUEST",
        "least_request_lb_config": {"choice_count": 2},
        "common_lb_config": {"healthy_panic_threshold": {}, "update_merge_window": "0s"},
        "health_checks": [
            {
                "timeout": "5s",
                "interval": "10s",
                "no_traffic_interval": "10s",
                "unhealthy_interval": "10s",
                "unhealthy_threshold": 3,
                "healthy_threshold": 2,
                "http_health_check": {"path": "/health", "retriable_statuses": [{"start": "100", "end": "600"}]},
            }
        ],
        "outlier_detection": {
            "consecutive_5xx": 5,
            "enforcing_consecutive_5xx": 100,
            "enforcing_consecutive_gateway_failure": 0,
            "enforcing_success_rate": 0,
            "interval": "10s",
            "base_ejection_time": "60s",
            "max_ejection_percent": 100,
        },
        "circuit_breakers": {
            "thresholds": [
                {
                    "max_connections": 64,
                    "max_pending_requests": 64,
                    "max_requests": 64,
                    "retry_budget": {"budget_percent": {"value": 100.0}, "min_retry_concurrency": 100},
                }
            ]
        },
        "ignore_health_on_host_removal": True,
        "metadata": {"filter_metadata": {"turnout": {"model": "llama-2.7b", "version": "1.0"}}},
    }


def test_round_robin_and_weights_from_load_are_both_weighted_round_robin() -> None:
    assert balanced(Strategy.ROUND_ROBIN) == {"round_robin_lb_config": {}, "common_lb_config": ANY_COMMON}
    assert balanced(Strategy.WEIGHTED_RANDOM) == balanced(Strategy.ROUND_ROBIN)


ANY_COMMON = {"healthy_panic_threshold": {}, "update_merge_window": "0s"}


def test_consistent_hashing_has_the_table_sizes_that_istio_is_given() -> None:
    maglev = balanced(Strategy.CONSISTENT_HASH)
    assert (maglev["lb_policy"], maglev["maglev_lb_config"]) == ("MAGLEV", {"table_size": "65537"})
    ring = balanced(Strategy.CONSISTENT_HASH, HashAlgorithm.RING_HASH)
    assert (ring["lb_policy"], ring["ring_hash_lb_config"]) == ("RING_HASH", {"minimum_ring_size": "1024"})


@pytest.mark.parametrize(
    ("strategy", "config"),
    [(Strategy.LEAST_CONNECTIONS, "least_request_lb_config"), (Strategy.ROUND_ROBIN, "round_robin_lb_config")],
)
def test_slow_start_is_there_only_with_a_window(strategy: Strategy, config: str) -> None:
    assert "slow_start_config" not in balanced(strategy)[config]
    assert balanced(strategy, window=30)[config]["slow_start_config"] == {
        "slow_start_window": "30s",
        "aggression": {"default_value": 1.0, "runtime_key": "slow_start.aggression"},
        "min_weight_percent": {"value": 10.0},
    }


def test_a_standby_is_probed_as_often_as_an_instance_with_traffic() -> None:
    probe = HealthCheck("/v2/health/ready", seconds(7), seconds(2), 4, 6)
    [check] = written(model("m", (version(health_check=probe),)))["health_checks"]
    assert check["http_health_check"]["path"] == "/v2/health/ready"
    assert {check[name] for name in ("interval", "no_traffic_interval", "unhealthy_interval")} == {"7s"}
    assert (check["timeout"], check["unhealthy_threshold"], check["healthy_threshold"]) == ("2s", 4, 6)


def test_no_errors_allowed_turns_outlier_detection_off() -> None:
    off = OutlierDetection(0, seconds(10), seconds(60), 100)
    assert "outlier_detection" not in written(model("m", outlier_detection=off))


def test_a_limit_of_zero_is_written_as_no_limit() -> None:
    [thresholds] = written(model("m", (version(connection_pool=ConnectionPool(0, 0, 0, 0, seconds(1))),)))[
        "circuit_breakers"
    ]["thresholds"]
    assert thresholds["max_connections"] == UNLIMITED
    assert thresholds["max_pending_requests"] == UNLIMITED
    assert thresholds["max_requests"] == UNLIMITED


def test_engines_are_spoken_to_in_http1_over_connections_that_may_idle() -> None:
    endless = ConnectionPool(1, 2, 3, 0, seconds(1))
    assert http_options(endless) == {
        "common_http_protocol_options": {"idle_timeout": "3600s"},
        "explicit_http_config": {"http_protocol_options": {}},
    }
    renewed = http_options(replace(endless, max_requests_per_connection=50))
    assert renewed["common_http_protocol_options"]["max_requests_per_connection"] == 50


def test_a_cluster_names_the_line_of_its_version() -> None:
    first = version("1")
    second = version("2", origin=first.origin._replace(line=9))
    of = model("m", (first, second))
    given = fleet(of)
    [route] = routes(given, given.gateways[0])
    backends = {"m_1": Backend(of, first), "m_2": Backend(of, second)}
    assert {found.name: found.origin.line for found in clusters(backends, route, Kept())} == {"m_1": 1, "m_2": 9}
