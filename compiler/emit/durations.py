"""Durations as Kubernetes, Istio and Envoy write them."""

from __future__ import annotations

from datetime import timedelta


def duration(value: timedelta) -> str:
    """`60s`, or `25ms` where it is no whole number of seconds; finer than a millisecond does not come up."""
    milliseconds = value // timedelta(milliseconds=1)
    return f"{milliseconds}ms" if milliseconds % 1000 else f"{milliseconds // 1000}s"


def envoy_duration(value: timedelta) -> str:
    """`60s` or `0.025s`: protobuf's JSON knows no other unit."""
    milliseconds = value // timedelta(milliseconds=1)
    fraction = f".{milliseconds % 1000:03}".rstrip("0") if milliseconds % 1000 else ""
    return f"{milliseconds // 1000}{fraction}s"


def whole_seconds(value: timedelta) -> int:
    """Rounded up, and at least 1: Kubernetes' probes know nothing shorter."""
    return max(1, -(-value // timedelta(seconds=1)))
