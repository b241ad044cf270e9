"""Quantities as Kubernetes writes them, and policy."""

from __future__ import annotations

from functools import lru_cache

_BINARY_UNITS = ("Ti", "Gi", "Mi", "Ki")


@lru_cache(maxsize=1024)  # a fleet has few sizes, and says each of them on every object
def bytes_text(size: int) -> str:
    """`size` in its largest whole unit, so that the API server stores what we wrote: `32Gi`."""
    for power, unit in zip(range(4, 0, -1), _BINARY_UNITS, strict=True):
        whole, rest = divmod(size, 1024**power)
        if whole and not rest:
            return f"{whole}{unit}"
    return str(size)


def cores_text(millicores: int) -> str:
    """`8`, or `500m` where it is no whole number of cores."""
    return f"{millicores}m" if millicores % 1000 else str(millicores // 1000)
