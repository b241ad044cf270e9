"""A commit's policy files, in a fresh folder; what is wrong with a commit is known before anything is written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from posixpath import dirname, isabs, join, normpath

MOST_FILES = 10_000
"""Policy files of a commit."""
MOST_BYTES = 64 << 20
"""Of all of them together."""
MOST_OF_LINK = 4096
"""Bytes of where a link leads to."""
FILES, LINK, SUBMODULE = ("100644", "100755", "100664"), "120000", "160000"
"""Modes of git's trees."""
POINTER = b"version https://git-lfs.github.com/spec/v1\n"
"""How what stands in place of a file begins that Git LFS keeps.

https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """Of a commit's tree."""

    path: str
    """From the policy folder."""
    mode: str
    blob: str
    size: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What a commit's policy folder is to be."""

    files: tuple[Entry, ...] = ()
    links: tuple[Entry, ...] = ()
    """Of all kinds, also those that nobody reads: where they lead to is asked of each."""
    problem: str = ""
    """Why it is not to be; then there is nothing in it."""

    @property
    def blobs(self) -> Mapping[str, str]:
        return {entry.path: entry.blob for entry in (*self.files, *self.links)}


def planned(entries: Iterable[Entry], path: str) -> Plan:
    """Of all entries below the policy folder, which is at `path` in the repository."""
    seen = [entry for entry in entries if not _is_hidden(entry.path)]
    files = tuple(entry for entry in seen if entry.mode in FILES and is_policy(entry.path))
    links = tuple(entry for entry in seen if entry.mode == LINK)
    # What was a folder of policies before would be gone without a word.
    submodule = next((entry.path for entry in seen if entry.mode == SUBMODULE), None)
    problem = f"{submodule} is a submodule, and none is fetched" if submodule else _problem(files, links, path)
    return Plan(problem=problem) if problem else Plan(files, links)


def leading_out(links: Mapping[str, bytes]) -> str:
    """What is wrong with links, by their paths; empty where each leads to somewhere in the policy folder."""
    for path, target in sorted(links.items()):
        to = os.fsdecode(target)
        if isabs(to) or _is_outside(normpath(join(dirname(path), to))):
            return f"{path} is a link that leads out of the policy folder, to {to}"
    return ""


def left_out(plan: Plan, contents: Mapping[str, bytes]) -> str:
    """What is wrong with files by what is in them, which is by blob; empty where all of it is here."""
    pointer = next((entry.path for entry in plan.files if contents[entry.blob].startswith(POINTER)), None)
    return f"{pointer} is kept by Git LFS, and only a pointer to it is here" if pointer else ""


def write(plan: Plan, contents: Mapping[str, bytes], folder: Path) -> None:
    """`folder` is there as a whole or not at all; what was there before is gone. Raises OSError."""
    fresh = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700, parents=True)
    for entry in plan.files:
        file = fresh / entry.path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(contents[entry.blob])
    # Last, so that no file is written by way of one.
    for entry in plan.links:
        if is_policy(entry.path):
            link = fresh / entry.path
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(os.fsdecode(contents[entry.blob]))
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)


def is_policy(path: str) -> bool:
    return path.endswith((".yaml", ".yml"))


def _problem(files: tuple[Entry, ...], links: tuple[Entry, ...], path: str) -> str:
    size = sum(entry.size for entry in files)
    if len(files) + len(links) > MOST_FILES:
        return f"{len(files) + len(links):,} files in {path}; the limit is {MOST_FILES:,}"
    if size > MOST_BYTES:
        return f"{size / 2**20:,.0f} MiB of policies in {path}; the limit is {MOST_BYTES >> 20}"
    for entry in (*files, *links):
        # git itself writes no such tree; whoever has written this one means harm.
        if _is_outside(normpath(entry.path)) or normpath(entry.path) != entry.path or isabs(entry.path):
            return f"the path {entry.path!r} leads out of the policy folder"
    if long := next((link for link in links if link.size > MOST_OF_LINK), None):
        return f"{long.path} is a link of {long.size:,} bytes"
    return ""


def _is_hidden(path: str) -> bool:
    return any(part.startswith(".") and part not in (".", "..") for part in path.split("/"))


def _is_outside(path: str) -> bool:
    return path == ".." or path.startswith("../")
