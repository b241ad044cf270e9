"""Policies as they are in a commit: read from git, without touching the work tree or the index."""

from __future__ import annotations

import errno
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

_LINK, _FILES = "120000", ("100644", "100755")
"""Modes of git's trees."""
_HEADS = ("fatal: ", "error: ")
_RANGE = re.compile(r"(.*?[^/.])?(\.{2,3})([^/.].*)?")
"""`main..topic`, as git diff takes it, and no path such as `../before`."""


class RevisionError(ValueError):
    """No such revision, no repository, or no git; the text says which."""


@dataclass(frozen=True, slots=True)
class Revision:
    name: str
    """As it was asked for."""
    commit: str
    folder: str
    """Of the policies, from the top of the repository; empty for the top itself."""
    top: Path


def revision(name: str, policies: Path) -> Revision:
    """The commit that is called `name` in the repository that `policies` lies in. Raises RevisionError."""
    # The folder may be one that only the other commit has.
    here = next(parent for parent in (policies, *policies.resolve().parents) if parent.is_dir())
    top = Path(_git(here, "rev-parse", "--show-toplevel").decode().rstrip("\n"))
    if name.startswith("-"):
        raise RevisionError(f"'{name}' is no revision")
    try:
        # In two steps: behind `:/words` a suffix is more words.
        found = _git(here, "rev-parse", "--verify", "--quiet", "--end-of-options", name).decode().strip()
        commit = _git(here, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{found}^{{commit}}")
    except RevisionError as problem:
        raise RevisionError(f"'{name}' is neither a folder nor a revision of {top}{_why(name, top)}") from problem
    folder = policies.resolve().relative_to(top.resolve()).as_posix()
    return Revision(name, commit.decode().strip(), "" if folder == "." else folder, top)


def _why(name: str, top: Path) -> str:
    """What may be the reason; empty for none that is known."""
    span = _RANGE.fullmatch(name)
    if span:
        base, dots, head = (part or "HEAD" for part in span.groups())
        since = base if dots == ".." else f"$(git merge-base {base} {head})"
        return f": a range is told by its ends, turnout diff {since} {head}"
    # What most machines of a CI have, where a revision that is there for everybody else is not.
    if _git(top, "rev-parse", "--is-shallow-repository").strip() == b"true":
        return ", a shallow clone: git fetch --unshallow, or fetch what it is compared with"
    return ""


def write_out(of: Revision, target: Path) -> Path:
    """The policies of the commit, in a folder of their own name below `target`; which need not exist in the commit.

    Byte by byte, whatever the repository's attributes would make of them on the way. Raises RevisionError for a commit
    that no honest git has made, or that is not all there.
    """
    root = target / PurePosixPath(of.folder or of.top.name).name
    root.mkdir()
    entries = list(_entries(of))
    contents = list(_contents(of, [blob for _, blob, _ in entries]))
    try:
        # Links last, so that none is written through.
        for (mode, _, path), content in sorted(zip(entries, contents, strict=True), key=lambda one: one[0][0] == _LINK):
            _write(root / path, mode, content)
    except OSError as problem:
        raise RevisionError(f"'{of.name}' has files that cannot be written out: {problem.strerror}") from problem
    return root


def _write(file: Path, mode: str, content: bytes) -> None:
    if ".." in file.parts:
        raise OSError(errno.EPERM, "a path with '..' in it")
    file.parent.mkdir(parents=True, exist_ok=True)
    if mode == _LINK:
        file.symlink_to(content.decode(errors="surrogateescape"))
    else:
        file.write_bytes(content)


def _entries(of: Revision) -> Iterator[tuple[str, str, PurePosixPath]]:
    """Mode, blob and path in the policies' folder of each file that may be a policy, or lead to one."""
    below = (f"{of.folder}/",) if of.folder else ()
    listed = _git(of.top, "ls-tree", "-r", "-z", "--full-tree", of.commit, "--", *below)
    for entry in filter(None, listed.split(b"\0")):
        head, _, name = entry.partition(b"\t")
        mode, _, blob = head.decode().split(" ")
        path = PurePosixPath(name.decode(errors="surrogateescape"))
        if mode == _LINK or (mode in _FILES and path.suffix in (".yaml", ".yml")):
            yield mode, blob, path.relative_to(of.folder) if of.folder else path


def _contents(of: Revision, blobs: list[str]) -> Iterator[bytes]:
    if not blobs:
        return
    out = _git(of.top, "cat-file", "--batch", said="".join(f"{blob}\n" for blob in blobs).encode())
    start = 0
    for _ in blobs:
        end = out.index(b"\n", start)
        head = out[start:end]
        if head.endswith(b" missing"):
            raise RevisionError(f"'{of.name}' is not all there: this clone has left out {head.split()[0].decode()}")
        size = int(head.rsplit(b" ", 1)[1])
        yield out[end + 1 : end + 1 + size]
        start = end + 1 + size + 1


def _git(folder: Path, *words: str, said: bytes = b"") -> bytes:
    """What git prints. Raises RevisionError."""
    command = ["git", "-C", str(folder), "--literal-pathspecs", *words]
    try:
        run = subprocess.run(command, input=said, capture_output=True, check=False)
    except FileNotFoundError:
        raise RevisionError("there is no git to read revisions with") from None
    if run.returncode:
        raise RevisionError(_reason(run.stderr.decode(errors="replace")) or "git failed")
    return run.stdout


def _reason(said: str) -> str:
    """Of all that git says the first line that is fatal, or an error, with the one before it, in which ssh says why."""
    lines = [line.strip() for line in said.splitlines() if line.strip() and not line.startswith(("warning:", "hint:"))]
    worst = next((n for head in _HEADS for n, line in enumerate(lines) if line.startswith(head)), 0)
    told = (line.removeprefix("fatal: ").removeprefix("error: ") for line in lines[max(0, worst - 1) : worst + 1])
    return "; ".join(line.rstrip(".:") for line in told)
