"""A policy folder as a stream of compiled policies: the first at once, then one after each change.

What has changed is told by looking at the files, not by the notifications, which only say when to look. So it does
not matter how an editor saves, whether the folder is replaced or vanishes for a while, or whether notifications are
lost, as on some network file systems: then it takes up to `LOOK` seconds.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

from watchfiles import awatch

from compiler.pipeline import Compiled
from xds.observe.commits import commit
from xds.observe.compiling import compiled, policies_read
from xds.observe.events import PoliciesRead
from xds.stages import Stages

LOOK = 1.0
"""Seconds between two looks when nothing is notified."""
STEP = 2
"""Milliseconds without a notification that lead to a look."""
QUIET = 0.02
"""Seconds without a change that end a save; editors write in several steps. They are not lost: what is there is
compiled meanwhile."""
AT_MOST = 0.3
"""Seconds after which changes that go on are taken as they are."""
BURST = 1.0
"""Seconds after an edit in which the next ones are waited for: the first is taken at once, of a burst few are."""
PAUSE = 0.1
"""Seconds without a change that end such a wait."""

Look = tuple[str, int, int, int]
"""At a file: path, inode, size, and when it was last changed or put there, in nanoseconds."""
Fingerprint = frozenset[Look]

log = logging.getLogger(__name__)


async def policies(
    root: Path, colour: bool = False, environment: str = "", burst: float = BURST
) -> AsyncIterator[PoliciesRead]:
    """Compiles in a thread, so that streams are served meanwhile. Never ends.

    Edits within `burst` seconds of the one before are waited for; with 0 each is taken at once.
    """
    previous: Compiled | None = None
    seen: Fingerprint | None = None
    told = -burst
    async for _ in _occasions(root):
        found = await asyncio.to_thread(fingerprint, root)
        if found == seen:
            continue
        before = seen
        found = await _calm(root, found, told + burst)
        if found == seen:
            continue
        settled, at = await asyncio.gather(_settled(root, found, previous, environment), commit(root))
        found, made, seconds, stages = settled
        saved_at = _saved_at(found - before if before is not None else frozenset())
        seen, changed = found, _paths(root, found ^ (before or frozenset()))
        previous = made or previous
        yield policies_read(
            root,
            made,
            saved_at=saved_at,
            seconds=seconds,
            stages=stages,
            commit=at,
            changed=changed,
            colour=colour,
            environment=environment,
        )
        told = time.monotonic()


async def _calm(root: Path, found: Fingerprint, until: float) -> Fingerprint:
    """The folder once nothing has changed for a while, or as it is at `until`, by the monotonic clock."""
    changed = time.monotonic()
    while (left := min(until, changed + PAUSE) - time.monotonic()) > 0:
        await asyncio.sleep(min(left, PAUSE / 3))
        now = await asyncio.to_thread(fingerprint, root)
        if now != found:
            found, changed = now, time.monotonic()
    return found


async def _settled(
    root: Path, found: Fingerprint, previous: Compiled | None, environment: str
) -> tuple[Fingerprint, Compiled | None, float, Stages]:
    """What becomes of a folder that stays as it is for a while, what it is by then, seconds to compile it, and the
    stages of that."""
    began = time.monotonic()
    while True:
        looked, stages = time.monotonic(), Stages(time.time)
        made = await asyncio.to_thread(compiled, root, previous, environment, stages)
        seconds = time.monotonic() - looked
        await asyncio.sleep(max(0.0, QUIET - seconds))
        now = await asyncio.to_thread(fingerprint, root)
        if now == found or looked - began > AT_MOST:
            return found, made, seconds, stages
        found = now


def fingerprint(root: Path) -> Fingerprint:
    found: list[Look] = []
    if root.is_dir():
        _look_below(root, found)
    else:
        _look_at(root, found)
    return frozenset(found)


def _look_below(folder: Path | str, found: list[Look]) -> None:
    """At the policy files below `folder`. Those that go meanwhile are left out; the compiler will say so."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    _look_below(entry.path, found)
                elif entry.name.endswith((".yaml", ".yml")):
                    _look_at(entry, found)
    except OSError:
        return


def _look_at(file: Path | os.DirEntry[str], found: list[Look]) -> None:
    try:
        status = file.stat()
    except OSError:
        return
    found.append((os.fspath(file), status.st_ino, status.st_size, status.st_ctime_ns))


def _saved_at(changed: Fingerprint) -> float:
    """Of a removal there is no trace: it counts from now."""
    return min(time.time(), max((at / 1e9 for *_, at in changed), default=time.time()))


def _paths(root: Path, files: Fingerprint) -> tuple[str, ...]:
    home = root if root.is_dir() else root.parent
    return tuple(sorted({os.path.relpath(path, home) for path, *_ in files}))


async def _occasions(root: Path) -> AsyncIterator[None]:
    """When to look: at once, soon after each notification, and every `LOOK` seconds."""
    while True:
        yield
        watched = root if root.is_dir() else root.parent
        identity = _identity(watched)
        if identity is None:
            await asyncio.sleep(LOOK)
            continue
        try:
            async for _ in awatch(
                watched,
                watch_filter=None,
                debounce=int(AT_MOST * 1000),
                step=STEP,
                rust_timeout=int(LOOK * 1000),
                yield_on_timeout=True,
                recursive=root.is_dir(),
            ):
                yield
                if _identity(watched) != identity:
                    break  # the watch is on a folder that is no longer there
        except (OSError, RuntimeError) as problem:  # what the watcher itself cannot do is a RuntimeError
            log.warning("cannot watch, looking every %s s policies=%s problem=%s", LOOK, root, problem)
            await asyncio.sleep(LOOK)


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
