"""A clone of the repository that holds the policies: of one branch, with its history, and without a work tree."""

from __future__ import annotations

import asyncio
import logging
import re
import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from xds.git.checkout import SUBMODULE, Entry
from xds.git.objects import blobs, entry
from xds.git.program import GitError, git, reason, tried
from xds.git.remote import HEAD, Remote, TooLargeError, fetch, remote_head

FETCH_SECONDS = 60.0
CLONE_SECONDS = 600.0
"""For the first fetch, which brings all of the history."""
ASK_SECONDS = 20.0
"""For what is asked of the clone alone."""
MOST_FETCHED = 1 << 30
"""Bytes of what is new, as it is packed. The first fetch may bring more: it is all of the history."""
MOST_PACKS = 50
"""From so many on they are put together."""
LOOKED_APART = 600.0
"""Seconds between two looks at whether the clone is whole, which reads all of it."""
NO_PATH = re.compile(r"^fatal: path '.*' (does not exist in|exists on disk, but not in) ", re.MULTILINE)
"""git's words for what a commit does not have; it takes a path of the clone for one on the disk."""
FAILED = re.compile(r"^(error|fatal): ", re.MULTILINE)
"""How git begins to say so, also where its exit status is that of an answer."""
LEFT = ("refs/turnout/*.lock", "*.lock", "objects/pack/tmp_*", "objects/pack/.tmp-*", "objects/tmp_objdir*")
"""What a git that was killed leaves. Nobody else has the clone, so nobody else needs it."""

log = logging.getLogger(__name__)

_NAME = re.compile(r"[0-9a-f]{7,64}\Z", re.IGNORECASE)


class NoPoliciesError(GitError):
    """A commit's own fault, that another commit can mend."""


