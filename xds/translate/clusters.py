"""Clusters: one for each version of a model, with every setting written that Envoy would otherwise choose."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.extensions.clusters.aggregate.v3 import cluster_pb2 as aggregate_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2

from compiler.fleet import (
    Backend,
    ConnectionPool,
    HashAlgorithm,
    HealthCheck,
    LoadBalancing,
    Model,
    OutlierDetection,
    Route,
    Share,
    SlowStart,
    Strategy,
    Version,
)
from compiler.kept import Kept
from xds.snapshot import Resource, alike
from xds.translate.aggregates import members
from xds.translate.messages import HTTP_OPTIONS, ads_source, message_resource, packed, who_answers

MAGLEV_TABLE_SIZE = 65537
MINIMUM_RING_SIZE = 1024
NO_LIMIT = 2**32 - 1
UPSTREAM_IDLE = timedelta(hours=1)


def clusters(backends: Mapping[str, Backend], route: Route, kept: Kept) -> Iterator[Resource]:
    """One for each of `backends`, by name, and the aggregates that `route` leads to."""
    for name, backend in backends.items():
        made = kept.by(("cluster", name), backend, _cluster_resource, (name, backend))
        yield kept.same(("cluster", name), made, alike)
    for share in route.shares:
        if share.hops:
            parts = tuple(part for backend in share.backends for part in backend)
            made = kept.by("aggregate", parts, _aggregate_resource, (share,))
            yield kept.same(("cluster", made.name), made, alike)


def _cluster_resource(name: str, backend: Backend) -> Resource:
    return message_resource(name, cluster(name, *backend), backend.version.origin)


def _aggregate_resource(share: Share) -> Resource:
    return message_resource(share.cluster, aggregate(share.cluster, share), share.version.origin)


def aggregate(name: str, share: Share) -> cluster_pb2.Cluster:
    """The first of the share's versions that has a healthy instance answers."""
    config = aggregate_pb2.ClusterConfig(clusters=[member for member, _ in members(share)])
    pool = share.version.connection_pool
    return cluster_pb2.Cluster(
        name=name,
        cluster_type={"name": "envoy.clusters.aggregate", "typed_config": packed(config)},
        lb_policy=cluster_pb2.Cluster.CLUSTER_PROVIDED,
        connect_timeout=pool.connect_timeout,
        common_lb_config=_common_lb_config(),
        # Retries are counted here, and not at the members.
        circuit_breakers={"thresholds": [_thresholds(ConnectionPool(0, 0, 0, 0, pool.connect_timeout))]},
    )


def cluster(name: str, model: Model, version: Version) -> cluster_pb2.Cluster:
    return cluster_pb2.Cluster(
        name=name,
        metadata=who_answers(Backend(model, version)),
        type=cluster_pb2.Cluster.EDS,
        eds_cluster_config={"eds_config": ads_source()},
        connect_timeout=version.connection_pool.connect_timeout,
        **_load_balancing(model.load_balancing),
        common_lb_config=_common_lb_config(),
        health_checks=[_health_check(version.health_check)],
        outlier_detection=_outlier_detection(model.outlier_detection),
        circuit_breakers={"thresholds": [_thresholds(version.connection_pool)]},
        # Otherwise an instance that has left the load assignment stays for as long as it passes its probe.
        ignore_health_on_host_removal=True,
        typed_extension_protocol_options={HTTP_OPTIONS: packed(_http_options(version.connection_pool))},
    )


def _common_lb_config() -> dict[str, Any]:
    return {
        # With any other threshold a tier that is half dead gets traffic for its dead instances too.
        "healthy_panic_threshold": {"value": 0},
        # Envoy's second would hold back all but the first of the ejections when a tier dies.
        "update_merge_window": timedelta(0),
    }


def _load_balancing(policy: LoadBalancing) -> dict[str, Any]:
    slow_start = _slow_start(policy.slow_start)
    match policy.strategy, policy.algorithm:
        case Strategy.LEAST_CONNECTIONS, _:
            config = {"choice_count": {"value": 2}, "slow_start_config": slow_start}
            return {"lb_policy": cluster_pb2.Cluster.LEAST_REQUEST, "least_request_lb_config": config}
        # Envoy's RANDOM ignores the weights of endpoints.
        case Strategy.ROUND_ROBIN | Strategy.WEIGHTED_RANDOM, _:
            config = {"slow_start_config": slow_start}
            return {"lb_policy": cluster_pb2.Cluster.ROUND_ROBIN, "round_robin_lb_config": config}
        case Strategy.CONSISTENT_HASH, HashAlgorithm.MAGLEV:
            size = {"table_size": {"value": MAGLEV_TABLE_SIZE}}
            return {"lb_policy": cluster_pb2.Cluster.MAGLEV, "maglev_lb_config": size}
        case _:
            size = {"minimum_ring_size": {"value": MINIMUM_RING_SIZE}}
            return {"lb_policy": cluster_pb2.Cluster.RING_HASH, "ring_hash_lb_config": size}


def _slow_start(policy: SlowStart) -> dict[str, Any] | None:
    if not policy.window:
        return None
    return {
        "slow_start_window": policy.window,
        "aggression": {"default_value": 1.0, "runtime_key": "slow_start.aggression"},
        "min_weight_percent": {"value": policy.min_percent},
    }


def _health_check(policy: HealthCheck) -> dict[str, Any]:
    return {
        "http_health_check": {
            "path": policy.path,
            # Without this one answer other than 200 is enough, whatever the threshold says.
            "retriable_statuses": [{"start": 100, "end": 600}],
        },
        "interval": policy.interval,
        # A standby has no traffic, and Envoy would then look at it once a minute.
        "no_traffic_interval": policy.interval,
        "unhealthy_interval": policy.interval,
        "timeout": policy.timeout,
        "unhealthy_threshold": {"value": policy.failure_threshold},
        "healthy_threshold": {"value": policy.success_threshold},
    }


def _outlier_detection(policy: OutlierDetection) -> dict[str, Any] | None:
    if policy.consecutive_5xx_errors == 0:
        return None
    return {
        "consecutive_5xx": {"value": policy.consecutive_5xx_errors},
        "enforcing_consecutive_5xx": {"value": 100},
        "enforcing_consecutive_gateway_failure": {"value": 0},
        "enforcing_success_rate": {"value": 0},
        "split_external_local_origin_errors": False,
        "interval": policy.interval,
        "base_ejection_time": policy.base_ejection_time,
        "max_ejection_percent": {"value": policy.max_ejection_percent},
    }


def _thresholds(pool: ConnectionPool) -> dict[str, Any]:
    return {
        "max_connections": {"value": pool.max_connections or NO_LIMIT},
        "max_pending_requests": {"value": pool.http1_max_pending_requests or NO_LIMIT},
        "max_requests": {"value": pool.http2_max_requests or NO_LIMIT},
        # Envoy's three retries at a time lose most of a dying tier's requests.
        "retry_budget": {"budget_percent": {"value": 100}, "min_retry_concurrency": {"value": 100}},
    }


def _http_options(pool: ConnectionPool) -> http_protocol_options_pb2.HttpProtocolOptions:
    common: dict[str, Any] = {"idle_timeout": UPSTREAM_IDLE}
    if pool.max_requests_per_connection:
        common["max_requests_per_connection"] = {"value": pool.max_requests_per_connection}
    return http_protocol_options_pb2.HttpProtocolOptions(
        common_http_protocol_options=common,
        explicit_http_config={"http_protocol_options": {}},
    )
