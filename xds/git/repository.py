"""A clone of the repository that holds the policies: of one branch, with its history, and without a work tree."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from xds.git.checkout import Entry
from xds.git.program import GitError, git, reason, tried, without_secrets

HEAD = "refs/turnout/head"
"""In the clone: the branch as it was fetched last."""
FETCH_SECONDS = 60.0
CLONE_SECONDS = 600.0
"""For the first fetch, which brings all of the history."""
ASK_SECONDS = 20.0
"""For what is asked of the clone alone."""
MOST_FETCHED = 1 << 30
"""Bytes of what is new, as it is packed. The first fetch may bring more: it is all of the history."""
MOST_PACKS = 50
"""From so many on they are put together."""
CHECKED_APART = 600.0
"""Seconds between two looks at whether the clone is whole, which reads all of it."""
TOO_LARGE = "File too large"
"""git's word for a limit that it has met."""
IN_A_PACK = ("-c", "fetch.unpackLimit=1")
"""All that is new is one file, so that there is a limit to all of it, and on the disk before it counts: objects in files of
their own git does not sync by default. References neither, but to sync those costs a push 15 ms, and `_mend` does without.
"""
LEFT = ("refs/turnout/*.lock", "*.lock", "objects/pack/tmp_*", "objects/pack/.tmp-*", "objects/tmp_objdir*")
"""What a git that was killed leaves. Nobody else has the clone, so nobody else needs it."""

log = logging.getLogger(__name__)

_NAME = re.compile(r"[0-9a-f]{7,64}\Z")


@dataclass(frozen=True, slots=True)
class Remote:
    url: str = field(repr=False)
    """As git takes it; it may hold a password."""
    branch: str = ""
    """Empty is the one that the repository itself points to."""

    def __str__(self) -> str:
        return without_secrets(self.url) + (f"#{self.branch}" if self.branch else "")

    @property
    def ref(self) -> str:
        return f"refs/heads/{self.branch}" if self.branch else "HEAD"


