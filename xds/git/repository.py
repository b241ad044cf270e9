"""A clone of the repository that holds the policies: of one branch, with its history, and without a work tree."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from xds.git.checkout import Entry
from xds.git.program import GitError, git, tried, without_secrets

HEAD = "refs/turnout/head"
"""In the clone: the branch as it was fetched last."""
FETCH_SECONDS = 60.0
CLONE_SECONDS = 600.0
"""For the first fetch, which brings all of the history."""
ASK_SECONDS = 20.0
"""For what is asked of the clone alone."""
LEFT = ("refs/turnout/*.lock", "*.lock", "objects/pack/tmp_*", "objects/tmp_objdir*")
"""What a git that was killed leaves. Nobody else has the clone, so nobody else needs it."""

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

    @property
    def folder(self) -> Path:
        return self._folder

    async def prepare(self) -> None:
        """Raises OSError where the folder cannot be written to, GitError where there is no git."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if await self._is_clone():
            self._cloned = True
            return
        await self._begin()

    async def fetch(self) -> str:
        """The commit that the branch is at now. Raises GitError.

        A clone that a disk or a loss of power has damaged is thrown away once the remote is there to make it anew from.
        """
        try:
            try:
                return await self._fetched()
            except GitError:
                if await self._is_whole() or not await self._is_remote_there():
                    raise
            await self._begin()
            return await self._fetched()
        except OSError as problem:
            raise GitError(f"the clone cannot be written to: {problem.strerror}") from None

    async def _fetched(self) -> str:
        """Raises GitError."""
        self._tidy()
        # The user's own settings hold here: who the server is asked as, by which proxy, with which certificates.
        words = ("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", "--force")
        what = (self.remote.url, f"+{self.remote.ref}:{HEAD}")
        seconds = FETCH_SECONDS if self._cloned else CLONE_SECONDS
        await git(self._folder, *words, "--", *what, seconds=seconds, environment={})
        self._cloned = True
        return (await self._ask("rev-parse", "--verify", f"{HEAD}^{{commit}}")).decode().strip()

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
        return code == 0

    async def entries(self, commit: str, path: str) -> tuple[Entry, ...]:
        """All that is below `path`, which may be `.`, with their ways from there. Raises GitError."""
        tree = f"{commit}:" if path == "." else f"{commit}:{path}"
        kind, _, code = await tried(self._folder, "cat-file", "-t", tree, seconds=ASK_SECONDS)
        if code:
            raise GitError(f"it has no folder {path}")
        if kind.strip() != b"tree":
            raise GitError(f"{path} is no folder there, but a file or a link")
        said = await self._ask("ls-tree", "-r", "-l", "-z", "--end-of-options", tree)
        return tuple(map(_entry, filter(None, said.split(b"\0"))))

    async def contents(self, blobs: Iterable[str]) -> dict[str, bytes]:
        """By their names. Whoever asks knows that they are not too large. Raises GitError."""
        asked = list(dict.fromkeys(blobs))
        given = "".join(f"{blob}\n" for blob in asked).encode()
        said = (
            await git(self._folder, "cat-file", "--batch", seconds=ASK_SECONDS, given=given, most=1 << 30)
            if asked
            else b""
        )
        return dict(zip(asked, _blobs(said), strict=True))

    async def _ask(self, *words: str) -> bytes:
        return await git(self._folder, *words, seconds=ASK_SECONDS)

    async def _begin(self) -> None:
        """An empty clone. Raises GitError, OSError."""
        self._cloned = False
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(mode=0o700, exist_ok=True)
        await git(self._folder, "init", "--bare", "--quiet", "--template=", seconds=ASK_SECONDS)

    async def _is_whole(self) -> bool:
        """Whether all of what was fetched is there, and nothing has been fetched that is not. Raises GitError."""
        if not await self._is_clone():
            return False
        known, _, unknown = await tried(self._folder, "for-each-ref", HEAD, seconds=ASK_SECONDS)
        if not known and not unknown:
            return not (self._folder / HEAD).exists()
        words = ("rev-list", "--objects", "--quiet", HEAD)
        *_, code = await tried(self._folder, *words, seconds=ASK_SECONDS)
        return code == 0

    async def _is_remote_there(self) -> bool:
        words = ("ls-remote", "--quiet", "--exit-code", "--", self.remote.url, self.remote.ref)
        # The clone itself may be what is missing.
        *_, code = await tried(self._folder.parent, *words, seconds=FETCH_SECONDS, environment={})
        return code == 0

    async def _is_clone(self) -> bool:
        said, _, code = await tried(self._folder, "rev-parse", "--git-dir", seconds=ASK_SECONDS)
        return code == 0 and said.strip() == b"."

    def _tidy(self) -> None:
        for pattern in LEFT:
            for left in self._folder.glob(pattern):
                shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)


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
