"""A change as a trace: its stages, its pushes by type, and the Envoy that was the last."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from xds.progress import Progress
from xds.stages import Cause

Value = str | int


class Outcome(StrEnum):
    CONVERGED = "converged"
    """Every Envoy has answered."""
    SUPERSEDED = "superseded"
    """Before all had answered, something newer was served."""
    BROKEN = "broken"
    """It could not be served."""


@dataclass(frozen=True, slots=True)
class Span:
    """Moments are in seconds since 1970."""

    name: str
    began: float
    ended: float
    attributes: Mapping[str, Value] = field(default_factory=dict)
    error: str = ""
    """What went wrong; empty where nothing did."""


@dataclass(frozen=True, slots=True)
class Trace:
    root: Span
    parts: tuple[Span, ...]
    """In the order in which they began."""


def untraced(_: Trace) -> None:
    """Where nobody collects traces."""


def served(progress: Progress[Any], now: float, outcome: Outcome, slowest: Mapping[str, Value]) -> Trace:
    """`slowest` says who answered last."""
    pushes = tuple(_pushes(progress))
    refused = sum(push.refused for push in progress.pushes.values())
    attributes = {
        "turnout.streams": progress.streams,
        "turnout.streams_behind": len(progress.behind),
        "turnout.responses": sum(push.responses for push in progress.pushes.values()),
        "turnout.refused": refused,
        **slowest,
    }
    error = f"{refused} responses refused" if refused else ""
    return _trace(progress.cause, now, outcome, pushes, attributes, error)


def broken(cause: Cause, now: float, error: str) -> Trace:
    return _trace(cause, now, Outcome.BROKEN, (), {}, error)


def _trace(
    cause: Cause, now: float, outcome: Outcome, pushes: tuple[Span, ...], more: Mapping[str, Value], error: str
) -> Trace:
    stages = tuple(Span(stage.name, stage.began, stage.ended) for stage in cause.stages)
    parts = (*stages, *pushes)
    began = min([cause.saved_at, *(part.began for part in parts)])
    attributes = {"turnout.outcome": outcome.value, **cause.attributes, **more}
    return Trace(Span(cause.what, began, max([now, *(part.ended for part in parts)]), attributes, error), parts)


def _pushes(progress: Progress[Any]) -> Iterator[Span]:
    for type_, push in sorted(progress.pushes.items(), key=lambda entry: entry[1].began):
        attributes: dict[str, Value] = {
            "turnout.type": type_.label,
            "turnout.responses": push.responses,
            "turnout.bytes": push.bytes,
            "turnout.refused": push.refused,
        }
        error = f"{push.refused} responses refused" if push.refused else ""
        yield Span(f"push {type_.label}", push.began, push.ended, attributes, error)
