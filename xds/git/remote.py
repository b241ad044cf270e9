"""The branch that is followed, where it is pushed to, and how what is new there comes into a clone."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from xds.git.program import GitError, git, reason, tried, without_secrets

HEAD = "refs/turnout/head"
"""In the clone: the branch as it was fetched last."""
TOO_LARGE = "File too large"
"""git's word for a limit that it has met."""
IN_A_PACK = ("-c", "fetch.unpackLimit=1")
"""All that is new is one file, so that there is a limit to all of it, and it is on the disk before it counts: git does
not sync objects in files of their own by default. Nor references, but that would cost 15 ms, and a clone is mended."""


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


class TooLargeError(Exception):
    """What is new is more than may be fetched."""


async def fetch(clone: Path, remote: Remote, seconds: float, largest: int = 0) -> None:
    """`largest` is how many bytes it may have as git packs it, without end where it is 0; of more nothing is left.
    Raises GitError, TooLargeError."""
    words = ("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", "--force")
    command = (*IN_A_PACK, *words, "--", remote.url, f"+{remote.ref}:{HEAD}")
    # The user's own settings hold here: who the server is asked as, by which proxy, with which certificates.
    _, problem, code = await tried(clone, *command, seconds=seconds, environment={}, largest=largest)
    if code and largest and TOO_LARGE in problem:
        raise TooLargeError
    if code:
        raise GitError(reason(problem) or f"git fetch ended with {code}")


async def remote_head(clone: Path, remote: Remote, seconds: float) -> str:
    """The commit that the branch is at; empty where there is no such branch. Raises GitError."""
    words = ("ls-remote", "--quiet", "--", remote.url, remote.ref)
    return (await git(clone, *words, seconds=seconds, environment={})).decode().partition("\t")[0]
