"""What `turnout serve --git` is told, and the follower that is made of it."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from pathlib import Path
from posixpath import normpath

from xds.client import token_in
from xds.git.branch import POLL
from xds.git.follow import Following
from xds.git.program import without_secrets
from xds.git.reader import Reader
from xds.git.remote import Remote
from xds.git.repository import Repository
from xds.git.signatures import Signers

FOLDER = "git"
"""In that for state."""


@dataclass(frozen=True, slots=True)
class GitOptions:
    remote: Remote
    path: str = "policies"
    """Of the policy folder in the repository; `.` is all of it."""
    poll: float = POLL
    """Seconds between two looks."""
    allowed_signers: Path | None = None
    """With it, only commits that one of them has signed are served."""
    webhook_secret: bytes | None = None
    """Whoever has it may say that there is something new; without one nobody is heard."""


GIT_ONLY = ("git_path", "git_poll", "git_webhook_secret_file", "allowed_signers")
LONGEST_POLL = 3600.0

_BRANCH = re.compile(r"(?![-/.])(?!.*(\.\.|//|@\{))[-A-Za-z0-9._/@+=]{1,200}(?<![/.])\Z")


def wrong_use(options: argparse.Namespace) -> str | None:
    """Of `turnout serve`."""
    if options.git is None:
        given = [f"--{name.replace('_', '-')}" for name in GIT_ONLY if getattr(options, name) is not None]
        return f"{given[0]} is of --git" if given else None
    if options.policies is not None:
        return "either POLICIES or --git"
    if options.state is None:
        return "--git needs --state: the clone is kept there, and what was served"
    url, hash_, branch = options.git.partition("#")
    if url.startswith("-") or not url:
        return f"--git {without_secrets(url)!r} is no URL of a repository"
    if hash_ and not _BRANCH.match(branch):
        return f"--git: {branch!r} is no branch"
    if options.git_path is not None and _path(options.git_path) is None:
        return f"--git-path {options.git_path!r} is no folder in a repository"
    if options.git_poll is not None and not 1 <= options.git_poll <= LONGEST_POLL:
        return "--git-poll: between 1s and 1h"
    return None


def git_options(options: argparse.Namespace) -> GitOptions | None:
    """Of what is no wrong use. Raises OSError, ValueError for a secret or a file that cannot be read."""
    if options.git is None:
        return None
    secret = options.git_webhook_secret_file
    url, _, branch = options.git.partition("#")
    if options.allowed_signers is not None:
        options.allowed_signers.read_text(encoding="utf-8")
    return GitOptions(
        # Git runs in the clone, and would look for a path there.
        remote=Remote(str(Path(url).absolute()) if Path(url).exists() else url, branch),
        path=_path(options.git_path or "policies") or ".",
        poll=options.git_poll or POLL,
        allowed_signers=options.allowed_signers,
        webhook_secret=None if secret is None else token_in(secret),
    )


def _path(text: str) -> str | None:
    """None for what is not below the repository's root."""
    found = normpath(text)
    return None if found.startswith(("/", "..")) or not text or not found.isprintable() else found


def following(options: GitOptions, state: Path, environment: str, colour: bool) -> Following:
    folder = state / FOLDER
    repository = Repository(folder / "clone.git", options.remote)
    signers = None if options.allowed_signers is None else Signers(options.allowed_signers, folder / "signers")
    reader = Reader(repository, options.path, folder / "commits", signers, environment, colour)
    return Following(repository, reader, folder, options.path, options.poll)
