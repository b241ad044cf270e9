"""How Istio's proxies treat the instances of one version: balancing, limits, ejection, tiers.

Every setting whose default differs between Istio and Envoy is written, so that both mean the same.
"""

from __future__ import annotations

from typing import Any

from compiler.emit.durations import duration
from compiler.emit.names import FAILOVER_PRIORITY
from compiler.fleet import (
    ConnectionPool,
    HashAlgorithm,
    HashKey,
    HashSource,
    LoadBalancing,
    Model,
    OutlierDetection,
    SlowStart,
    Strategy,
    Version,
)

_MAGLEV_TABLE_SIZE = 65537
_MINIMUM_RING_SIZE = 1024
_LEAST_REQUEST = "LEAST_REQUEST"
_ROUND_ROBIN = "ROUND_ROBIN"
_SIMPLE = {
    Strategy.LEAST_CONNECTIONS: _LEAST_REQUEST,
    Strategy.ROUND_ROBIN: _ROUND_ROBIN,
    # Refused with P303; Istio has no weights from load.
    Strategy.WEIGHTED_RANDOM: _ROUND_ROBIN,
}


def traffic_policy(model: Model, version: Version) -> dict[str, Any]:
    return {
        "loadBalancer": _load_balancer(model.load_balancing, has_standbys=standby_tiers(version) > 0),
        "connectionPool": _connection_pool(version.connection_pool),
        "outlierDetection": _outlier_detection(model.outlier_detection),
        # The retries of a lost tier come all at once; Envoy's own limit of 3 in flight would drop nearly all of them.
        "retryBudget": {"percent": 100, "minRetryConcurrency": 100},
    }


def standby_tiers(version: Version) -> int:
    return sum(1 for count in (version.hot, version.warm, version.cold) if count)


def _load_balancer(balancing: LoadBalancing, *, has_standbys: bool) -> dict[str, Any]:
    # Left alone, Istio prefers the caller's own zone as soon as there is outlier detection.
    locality = {"enabled": True, "failoverPriority": list(FAILOVER_PRIORITY)} if has_standbys else {"enabled": False}
    if balancing.hash_key is not None:
        return {"consistentHash": _consistent_hash(balancing.hash_key, balancing.algorithm)} | {
            "localityLbSetting": locality
        }
    return {"simple": _SIMPLE[balancing.strategy], **_warmup(balancing.slow_start), "localityLbSetting": locality}


def _consistent_hash(key: HashKey, algorithm: HashAlgorithm) -> dict[str, Any]:
    match key.source:
        case HashSource.HEADER:
            read: dict[str, Any] = {"httpHeaderName": key.name}
        case HashSource.COOKIE:
            # A ttl of zero makes it a session cookie, which Envoy sets where the client has none.
            read = {"httpCookie": {"name": key.name, "ttl": "0s"}}
        case HashSource.QUERY_PARAMETER:
            read = {"httpQueryParameterName": key.name}
    if algorithm is HashAlgorithm.MAGLEV:
        return {**read, "maglev": {"tableSize": _MAGLEV_TABLE_SIZE}}
    return {**read, "ringHash": {"minimumRingSize": _MINIMUM_RING_SIZE}}


def _warmup(slow_start: SlowStart) -> dict[str, Any]:
    if not slow_start.window:
        return {}
    return {
        "warmup": {
            "duration": duration(slow_start.window),
            "minimumPercent": slow_start.min_percent,
            "aggression": 1,
        }
    }


def _connection_pool(pool: ConnectionPool) -> dict[str, Any]:
    # A limit left out is 2³²-1 in Istio; a written 0 would be taken for "unset" by some fields and for 0 by others.
    return {
        "tcp": {
            **_limit("maxConnections", pool.max_connections),
            "connectTimeout": duration(pool.connect_timeout),
        },
        "http": {
            **_limit("http1MaxPendingRequests", pool.http1_max_pending_requests),
            **_limit("http2MaxRequests", pool.http2_max_requests),
            **_limit("maxRequestsPerConnection", pool.max_requests_per_connection),
            "h2UpgradePolicy": "DO_NOT_UPGRADE",
            "idleTimeout": "3600s",
        },
    }


def _limit(field: str, value: int) -> dict[str, int]:
    return {field: value} if value else {}


def _outlier_detection(detection: OutlierDetection) -> dict[str, Any]:
    # Also where ejection is off (0 errors): Istio pins Envoy's panic threshold, through minHealthPercent, only with it.
    return {
        "consecutive5xxErrors": detection.consecutive_5xx_errors,
        "consecutiveGatewayErrors": 0,
        "splitExternalLocalOriginErrors": False,
        "interval": duration(detection.interval),
        "baseEjectionTime": duration(detection.base_ejection_time),
        "maxEjectionPercent": detection.max_ejection_percent,
        "minHealthPercent": 0,
    }
