"""Durations as Kubernetes, Istio and Envoy write them."""

from __future__ import annotations

from datetime import timedelta

_SECOND, _MILLISECOND = timedelta(seconds=1), timedelta(milliseconds=1)


def duration(value: timedelta) -> str:
    """`60s`, or `25ms` where it is no whole number of seconds; finer than a millisecond does not come up."""
    milliseconds = value // _MILLISECOND
    return f"{milliseconds}ms" if milliseconds % 1000 else f"{milliseconds // 1000}s"


def envoy_duration(value: timedelta) -> str:
    """`60s` or `0.025s`: protobuf's JSON knows no other unit."""
    milliseconds = value // _MILLISECOND
    fraction = f".{milliseconds % 1000:03}".rstrip("0") if milliseconds % 1000 else ""
    return f"{milliseconds // 1000}{fraction}s"


def gateway_api_duration(value: timedelta) -> str:
    """`5m`, `1h30m` or `1s500ms`: at most five digits of each unit. https://gateway-api.sigs.k8s.io/geps/gep-2257"""
    left = value // _MILLISECOND
    text = ""
    for unit, milliseconds in (("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, left = divmod(left, milliseconds)
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def whole_seconds(value: timedelta) -> int:
    """Rounded up, and at least 1: Kubernetes' probes know nothing shorter."""
    return max(1, -(-value // _SECOND))
