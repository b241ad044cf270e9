"""The traffic settings of a model, and of `Platform.defaults`."""

from datetime import timedelta
from functools import lru_cache
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from compiler.kinds.measures import Duration, Positive, PositiveUpToADay, PositiveUpToAnHour
from compiler.kinds.part import Part
from compiler.kinds.values import Name, Percent, Text, Token, UrlPath, quoted, refuse

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


@lru_cache(maxsize=64)
def retry_words(text: str) -> tuple[str, ...]:
    return tuple(word for part in text.split(",") if (word := part.strip()))


class HashKeySpec(Part):
    """What decides the instance; one of the three."""

    header: Token | None = None
    """A request header: of a session or a user, never x-request-id, which is new each time."""
    cookie: Token | None = None
    """A cookie. A client that has none is given one, until it is closed."""
    query_parameter: Text | None = None
    """A parameter of the URL."""


class SlowStartSpec(Part):
    window: Duration = timedelta(0)
    """How long a new instance's share grows; 0s is off."""
    min_percent: Percent = 10
    """Of its share at the start."""


class LoadBalancingSpec(Part):
    strategy: Literal["least_connections", "round_robin", "weighted_random", "consistent_hash"] = "least_connections"
    """Which instance gets a request. weighted_random goes round by weight: Envoy's RANDOM ignores weights."""
    hash_key: HashKeySpec | None = None
    """What keeps a client on its instance. Required by consistent_hash, refused by the others."""
    algorithm: Literal["maglev", "ringHash"] = "maglev"
    """Of consistent_hash. maglev moves the keys of a lost instance and next to no others; a ring moves more."""
    slow_start: SlowStartSpec = SlowStartSpec.model_construct()
    """Fewer requests for a new instance at first."""


class HealthCheckSpec(Part):
    """How Envoy looks after each instance; for Kubernetes, its readiness probe."""

    path: UrlPath | None = None
    """Default: the engine's, /health or /v2/health/ready."""
    interval: PositiveUpToADay = timedelta(seconds=10)
    """Between two looks."""
    timeout: PositiveUpToADay = timedelta(seconds=5)
    """How long a look may take; no longer than interval."""
    failure_threshold: Annotated[int, Field(ge=1, le=100)] = 3
    """Failed looks in a row until an instance gets no more requests."""
    success_threshold: Annotated[int, Field(ge=1, le=100)] = 2
    """Good looks in a row until it gets them again."""


class OutlierDetectionSpec(Part):
    """Which instances are left out for the answers they give to real requests."""

    consecutive_5xx_errors: Annotated[int, Field(ge=0, le=1000)] = 5
    """In a row before an instance is ejected; 0 is off."""
    interval: PositiveUpToADay = timedelta(seconds=10)
    """Between two looks at who may come back."""
    base_ejection_time: PositiveUpToADay = timedelta(seconds=60)
    """How long the first ejection lasts; each further one is longer by as much."""
    max_ejection_percent: Percent = 100
    """Share of the instances that may be out at a time. 50 ejects none of one."""


class ConnectionPoolSpec(Part):
    """Limits of one Envoy towards a version of the model. 0 is no limit."""

    max_connections: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    """To all instances. Default: maxBatchSize x (replicas + standbys, or endpoints if those are more)."""
    http1_max_pending_requests: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    """Requests that wait for a connection. Default: maxBatchSize."""
    http2_max_requests: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    """Requests at work. Default: maxBatchSize x (replicas + standbys, or endpoints if those are more)."""
    max_requests_per_connection: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """After so many a connection is closed."""
    connect_timeout: PositiveUpToAnHour = timedelta(seconds=1)
    """How long it may take to connect to an instance."""


class RetriesSpec(Part):
    """Before the first byte of an answer, on another instance. Never after it."""

    attempts: Annotated[int, Field(ge=0, le=20)] = 3
    """Tries after the first; 0 is none."""
    retry_on: Annotated[str, AfterValidator(_retry_on)] = "connect-failure,refused-stream,reset,500,502,503"
    """Envoy's words and status codes. `reset` saves the requests of an instance that dies while it works."""
    backoff: PositiveUpToAnHour = timedelta(milliseconds=25)
    """Before the first retry, about; it doubles up to ten times as much."""


class StreamTimeoutsSpec(Part):
    """Of a request with `"stream": true`."""

    first_byte: Positive = timedelta(seconds=60)
    """One try's limit to its first byte; then another instance is tried."""
    idle: Positive = timedelta(minutes=5)
    """Longest silence within the stream."""
    total: Positive = timedelta(hours=1)
    """The whole answer."""


class UnaryTimeoutsSpec(Part):
    """Of any other request. It has no first-byte limit: the whole generation comes before the first byte."""

    total: Positive = timedelta(minutes=5)
    """The whole answer, all tries together."""


class TimeoutsSpec(Part):
    stream: StreamTimeoutsSpec = StreamTimeoutsSpec.model_construct()
    """Of a request with `"stream": true` in its body."""
    unary: UnaryTimeoutsSpec = UnaryTimeoutsSpec.model_construct()
    """Of any other request."""


class MirrorSpec(Part):
    """Copies of requests; nobody waits for their answers, but they take GPU time like any request."""

    model: Name
    """Who gets the copies. It serves the names of those whose requests are copied, too."""
    version: Name | None = None
    """Which version of it. Default: as its weights say."""
    percent: Percent
    """Share of the requests that is copied."""


class DelaySpec(Part):
    percent: Percent
    """Share of the requests that wait; 0 is off."""
    duration: Positive
    """How long they wait."""


class AbortSpec(Part):
    percent: Percent
    """Share of the requests that fail; 0 is off."""
    status: Annotated[int, Field(ge=200, le=599)]
    """What they are answered."""


class FaultSpec(Part):
    delay: DelaySpec | None = None
    """Requests that wait."""
    abort: AbortSpec | None = None
    """Requests that fail."""


class RouteSpec(Part):
    """What a route decides; a rule may set it for its own requests."""

    retries: RetriesSpec = RetriesSpec.model_construct()
    """When a request is tried again."""
    timeouts: TimeoutsSpec = TimeoutsSpec.model_construct()
    """How long an answer may take."""
    mirror: MirrorSpec | None = None
    """Copies of some requests to another model or version."""
    fault: FaultSpec | None = None
    """Delays and errors on purpose, for drills."""


class TrafficSpec(RouteSpec):
    load_balancing: LoadBalancingSpec = LoadBalancingSpec.model_construct()
    """Which instance gets a request."""
    health_check: HealthCheckSpec = HealthCheckSpec.model_construct()
    """How instances are looked after."""
    outlier_detection: OutlierDetectionSpec = OutlierDetectionSpec.model_construct()
    """Which instances are left out for the errors they answer."""
    connection_pool: ConnectionPoolSpec = ConnectionPoolSpec.model_construct()
    """How much of a version's capacity one Envoy may use."""
