"""What sources tell the control task."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from compiler.diagnostics import Diagnostic, Position, error
from compiler.fleet import Fleet
from xds.live.command import Accepted, Refused

Answer = Accepted | Refused


@dataclass(frozen=True, slots=True)
class PoliciesRead:
    """Policies have been compiled, with or without success."""

    folder: Position
    """Of the policies, as diagnostics name it."""
    fleet: Fleet | None
    """None when there are errors."""
    diagnostics: tuple[Diagnostic, ...]
    report: str
    """The diagnostics for a terminal, with the lines they are about."""
    digest: str
    """Of the files' names and contents."""
    saved_at: float
    """When the last of the changed files was saved, in seconds since 1970."""
    seconds: float
    """How long it took to compile them."""
    files: tuple[tuple[str, str], ...] = ()
    """Name and text of each that `fleet` was made of."""
    commit: str = ""
    """That the folder is at, where git knows."""


@dataclass(frozen=True, slots=True)
class CommitRead:
    """The policies are as they were, and their commit is this one."""

    commit: str


@dataclass(frozen=True, slots=True)
class WeightsSet:
    """Somebody wants live weights."""

    asked: object
    """The command as it came; `xds.live.command.setting` says what it must be."""
    answer: asyncio.Future[Answer]


@dataclass(frozen=True, slots=True)
class WeightsTakenBack:
    model: str
    answer: asyncio.Future[Answer]


def fault(folder: Position, what: str) -> Diagnostic:
    """`what` of turnout fails on policies that nobody can blame."""
    message = f"{what} fails on these policies, which is a fault of turnout; what was served before stays"
    return error("X107", folder, message, "the log of turnout serve says where it fails: report that")
