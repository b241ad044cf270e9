"""A bare repository that policies are pushed to, and the work tree that they are pushed from; keys to sign with; what
answers for it over the network."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.processes import is_free
from tests.envoy.envoy_process import wait_until

NOBODY = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.com",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.com",
}


def run(*words: str, at: Path, **environment: str) -> str:
    """What a program says. Raises CalledProcessError."""
    given = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    more: dict[str, Any] = {"cwd": at, "env": given | NOBODY | environment, "capture_output": True, "text": True}
    done = subprocess.run(words, check=False, timeout=60, **more)
    assert done.returncode == 0, f"{words}: {done.stderr}"
    return str(done.stdout)


@dataclass(frozen=True)
class Key:
    """Settings with which git signs."""

    settings: tuple[str, ...]
    public: str
    """As it stands in a file of allowed signers."""
    home: str = ""
    """Of gpg."""


def ssh_key(folder: Path, who: str) -> Key:
    file = folder / f"key-{who}"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(file), at=folder)
    settings = ("gpg.format=ssh", f"user.signingkey={file}")
    return Key(settings, f'{who}@example.com namespaces="git" {file.with_suffix(".pub").read_text()}')


def gpg_key(folder: Path, who: str, lasting: str = "never") -> Key:
    """Of an agent that is ended with `end_agent`. gpg wants a short path for its socket."""
    folder.mkdir(mode=0o700)
    home, mail = str(folder), f"{who} <{who}@example.com>"
    words = ("gpg", "--batch", "--quiet", "--passphrase", "", "--quick-generate-key", mail, "ed25519", "sign", lasting)
    run(*words, at=folder, GNUPGHOME=home)
    public = run("gpg", "--armor", "--export", mail, at=folder, GNUPGHOME=home)
    return Key(("gpg.format=openpgp", f"user.signingkey={mail}"), public, home)


def end_agent(key: Key) -> None:
    run("gpgconf", "--kill", "all", at=Path(key.home), GNUPGHOME=key.home)


class Origin:
    """`bare` is what a server follows, `tree` where somebody works. Files are named from the repository's root."""

    def __init__(self, folder: Path, branch: str = "main") -> None:
        self.bare, self.tree, self.branch = folder / "origin.git", folder / "work", branch
        folder.mkdir(parents=True, exist_ok=True)
        run("git", "init", "--quiet", "--bare", f"--initial-branch={branch}", str(self.bare), at=folder)
        run("git", "init", "--quiet", f"--initial-branch={branch}", str(self.tree), at=folder)
        self.git("remote", "add", "origin", str(self.bare))

    @property
    def url(self) -> str:
        return f"file://{self.bare}"

    def git(self, *words: str, **environment: str) -> str:
        return run("git", *words, at=self.tree, **environment)

    def write(self, files: Mapping[str, str | None]) -> None:
        """Text by path; none is a file that goes."""
        for name, text in files.items():
            path = self.tree / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if text is None:
                path.unlink()
            else:
                path.write_text(text)

    def commit(self, files: Mapping[str, str | None] | None = None, key: Key | None = None, *words: str) -> str:
        """The SHA."""
        self.write(files or {})
        self.git("add", "--all")
        signing: Sequence[str] = ()
        if key is not None:
            signing = [word for setting in key.settings for word in ("-c", setting)]
            words = ("--gpg-sign", *words)
        home = {} if key is None or not key.home else {"GNUPGHOME": key.home}
        self.git(*signing, "commit", "--quiet", "--allow-empty", "--message", "policies", *words, **home)
        return self.head

    def push(self, *words: str) -> None:
        self.git("push", "--quiet", *words, "origin", f"HEAD:refs/heads/{self.branch}")

    def pushed(self, files: Mapping[str, str | None] | None = None, key: Key | None = None) -> str:
        """The SHA of a commit that is on the branch now."""
        commit = self.commit(files, key)
        self.push()
        return commit

    @property
    def head(self) -> str:
        return self.git("rev-parse", "HEAD").strip()


@contextmanager
def daemon(folder: Path, port: int) -> Iterator[None]:
    """git's own server, of all repositories in the folder."""
    where = ("--listen=127.0.0.1", f"--port={port}", f"--base-path={folder}", "--export-all", "--reuseaddr")
    with subprocess.Popen(["git", "daemon", *where], start_new_session=True) as process:
        try:
            wait_until(lambda: not is_free(port), what="git daemon listens")
            yield
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            wait_until(lambda: is_free(port), what="git daemon has ended")


@contextmanager
def silent(port: int) -> Iterator[Callable[[], bool]]:
    """A server that takes every connection, and never says a word on it. Gives whether anybody has asked."""
    with socket.create_server(("127.0.0.1", port)) as listening:
        yield lambda: bool(select.select([listening], [], [], 0)[0])
