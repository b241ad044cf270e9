"""Quantities and durations as Kubernetes and Istio write them."""

from __future__ import annotations

from datetime import timedelta

_BINARY_UNITS = ("Ti", "Gi", "Mi", "Ki")


def bytes_quantity(size: int) -> str:
    """`size` in its largest whole unit, so that the API server stores what we wrote: `32Gi`."""
    for power, unit in zip(range(4, 0, -1), _BINARY_UNITS, strict=True):
        whole, rest = divmod(size, 1024**power)
        if whole and not rest:
            return f"{whole}{unit}"
    return str(size)


def cores_quantity(millicores: int) -> str:
    """`8`, or `500m` where it is no whole number of cores."""
    return f"{millicores}m" if millicores % 1000 else str(millicores // 1000)


def duration(value: timedelta) -> str:
    """`60s`, or `25ms` where it is no whole number of seconds; finer than a millisecond does not come up."""
    milliseconds = value // timedelta(milliseconds=1)
    return f"{milliseconds}ms" if milliseconds % 1000 else f"{milliseconds // 1000}s"


def whole_seconds(value: timedelta) -> int:
    """Rounded up, and at least 1: Kubernetes' probes know nothing shorter."""
    return max(1, -(-value // timedelta(seconds=1)))
