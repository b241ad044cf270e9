"""What sources tell the control task."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from compiler.diagnostics import Diagnostic, Position, Severity, error
from compiler.fleet import Fleet
from xds.live.command import Accepted, Refused
from xds.stages import Cause, Stage

Answer = Accepted | Refused

LISTED = 5
"""Files that a trace names."""


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
    changed: tuple[str, ...] = ()
    """The files that are not as they were, by their paths in the folder; of the first read all."""
    stages: tuple[Stage, ...] = ()
    """Of the compiler."""


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


def policy_change(
    read: PoliciesRead, more: tuple[Stage, ...] = (), attributes: Mapping[str, int] | None = None
) -> Cause:
    """For traces. `more` are stages after the compiler's."""
    by_severity = Counter(found.severity for found in read.diagnostics)
    told: dict[str, str | int] = {
        "turnout.digest": read.digest,
        "turnout.files_changed": len(read.changed),
        "turnout.files": ", ".join(read.changed[:LISTED]) + (", …" if len(read.changed) > LISTED else ""),
        "turnout.errors": by_severity[Severity.ERROR],
        "turnout.warnings": by_severity[Severity.WARNING],
        **(attributes or {}),
    }
    errors = (found for found in read.diagnostics if found.severity is Severity.ERROR)
    if (first := next(errors, None)) is not None:
        told["turnout.first_error"] = f"{first.position}: {first.code}"
    return Cause("policy change", read.saved_at, (*read.stages, *more), told)


def fault(folder: Position, what: str) -> Diagnostic:
    """`what` of turnout fails on policies that nobody can blame."""
    message = f"{what} fails on these policies, which is a fault of turnout; what was served before stays"
    return error("X107", folder, message, "the log of turnout serve says where it fails: report that")
