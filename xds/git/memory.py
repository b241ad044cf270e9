"""What must survive a restart of what was followed: the commit that is served, and the one it is pinned to."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

from xds.store.whole import write_whole

VERSION = 1

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Memory:
    served: str = ""
    """The last commit that was good: what comes must descend from it."""
    pinned: str = ""
    """By `turnout rollback`; empty while the branch is followed."""
    judged: str = ""
    """The newest of the branch that was good: what is served, but for a rollback to before."""
    signers: tuple[str, ...] | None = None
    """Who may have signed what comes after that, by its Platform; None where that asks nobody."""


def load(file: Path, remote: str) -> Memory:
    """Of that remote. Nothing where the file is of another one, is not there, or cannot be read, which is logged."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        if found["version"] != VERSION or found["remote"] != remote:
            return Memory()
        signers = None if found["signers"] is None else tuple(map(str, found["signers"]))
        return Memory(str(found["served"]), str(found["pinned"]), str(found["judged"]), signers)
    except FileNotFoundError:
        return Memory()
    except (OSError, ValueError, TypeError, KeyError) as problem:
        log.error("what was followed cannot be read file=%s problem=%r", file, problem)
        return Memory()


def save(file: Path, remote: str, memory: Memory) -> None:
    """Raises OSError."""
    document = {"version": VERSION, "remote": remote, **asdict(memory)}
    write_whole(file, json.dumps(document, indent=2).encode())
