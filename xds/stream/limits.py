"""How much one client may ask for, and how long it may take."""

from __future__ import annotations

from collections.abc import Sized

NAMES = 10_000
"""Resources of one type that a stream may ask for by name, or say that it has."""
NODE_BYTES = 64 << 10
"""Of what a client says of itself, beside the list of its extensions."""
SILENT = 30.0
"""Seconds that a stream may be open before its first request."""
STALLED = 120.0
"""Seconds within which a client takes a response: 2 MiB over 150 kbit/s, an answer of CSDS over 2.5 Mbit/s at the most.
Until then the response is kept for it."""


class ExcessError(ValueError):
    """A client asks for more than any Envoy does."""


def check_names(names: Sized) -> None:
    """Raises ExcessError."""
    if len(names) > NAMES:
        raise ExcessError(f"{len(names):,} names of one type; {NAMES:,} are the limit")
