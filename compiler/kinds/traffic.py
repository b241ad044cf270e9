"""The traffic settings of a model, and of `Platform.defaults`."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from compiler.kinds.values import Duration, Part, Percent, Positive, Text, Token, UrlPath, later, quoted, refuse

_RETRY_CONDITIONS = (
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "envoy-ratelimited",
    "retriable-4xx",
    "refused-stream",
    "retriable-status-codes",
    "retriable-headers",
)


def _retry_on(text: str) -> str:
    for word in retry_words(text):
        if word not in _RETRY_CONDITIONS and not (word.isdigit() and 400 <= int(word) <= 599):
            raise refuse("P103", f"{quoted(word)} is not one of {', '.join(_RETRY_CONDITIONS)} or a status of 400-599")
    return text


def retry_words(text: str) -> list[str]:
    return [word for part in text.split(",") if (word := part.strip())]


class HashKeySpec(Part):
    """What decides the instance; one of the three."""

    header: Token | None = None
    cookie: Token | None = None
    query_parameter: Text | None = None


class SlowStartSpec(Part):
    window: Duration = timedelta(0)
    """How long a new instance's share grows; 0s is off."""
    min_percent: Percent = 10
    """Of its share at the start."""


class LoadBalancingSpec(Part):
    strategy: Literal["least_connections", "round_robin", "weighted_random", "consistent_hash"] = "least_connections"
    """weighted_random is weighted round robin: Envoy's RANDOM ignores weights."""
    hash_key: HashKeySpec | None = None
    """Required by consistent_hash, refused by the others."""
    algorithm: Literal["maglev", "ringHash"] = "maglev"
    """Of consistent_hash. maglev moves only the keys of a lost instance."""
    slow_start: SlowStartSpec = SlowStartSpec()


class HealthCheckSpec(Part):
    path: UrlPath | None = None
    """Default: the engine's, /health or /v2/health/ready."""
    interval: Positive = timedelta(seconds=10)
    timeout: Positive = timedelta(seconds=5)
    failure_threshold: Annotated[int, Field(ge=1, le=100)] = 3
    success_threshold: Annotated[int, Field(ge=1, le=100)] = 2


class OutlierDetectionSpec(Part):
    consecutive_5xx_errors: Annotated[int, Field(ge=0, le=1000)] = 5
    """In a row before an instance is ejected; 0 is off."""
    interval: Positive = timedelta(seconds=10)
    base_ejection_time: Positive = timedelta(seconds=60)
    max_ejection_percent: Percent = 100
    """The sources' 50 ejects none of one."""


class ConnectionPoolSpec(Part):
    """Limits of one Envoy towards a version of the model. 0 is no limit."""

    max_connections: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    """Default: maxBatchSize x (replicas + standbys, or endpoints if those are more)."""
    http1_max_pending_requests: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    """Default: maxBatchSize."""
    http2_max_requests: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    """Default: as maxConnections."""
    max_requests_per_connection: Annotated[int, Field(ge=0, lt=2**32)] = 0
    connect_timeout: Positive = timedelta(seconds=1)


class RetriesSpec(Part):
    """Before the first byte of an answer, on another instance. Never after it."""

    attempts: Annotated[int, Field(ge=0, le=20)] = 3
    """Tries after the first."""
    retry_on: Annotated[str, AfterValidator(_retry_on)] = "connect-failure,refused-stream,reset,500,502,503"
    """Envoy's words and status codes. `reset` saves the requests of an instance that dies while it works."""
    backoff: Positive = timedelta(milliseconds=25)


class StreamTimeoutsSpec(Part):
    """Of a request with `"stream": true`."""

    first_byte: Positive = timedelta(seconds=60)
    """One try's limit to its first byte; then another instance is tried."""
    idle: Positive = timedelta(minutes=5)
    """Longest silence within the stream."""
    total: Positive = timedelta(hours=1)


class UnaryTimeoutsSpec(Part):
    """Of any other request. It has no first-byte limit: the whole generation comes before the first byte."""

    total: Positive = timedelta(minutes=5)


class TimeoutsSpec(Part):
    stream: StreamTimeoutsSpec = StreamTimeoutsSpec()
    unary: UnaryTimeoutsSpec = UnaryTimeoutsSpec()


class MirrorSpec(Part):
    model: Text
    version: Text | None = None
    percent: Percent


class DelaySpec(Part):
    percent: Percent
    duration: Positive


class AbortSpec(Part):
    percent: Percent
    status: Annotated[int, Field(ge=200, le=599)]


class FaultSpec(Part):
    delay: DelaySpec | None = None
    abort: AbortSpec | None = None


class RouteSpec(Part):
    """What a route decides; a rule may set it for its own requests."""

    retries: RetriesSpec = RetriesSpec()
    timeouts: TimeoutsSpec = TimeoutsSpec()
    mirror: MirrorSpec | None = later("A copy of some requests to another model or version (S84).")
    fault: FaultSpec | None = later("Delays and errors for drills (S86).")


class TrafficSpec(RouteSpec):
    load_balancing: LoadBalancingSpec = LoadBalancingSpec()
    health_check: HealthCheckSpec = HealthCheckSpec()
    outlier_detection: OutlierDetectionSpec = OutlierDetectionSpec()
    connection_pool: ConnectionPoolSpec = ConnectionPoolSpec()
