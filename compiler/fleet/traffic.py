"""How requests to a model travel: the settings of its clusters and of its routes."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from compiler.diagnostics import BUILT_IN, Position

SAID = field(default=BUILT_IN, compare=False)
"""The line that says it. Two settings said in two places are the same setting."""


class Strategy(StrEnum):
    LEAST_CONNECTIONS = "least_connections"
    ROUND_ROBIN = "round_robin"
    WEIGHTED_RANDOM = "weighted_random"
    CONSISTENT_HASH = "consistent_hash"


class HashAlgorithm(StrEnum):
    MAGLEV = "maglev"
    RING_HASH = "ringHash"


class HashSource(StrEnum):
    HEADER = "header"
    COOKIE = "cookie"
    QUERY_PARAMETER = "queryParameter"


@dataclass(frozen=True, slots=True)
class HashKey:
    source: HashSource
    name: str
    """Of the header, cookie or query parameter whose value decides the instance."""


@dataclass(frozen=True, slots=True)
class SlowStart:
    window: timedelta
    """How long a new instance's share grows; 0 is off."""
    min_percent: int
    """Of its full share at the start, 0-100."""


@dataclass(frozen=True, slots=True)
class LoadBalancing:
    strategy: Strategy
    hash_key: HashKey | None
    """Set exactly when the strategy is consistent_hash."""
    algorithm: HashAlgorithm
    """Decides only for consistent_hash."""
    slow_start: SlowStart
    origin: Position = SAID


@dataclass(frozen=True, slots=True)
class HealthCheck:
    path: str
    interval: timedelta
    timeout: timedelta
    failure_threshold: int
    success_threshold: int


@dataclass(frozen=True, slots=True)
class OutlierDetection:
    consecutive_5xx_errors: int
    """In a row before an instance is ejected; 0 turns ejection off."""
    interval: timedelta
    base_ejection_time: timedelta
    max_ejection_percent: int
    origin: Position = SAID


@dataclass(frozen=True, slots=True)
class ConnectionPool:
    """Limits of one Envoy towards one version of the model, all its instances together. 0 is no limit."""

    max_connections: int
    http1_max_pending_requests: int
    http2_max_requests: int
    max_requests_per_connection: int
    connect_timeout: timedelta
    origin: Position = SAID


@dataclass(frozen=True, slots=True)
class Retries:
    """Another try, on another instance, before the first byte of an answer. Never after it."""

    attempts: int
    """Tries after the first; 0 is none."""
    retry_on: tuple[str, ...]
    """Envoy's words: `connect-failure`, `reset`, …"""
    status_codes: tuple[int, ...]
    """Answers that are tried again too."""
    backoff: timedelta
    """Before the first retry, about; never 0, which Envoy refuses."""
    origin: Position = SAID


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Of a request that streams (`"stream": true` in its body), and of one that does not."""

    stream_first_byte: timedelta
    """One try's limit to its first byte; then the next try begins."""
    stream_idle: timedelta
    """Longest silence within a stream."""
    stream_total: timedelta
    unary_total: timedelta
    origin: Position = SAID
    stream_origin: Position = field(default=BUILT_IN, compare=False)


@dataclass(frozen=True, slots=True)
class Mirror:
    """Copies of some requests, whose answers nobody waits for."""

    model: str
    version: str | None
    """`None`: as the model's own weights say."""
    percent: int
    """Of the requests, 1-100."""
    origin: Position = SAID


@dataclass(frozen=True, slots=True)
class Fault:
    """Delays and errors on purpose, for drills. A part with 0 percent is off; at least one is on."""

    delay_percent: int
    delay: timedelta
    abort_percent: int
    abort_status: int
    origin: Position = SAID
