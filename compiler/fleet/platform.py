"""What is the same for the whole fleet."""

from __future__ import annotations

from dataclasses import dataclass

from compiler.diagnostics import BUILT_IN, Position


@dataclass(frozen=True, slots=True)
class Platform:
    namespace: str = "ai-inference"
    """Of every object whose policy names none, and of the control server."""
    origin: Position = BUILT_IN


BUILT_IN_PLATFORM = Platform()
"""Where policy has none."""
