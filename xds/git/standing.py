"""How what is served stands to the branch that is followed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Standing:
    """Commits are told in full; empty where there is none."""

    remote: str
    """Without user and password."""
    head: str = ""
    """That the branch was at when it was read last."""
    read_at: datetime | None = None
    """When that was."""
    served: str = ""
    """The last one that was good."""
    signed_by: str = ""
    """Who has signed that; empty where nobody was asked."""
    pinned: str = ""
    """By `turnout rollback`: the branch is read, and not served."""
    refused: str = ""
    """The head, where it is not served for a reason."""
    reason: str = ""
    """Of that."""
    problem: str = ""
    """Why the branch cannot be read; empty where it can."""