class Repository:
    def __init__(self, folder: Path, remote: Remote) -> None:
        """`folder` is made, and is nobody else's."""
        self._folder, self.remote = folder, remote
        self._cloned = False
        self._doubted = self._damaged = False
        """Whether the clone may be the reason that something has failed, and whether it is known to be."""
        self._checked = -CHECKED_APART
        """When that was looked at, by the monotonic clock."""

    @property
    def folder(self) -> Path:
        return self._folder

    async def prepare(self) -> None:
        """Raises OSError where the folder cannot be written to, GitError where there is no git."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if await self._is_clone():
            # Whatever it is worth: it may be damaged. A first fetch that came to nothing has left none.
            self._cloned = (self._folder / HEAD).exists()
            return
        await _init(self._folder)

    async def fetch(self) -> str:
        """The commit that the branch is at now. Raises GitError. A clone that is damaged is made anew."""
        self._tidy()
        if self._doubted or self._damaged:
            await self._mend()
        try:
            if self._cloned:
                await self._fetch(self._folder, FETCH_SECONDS, MOST_FETCHED)
            else:
                await self._fetch(self._folder, CLONE_SECONDS)
        except GitError:
            self._doubted = self._cloned
            raise
        self._cloned = True
        head = (await self._ask("rev-parse", "--verify", f"{HEAD}^{{commit}}")).decode().strip()
        await self._put_together()
        return head

    async def _fetch(self, folder: Path, seconds: float, largest: int = 0) -> None:
        # The user's own settings hold here: who the server is asked as, by which proxy, with which certificates.
        words = ("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", "--force")
        what = (self.remote.url, f"+{self.remote.ref}:{HEAD}")
        try:
            await git(folder, *IN_A_PACK, *words, "--", *what, seconds=seconds, environment={}, largest=largest)
        except GitError as problem:
            if TOO_LARGE not in str(problem):
                raise
            raise GitError(f"what is new has more than {largest >> 20:,} MiB, which is the limit") from None

    async def _mend(self) -> None:
        """Another clone in place of one that is damaged, as a disk or a power cut leaves it. Raises GitError where that
        cannot be had; then the damaged one stays."""
        if not self._damaged:
            if time.monotonic() - self._checked < CHECKED_APART:
                return
            self._damaged = not await self._is_whole()
            self._doubted, self._checked = False, time.monotonic()
        if not self._damaged:
            return
        log.error("the clone is damaged, so it is made anew folder=%s", self._folder)
        fresh, old = (self._folder.with_name(f".{self._folder.name}.{name}") for name in ("new", "old"))
        for folder in (fresh, old):
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        await _init(fresh)
        await self._fetch(fresh, CLONE_SECONDS)
        self._folder.rename(old)
        fresh.rename(self._folder)
        self._damaged = False
        log.info("the clone is made anew folder=%s", self._folder)
        await asyncio.to_thread(shutil.rmtree, old, ignore_errors=True)

    async def _is_whole(self) -> bool:
        words = ("fsck", "--no-dangling", "--no-reflogs", "--no-progress")
        try:
            *_, code = await tried(self._folder, *words, seconds=FETCH_SECONDS)
        except GitError:  # nothing is known, and what there is may still do
            return True
        return code == 0

    async def _put_together(self) -> None:
        """Each fetch leaves a pack, and git looks through all of them. Of large ones few are written anew: each has at
        least twice the objects of the next. Nothing is lost, and where it fails it is tried after the next fetch."""
        if sum(1 for _ in self._folder.glob("objects/pack/*.pack")) > MOST_PACKS:
            with suppress(GitError):
                await tried(self._folder, "repack", "-d", "--quiet", "--geometric=2", seconds=FETCH_SECONDS)

    async def commit(self, name: str) -> str | None:
        """The whole of a commit's name, of which at least seven digits are there. None where the clone has none, or
        several. Raises GitError."""
        if not _NAME.match(name):
            return None
        words = ("rev-parse", "--quiet", "--verify", "--end-of-options", f"{name}^{{commit}}")
        said, _, code = await tried(self._folder, *words, seconds=ASK_SECONDS)
        return None if code else said.decode().strip()

    async def descends(self, commit: str, base: str) -> bool:
        """Whether `base` is `commit` or in its history; not so where the clone does not have it. Raises GitError."""
        words = ("merge-base", "--is-ancestor", base, commit)
        *_, code = await tried(self._folder, *words, seconds=ASK_SECONDS)
        self._doubted |= code > 1
        return code == 0

    async def entries(self, commit: str, path: str) -> tuple[Entry, ...]:
        """All that is below `path`, which may be `.`, with their ways from there. Raises GitError."""
        tree = f"{commit}:" if path == "." else f"{commit}:{path}"
        _, problem, code = await tried(self._folder, "cat-file", "-e", tree, seconds=ASK_SECONDS)
        if code and "error: " in problem:  # git says so where the path is not there because its commit is not
            self._doubted = True
            raise GitError(reason(problem))
        if code:
            raise GitError(f"it has no folder {path}")
        said = await self._ask("ls-tree", "-r", "-l", "-z", "--end-of-options", tree)
        return tuple(map(_entry, filter(None, said.split(b"\0"))))

    async def contents(self, blobs: Iterable[str]) -> dict[str, bytes]:
        """By their names. Whoever asks knows that they are not too large. Raises GitError."""
        asked = list(dict.fromkeys(blobs))
        given = "".join(f"{blob}\n" for blob in asked).encode()
        if not asked:
            return {}
        try:
            said = await git(self._folder, "cat-file", "--batch", seconds=ASK_SECONDS, given=given, most=1 << 30)
            return dict(zip(asked, _blobs(said), strict=True))
        except GitError:
            self._doubted = True
            raise

    async def _ask(self, *words: str) -> bytes:
        try:
            return await git(self._folder, *words, seconds=ASK_SECONDS)
        except GitError:
            self._doubted = True
            raise

    async def _is_clone(self) -> bool:
        said, _, code = await tried(self._folder, "rev-parse", "--git-dir", seconds=ASK_SECONDS)
        return code == 0 and said.strip() == b"."

    def _tidy(self) -> None:
        for pattern in LEFT:
            for left in self._folder.glob(pattern):
                shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)


async def _init(folder: Path) -> None:
    """What was there before is gone. Raises OSError, GitError."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
    await git(folder, "init", "--bare", "--quiet", "--template=", seconds=ASK_SECONDS)


def _entry(line: bytes) -> Entry:
    """`100644 blob 0c5d…    1234<tab>path`, or `-` for a size of what is no blob."""
    told, _, path = line.partition(b"\t")
    mode, _, name, size = told.decode().split()
    return Entry(os.fsdecode(path), mode, name, 0 if size == "-" else int(size))


def _blobs(said: bytes) -> Iterator[bytes]:
    """Raises GitError for one that is missing."""
    at = 0
    while at < len(said):
        end = said.index(b"\n", at)
        name, kind, *size = said[at:end].decode().split()
        if kind != "blob" or not size:
            raise GitError(f"object {name} is {kind}")
        first, at = end + 1, end + 2 + int(size[0])
        yield said[first : at - 1]
