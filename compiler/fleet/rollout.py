"""How a model is moved from one of its versions to another."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from compiler.diagnostics import Position
from compiler.fleet.traffic import HashKey


class RolloutEngine(StrEnum):
    TURNOUT = "turnout"
    """The control server, by the weights of Turnout's own Envoys."""
    FLAGGER = "flagger"
    """Flagger, by a VirtualService of its own."""


class RolloutStrategy(StrEnum):
    CANARY = "canary"
    """Step by step."""
    BLUE_GREEN = "blueGreen"
    """All requests at once, after as many passed verdicts as there are steps."""
    ROLLING = "rolling"
    """Instance by instance."""


class AnalysisSource(StrEnum):
    LRS = "lrs"
    """Load reports of Turnout's own Envoys."""
    PROMETHEUS = "prometheus"
    WEBHOOK = "webhook"


@dataclass(frozen=True, slots=True)
class RolloutMetric:
    name: str
    """`success-rate`, `kv-usage`: percent; `duration`, `ttft`, `queue-wait`: milliseconds; else of `query`."""
    min: float | None
    max: float | None
    query: str | None
    """PromQL of the owner's own, with Flagger's variables in it."""
    origin: Position


@dataclass(frozen=True, slots=True)
class Analysis:
    """What must hold at each step."""

    source: AnalysisSource
    threshold: int
    """Failed verdicts until all requests go back."""
    confidence: float
    """In percent: how sure a verdict must be."""
    metrics: tuple[RolloutMetric, ...]
    """All must hold; none where a webhook judges."""
    webhook: str | None
    """The address of who judges; set exactly for that source."""


@dataclass(frozen=True, slots=True)
class Rollout:
    name: str
    model: str
    from_version: str
    """Has all requests by policy."""
    to_version: str
    """Has none by policy; `from_version` itself where a model is only handed to Flagger."""
    strategy: RolloutStrategy
    steps: tuple[int, ...]
    """Percent of the requests for `to_version`, rising, each 1-100; at least one."""
    interval: timedelta
    """From one verdict to the next."""
    pause_after: tuple[int, ...]
    """Of `steps`."""
    shadow_percent: int
    """Of the requests that are copied before any is moved, 0-100."""
    sticky_by: HashKey | None
    """A header or a cookie."""
    ready_timeout: timedelta
    drain_timeout: timedelta
    analysis: Analysis
    engine: RolloutEngine
    labels: tuple[tuple[str, str], ...]
    annotations: tuple[tuple[str, str], ...]
    origin: Position
    engine_origin: Position
    """Where policy chooses the engine; `origin` where it leaves that to the default."""
