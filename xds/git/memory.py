"""What must survive a restart of what was followed: the commit that is served, and the one it is pinned to."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
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


def load(file: Path, remote: str) -> Memory:
    """Of that remote. Nothing where the file is of another one, is not there, or cannot be read, which is logged."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        if found["version"] != VERSION or found["remote"] != remote:
            return Memory()
        return Memory(str(found["served"]), str(found["pinned"]))
    except FileNotFoundError:
        return Memory()
    except (OSError, ValueError, TypeError, KeyError) as problem:
        log.error("what was followed cannot be read file=%s problem=%r", file, problem)
        return Memory()


def save(file: Path, remote: str, memory: Memory) -> None:
    """Raises OSError."""
    document = {"version": VERSION, "remote": remote, "served": memory.served, "pinned": memory.pinned}
    write_whole(file, json.dumps(document, indent=2).encode())
