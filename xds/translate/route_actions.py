"""What a route does with a request: its split, its tries and its time limits."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2
from envoy.extensions.retry.priority.previous_priorities.v3 import previous_priorities_config_pb2

from compiler.fleet import HashKey, HashSource, MirrorShare, Route, cluster_name, slug
from xds.translate.messages import packed

BACKOFF_GROWTH = 10
HOST_CHOICES = 20
"""Of a retry that may not take a host again. Of two hosts, 5 choices, Istio's number, are all the failed one at 3 %."""


def stream_action(route: Route) -> route_components_pb2.RouteAction:
    """Nothing here limits the answer as a whole but `total`: Envoy's own 15 s would cut it off."""
    timeouts = route.timeouts
    return route_components_pb2.RouteAction(
        **_destination(route),
        timeout=timedelta(0),
        idle_timeout=timeouts.stream_idle,
        max_stream_duration={"max_stream_duration": timeouts.stream_total},
        retry_policy=_retry_policy(route, per_try_timeout=timeouts.stream_first_byte),
    )


def unary_action(route: Route) -> route_components_pb2.RouteAction:
    """Without a limit for one try: the first byte comes when the whole answer has been generated."""
    total = route.timeouts.unary_total
    return route_components_pb2.RouteAction(
        **_destination(route), timeout=total, idle_timeout=total, retry_policy=_retry_policy(route)
    )


def runtime_key_prefix(route: Route) -> str:
    """RTDS reads the live weight of a cluster of the route from `<prefix>.<cluster name>`."""
    return f"split.{_key(route)}"


def mirror_key(route: Route, mirror: MirrorShare) -> str:
    """RTDS reads the live fraction of a mirror from here."""
    return f"mirror.{_key(route)}.{cluster_name(mirror.model.name, mirror.version.name)}"


def _key(route: Route) -> str:
    """Without dots, at which runtime keys are split."""
    return slug(route.name.replace("/", "-"))


def _destination(route: Route) -> dict[str, Any]:
    return {
        **_split(route),
        "cluster_not_found_response_code": route_components_pb2.RouteAction.SERVICE_UNAVAILABLE,
        "hash_policy": [_hash_policy(key) for key in route.hash_keys],
        "request_mirror_policies": [_mirror_policy(route, mirror) for mirror in route.mirrors],
    }


def _split(route: Route) -> dict[str, Any]:
    weights = [{"name": share.cluster, "weight": {"value": share.weight}} for share in route.shares]
    if len(weights) == 1:
        return {"cluster": weights[0]["name"]}
    return {"weighted_clusters": {"clusters": weights, "runtime_key_prefix": runtime_key_prefix(route)}}


def _hash_policy(key: HashKey) -> dict[str, Any]:
    match key.source:
        case HashSource.HEADER:
            read: dict[str, Any] = {"header": {"header_name": key.name}}
        case HashSource.COOKIE:
            # A lifetime of 0 makes Envoy hand out a session cookie to clients that have none.
            read = {"cookie": {"name": key.name, "ttl": timedelta(0)}}
        case HashSource.QUERY_PARAMETER:
            read = {"query_parameter": {"name": key.name}}
    # Envoy would mix all keys into one hash, and what changes in one would move a client that keeps the other.
    return {**read, "terminal": True}


def _mirror_policy(route: Route, mirror: MirrorShare) -> dict[str, Any]:
    return {
        "cluster": cluster_name(mirror.model.name, mirror.version.name),
        "runtime_fraction": {
            # Of `compiler.fleet.routes.WHOLE`.
            "default_value": {"numerator": mirror.weight, "denominator": "TEN_THOUSAND"},
            "runtime_key": mirror_key(route, mirror),
        },
        # As Istio does: the copy is the request, to the letter, and no trace of its own.
        "disable_shadow_host_suffix_append": True,
        "trace_sampled": {"value": False},
    }


def _retry_policy(route: Route, per_try_timeout: timedelta | None = None) -> dict[str, Any]:
    retries = route.retries
    # With hops a first retry stays with the model that was chosen, on another of its instances: one bad answer is no
    # reason for another model to answer.
    tries_of_a_tier = 2 if any(share.hops for share in route.shares) else 1
    status_codes = ("retriable-status-codes",) if retries.status_codes else ()
    return {
        "retry_on": ",".join((*retries.retry_on, *status_codes)),
        "retriable_status_codes": retries.status_codes,
        "num_retries": {"value": retries.attempts},
        "per_try_timeout": per_try_timeout,
        "retry_back_off": {"base_interval": retries.backoff, "max_interval": retries.backoff * BACKOFF_GROWTH},
        "retry_host_predicate": [
            {
                "name": "previous_hosts",
                "typed_config": packed(previous_hosts_pb2.PreviousHostsPredicate()),
            }
        ],
        "host_selection_retry_max_attempts": HOST_CHOICES,
        # Without it the tries burn on a tier that is dead but not yet known to be.
        "retry_priority": {
            "name": "previous_priorities",
            "typed_config": packed(
                previous_priorities_config_pb2.PreviousPrioritiesConfig(update_frequency=tries_of_a_tier)
            ),
        },
    }
