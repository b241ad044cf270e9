"""The commit of a policy folder, where it lies in git's work tree: by the system's git, which need not be there."""

from __future__ import annotations

import asyncio
import os
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

PATIENCE = 0.3
"""Seconds that git may take. Policies are served without a commit rather than later."""
LOOK = 1.0
"""Seconds between two looks at whether git has done something."""
SHOWN = 12
"""Digits of a commit."""
DIRTY = "-dirty"
"""Behind a commit where the folder is not as it was committed."""

Stamp = tuple[int, ...]


async def commits(folder: Path, told: Callable[[], str]) -> AsyncIterator[str]:
    """Of a folder that is served, when it is another one than is `told`: what was edited has been committed, git was
    not done with a pull when the policies were read, or not with its answer in time."""
    seen, last = stamp(folder), ""
    while True:
        await asyncio.sleep(LOOK)
        found = stamp(folder)
        if found == seen and told() == last:
            continue
        last = await commit(folder)
        if last or not found:
            seen = found
        if last and last != told():
            yield last


async def commit(folder: Path) -> str:
    """`0c5d91ab44e0`, `0c5d91ab44e0-dirty`, or nothing where nobody knows."""
    if not stamp(folder):
        return ""
    asked = ("git", "--no-optional-locks", "-C", os.fspath(folder), "status", "--porcelain=v2", "--branch", "--", ".")
    try:
        git = await asyncio.create_subprocess_exec(*asked, stdout=PIPE, stderr=DEVNULL)
    except OSError:
        return ""
    try:
        said, _ = await asyncio.wait_for(git.communicate(), PATIENCE)
    except TimeoutError:
        return ""
    finally:
        if git.returncode is None:
            with suppress(ProcessLookupError):
                git.kill()
            await git.wait()
    return _commit(said.decode(errors="replace").splitlines())


def _commit(lines: list[str]) -> str:
    """Of git's `status`, https://git-scm.com/docs/git-status#_porcelain_format_version_2"""
    oid = next((line.removeprefix("# branch.oid ") for line in lines if line.startswith("# branch.oid ")), "")
    if not oid or oid == "(initial)":
        return ""
    return oid[:SHOWN] + (DIRTY if any(not line.startswith("#") for line in lines) else "")


def stamp(folder: Path) -> Stamp:
    """Another one after each commit, checkout and `git add`; empty outside of a work tree."""
    for above in (folder.absolute(), *folder.absolute().parents):
        git = above / ".git"
        if git.exists():
            return tuple(_changed(_git_folder(git) / name) for name in ("HEAD", "index", "logs/HEAD"))
    return ()


def _git_folder(git: Path) -> Path:
    """Of a work tree beside the first one `.git` is a file that says where it is."""
    if git.is_dir():
        return git
    try:
        return git.parent / git.read_text().removeprefix("gitdir:").strip()
    except (OSError, UnicodeDecodeError):
        return git


def _changed(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0