class Repository:
    def __init__(self, folder: Path, remote: Remote) -> None:
        """`folder` is made, and is nobody else's; so are its siblings of that name with a dot before it."""
        self._folder, self.remote = folder, remote
        self._cloned = False
        self._doubted = self._damaged = False
        """Whether the clone may be the reason that something has failed, and whether it is known to be."""
        self._looked = -LOOKED_APART
        """When that was looked at, by the monotonic clock."""
        self._too_large: str | None = None
        """Where the branch is that brings more than the limit; empty until that is known, None while it does not."""

    @property
    def folder(self) -> Path:
        return self._folder

    @property
    def is_cloned(self) -> bool:
        """Whether there has been a fetch, whatever is left of it."""
        return self._cloned

    async def prepare(self) -> None:
        """Raises OSError where the folder cannot be written to, GitError where there is no git."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in self._beside:
            shutil.rmtree(left, ignore_errors=True)
        if await self._is_clone():
            # Whatever it is worth: it may be damaged. A first fetch that came to nothing has left none.
            self._cloned = (self._folder / HEAD).exists()
            return
        await _begin(self._folder)

    async def fetch(self) -> str:
        """The commit that the branch is at now. Raises GitError. A clone that a disk or a loss of power has damaged is
        made anew."""
        try:
            self._tidy()
            if self._doubted or self._damaged:
                await self._mend()
            try:
                await self._fetch_new()
            except GitError:
                self._doubted = self._cloned
                raise
            self._cloned = True
            head = (await self._ask("rev-parse", "--verify", f"{HEAD}^{{commit}}")).decode().strip()
            await self._put_together()
            return head
        except OSError as problem:
            raise GitError(f"the clone cannot be written to: {problem.strerror}") from None

    async def _fetch_new(self) -> None:
        """Raises GitError. What is too large is fetched twice: before the second time it is known where the branch is,
        and as long as it stays there nothing is fetched."""
        if not self._cloned:
            await fetch(self._folder, self.remote, CLONE_SECONDS)
            return
        head = "" if self._too_large is None else await remote_head(self._folder, self.remote, FETCH_SECONDS)
        try:
            if head and head == self._too_large:
                raise TooLargeError
            await fetch(self._folder, self.remote, FETCH_SECONDS, MOST_FETCHED)
        except TooLargeError:
            self._too_large = head
            raise GitError(f"what is new has more than {MOST_FETCHED >> 20:,} MiB, which is the limit") from None
        self._too_large = None

    @property
    def _beside(self) -> tuple[Path, Path]:
        """The next clone, and the one before."""
        return self._folder.with_name(f".{self._folder.name}.new"), self._folder.with_name(f".{self._folder.name}.old")

    async def _mend(self) -> None:
        """Another clone in place of one that is damaged. Raises GitError where that cannot be had, OSError; then the
        damaged one stays, which may still do for what was read before."""
        if not self._damaged:
            if time.monotonic() - self._looked < LOOKED_APART:
                return
            self._damaged = not await self._is_whole()
            self._doubted, self._looked = False, time.monotonic()
        if not self._damaged:
            return
        log.error("the clone is damaged, so it is made anew folder=%s", self._folder)
        fresh, old = self._beside
        for folder in (fresh, old):
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        await _begin(fresh)
        await fetch(fresh, self.remote, CLONE_SECONDS)
        with suppress(FileNotFoundError):
            self._folder.rename(old)
        fresh.rename(self._folder)
        self._damaged = False
        log.info("the clone is made anew folder=%s", self._folder)
        await asyncio.to_thread(shutil.rmtree, old, ignore_errors=True)

    async def _is_whole(self) -> bool:
        if not await self._is_clone():
            return False
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
        """Whether `base` is `commit` or in its history; not so where the clone does not have it. Raises GitError, also
        for a history with a hole, which git takes for its end."""
        words = ("merge-base", "--is-ancestor", base, commit)
        _, problem, code = await tried(self._folder, *words, seconds=ASK_SECONDS)
        if code and FAILED.search(problem):
            await self._walk(commit)
        return code == 0

    async def _walk(self, commit: str) -> None:
        """Raises GitError where not all of its history is there."""
        _, problem, code = await tried(self._folder, "rev-list", "--count", commit, seconds=ASK_SECONDS)
        if code:
            self._doubted = True
            raise GitError(f"the clone is damaged: {reason(problem)}")

    async def check(self, commit: str) -> None:
        """Raises GitError for a commit that cannot be read, which git takes for one that is not signed, and empty."""
        await self._ask("cat-file", "tree", commit)

    async def entries(self, commit: str, path: str) -> tuple[Entry, ...]:
        """All that is below `path`, which may be `.`, with their ways from there. Raises GitError,
        NoPoliciesError where there is no such folder."""
        tree = f"{commit}:" if path == "." else f"{commit}:{path}"
        kind, problem, code = await tried(self._folder, "cat-file", "-t", tree, seconds=ASK_SECONDS)
        if code and NO_PATH.search(problem):
            raise NoPoliciesError(f"it has no folder {path}")
        if kind.strip() != b"tree" and await self._is_submodule(commit, path):
            raise NoPoliciesError(f"{path} is a submodule, and none is fetched")
        if code:
            self._doubted = True
            raise GitError(reason(problem))
        if kind.strip() != b"tree":
            raise NoPoliciesError(f"{path} is no folder there, but a file or a link")
        said = await self._ask("ls-tree", "-r", "-l", "-z", "--end-of-options", tree)
        return tuple(map(entry, filter(None, said.split(b"\0"))))

    async def _is_submodule(self, commit: str, path: str) -> bool:
        """Raises GitError."""
        return (await self._ask("ls-tree", commit, "--", path)).startswith(f"{SUBMODULE} ".encode())

    async def contents(self, names: Iterable[str]) -> dict[str, bytes]:
        """Of blobs, by their names. Whoever asks knows that they are not too large. Raises GitError."""
        asked = list(dict.fromkeys(names))
        if not asked:
            return {}
        given = "".join(f"{name}\n" for name in asked).encode()
        try:
            said = await git(self._folder, "cat-file", "--batch", seconds=ASK_SECONDS, given=given, most=1 << 30)
            return dict(zip(asked, blobs(said), strict=True))
        except GitError:
            self._doubted = True
            raise

    async def _ask(self, *words: str) -> bytes:
        """What a clone that is whole can answer. Raises GitError."""
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


async def _begin(folder: Path) -> None:
    """An empty clone; what was there before is gone. Raises OSError, GitError."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
    await git(folder, "init", "--bare", "--quiet", "--template=", seconds=ASK_SECONDS)
