"""What is the same for the whole fleet."""

from __future__ import annotations

from dataclasses import dataclass

from compiler.diagnostics import BUILT_IN, Position
from compiler.fleet.scaling import Autoscaler


@dataclass(frozen=True, slots=True)
class Platform:
    namespace: str = "ai-inference"
    """Of every object whose policy names none, and of the control server."""
    origin: Position = BUILT_IN
    prometheus: str | None = None
    """Its address; None where nothing is rendered for it, as prometheus-operator may be missing."""
    autoscaler: Autoscaler = Autoscaler.HPA


BUILT_IN_PLATFORM = Platform()
"""Where policy has none."""
