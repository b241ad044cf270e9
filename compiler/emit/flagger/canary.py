"""A rollout as a Canary says it. https://docs.flagger.app/usage/deployment-strategies"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from compiler.emit.durations import duration
from compiler.emit.flagger.metrics import checks
from compiler.emit.names import SERVICE_PORT, deployment_name
from compiler.fleet import (
    HashKey,
    HashSource,
    LoadBalancing,
    Model,
    OutlierDetection,
    Rollout,
    RolloutStrategy,
    Strategy,
    Tier,
    slug,
)

_MINIMUM_RING_SIZE = 1024


def canary_spec(model: Model, rollout: Rollout, prometheus: str | None) -> dict[str, Any]:
    return {
        "provider": "istio",
        **({"metricsServer": prometheus} if prometheus is not None else {}),
        "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": slug(model.name)},
        **_autoscaler(model),
        "progressDeadlineSeconds": rollout.ready_timeout // timedelta(seconds=1),
        "service": {
            "port": SERVICE_PORT,
            "portName": "http",
            "targetPort": "http",
            # The gateways' VirtualServices say who reaches the model and how; Flagger's says which version answers.
            "delegation": True,
            "trafficPolicy": _traffic_policy(model),
        },
        "analysis": _analysis(model, rollout),
    }


def _autoscaler(model: Model) -> dict[str, Any]:
    """Flagger makes another of what is told here, for what serves; and keeps this one off while nothing is tried."""
    (version,) = model.deployed
    if version.autoscaling is None:
        return {}
    name = deployment_name(model, version, Tier.ACTIVE)
    return {"autoscalerRef": {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "name": name}}


def _analysis(model: Model, rollout: Rollout) -> dict[str, Any]:
    blue_green = rollout.strategy is RolloutStrategy.BLUE_GREEN
    return {
        "interval": duration(rollout.interval),
        "threshold": rollout.analysis.threshold,
        **({"iterations": len(rollout.steps)} if blue_green else {"stepWeights": list(rollout.steps)}),
        **({"mirror": True, "mirrorWeight": rollout.shadow_percent} if rollout.shadow_percent else {}),
        **({"metrics": found} if (found := checks(model, rollout)) else {}),
        **_webhooks(rollout),
    }


def _webhooks(rollout: Rollout) -> dict[str, Any]:
    url = rollout.analysis.webhook
    if url is None:
        return {}
    told = {"rollout": rollout.name, "from": rollout.from_version, "to": rollout.to_version}
    return {"webhooks": [{"name": "verdict", "type": "rollout", "url": url, "metadata": told}]}


def _traffic_policy(model: Model) -> dict[str, Any]:
    """For both of Flagger's DestinationRules: what of `destination_rule.traffic_policy` Flagger's own types hold.

    They have no TCP settings, no maglev and no retry budget; without one Istio sets no limit to retries.
    https://github.com/fluxcd/flagger/blob/main/pkg/apis/istio/v1beta1/destination_rule.go
    """
    (version,) = model.deployed
    pool = version.connection_pool
    limits = {
        "http1MaxPendingRequests": pool.http1_max_pending_requests,
        "http2MaxRequests": pool.http2_max_requests,
        "maxRequestsPerConnection": pool.max_requests_per_connection,
    }
    return {
        "loadBalancer": _load_balancer(model.load_balancing),
        "connectionPool": {
            "http": {
                **{field: limit for field, limit in limits.items() if limit},
                "h2UpgradePolicy": "DO_NOT_UPGRADE",
                "idleTimeout": "3600s",
            }
        },
        "outlierDetection": _outlier_detection(model.outlier_detection),
    }


def _load_balancer(balancing: LoadBalancing) -> dict[str, Any]:
    # Flagger loses `enabled: false`, and then Istio prefers the caller's zone. Everywhere to everywhere is the same as
    # no preference: each zone gets as much as it has instances.
    everywhere = {"localityLbSetting": {"distribute": [{"from": "*", "to": {"*": 100}}]}}
    if balancing.hash_key is not None:
        return {"consistentHash": _consistent_hash(balancing.hash_key), **everywhere}
    simple = "LEAST_REQUEST" if balancing.strategy is Strategy.LEAST_CONNECTIONS else "ROUND_ROBIN"
    window = balancing.slow_start.window
    return {"simple": simple, **({"warmupDurationSecs": duration(window)} if window else {}), **everywhere}


def _consistent_hash(key: HashKey) -> dict[str, Any]:
    if key.source is HashSource.COOKIE:
        read: dict[str, Any] = {"httpCookie": {"name": key.name, "ttl": "0s"}}
    else:  # a query parameter is refused: Flagger has no field for it
        read = {"httpHeaderName": key.name}
    return {**read, "minimumRingSize": _MINIMUM_RING_SIZE}


def _outlier_detection(detection: OutlierDetection) -> dict[str, Any]:
    return {
        "consecutive5xxErrors": detection.consecutive_5xx_errors,
        "consecutiveGatewayErrors": 0,
        "interval": duration(detection.interval),
        "baseEjectionTime": duration(detection.base_ejection_time),
        "maxEjectionPercent": detection.max_ejection_percent,
    }
