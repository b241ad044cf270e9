"""Gauges of a branch that is followed, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Gauge, Info

from xds.git.standing import Standing
from xds.observe.commits import SHOWN


class FollowingGauges:
    """There where a branch is followed, and nowhere else."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._git = Info("turnout_git", "The branch that is followed, and its commit", registry=registry)
        self._read = Gauge(
            "turnout_git_read_timestamp_seconds", "When the branch was read, in seconds since 1970", registry=registry
        )
        self._lost = Gauge("turnout_git_lost", "1 while the branch cannot be read", registry=registry)
        self._refused = Gauge("turnout_git_refused", "1 while the branch's commit is not served", registry=registry)
        self._pinned = Gauge("turnout_git_pinned", "1 from turnout rollback to its release", registry=registry)

    def stands(self, standing: Standing) -> None:
        self._git.info({"remote": standing.remote, "head": standing.head[:SHOWN]})
        self._read.set(0 if standing.read_at is None else standing.read_at.timestamp())
        self._lost.set(bool(standing.problem))
        self._refused.set(bool(standing.refused))
        self._pinned.set(bool(standing.pinned))
