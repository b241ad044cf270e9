"""What sources tell the control task."""

from __future__ import annotations

from dataclasses import dataclass

from compiler.diagnostics import Diagnostic
from compiler.fleet import Fleet


@dataclass(frozen=True, slots=True)
class PoliciesRead:
    """Policies have been compiled, with or without success."""

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
