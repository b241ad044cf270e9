"""The policy folder: which files are read, and what could not be."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from compiler.diagnostics import Diagnostic, Position, error, has_errors
from compiler.nodes import Mapped
from compiler.parse import lines, parse

ENVIRONMENTS = "environments"
"""The folder, in that of the policies, with a folder for each environment."""

MAX_BYTES = 16 * 2**20
SETTLED = 1.0
"""Seconds after its last change from which on a file that looks the same is the same: clocks of file systems tick."""
IN_PARTS = 250_000
"""Characters of a file that may be read document by document: no limit of `parse` on whole files is in reach."""
_UNREAD = frozenset({"P001", "P002", "P004", "P006", "P008", "P009"})
"""Problems behind which whole documents may be hidden."""
_DOCUMENT = re.compile(r"^(?=---[ \n])", re.MULTILINE)
_NOT_IN_PARTS = re.compile(r"^(?:%|\.\.\.)|[&\r\x85\u2028\u2029]", re.MULTILINE)
"""What reaches over the border of a document, or counts lines otherwise: directives, ends, anchors, other line ends."""

Stamp = tuple[int, int, int, int]
"""What tells a file's contents apart without reading them: inode, size, and the times of its last changes."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One policy file as read: what it says, and what is wrong with it as YAML."""

    name: str
    """As in `Position.file`."""
    digest: str
    text: str
    documents: tuple[Mapped, ...]
    diagnostics: tuple[Diagnostic, ...]
    environment: str = ""
    """The one whose alone it is; empty for a file of all."""
    stamp: Stamp | None = field(default=None, compare=False)
    """`None` where it says nothing yet: the file may have changed again without another time."""


@dataclass(frozen=True, slots=True)
class Sources:
    """All files of a policy folder, in order of their names."""

    files: tuple[SourceFile, ...]
    found: tuple[Diagnostic, ...] = ()
    """What is wrong with the folder itself, or with files that could not be read at all."""

    @property
    def environments(self) -> tuple[str, ...]:
        """Those that have files, sorted."""
        return tuple(sorted({file.environment for file in self.files} - {""}))

    def of(self, environment: str) -> Sources:
        """What concerns `environment`: without the files of others."""
        if not self.environments:
            return self
        files = tuple(file for file in self.files if file.environment in ("", environment))
        found = tuple(d for d in self.found if _environment(d.position.file) in ("", environment))
        return Sources(files, found)

    @property
    def documents(self) -> Iterator[Mapped]:
        return (document for file in self.files for document in file.documents)

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        return (*self.found, *(d for file in self.files for d in file.diagnostics))

    @property
    def complete(self) -> bool:
        """Whether every document could be read; if not, a name that no document has may stand in one of those."""
        return not any(d.code in _UNREAD for d in self.diagnostics)

    def line(self, position: Position) -> str | None:
        """The text of the line at `position`, without its end; None where there is none to show."""
        for file in self.files:
            if file.name == position.file and position.line:
                rows = lines(file.text)
                return rows[position.line - 1] if position.line <= len(rows) else None
        return None


def load_sources(root: Path, previous: Sources | None = None) -> Sources:
    """Read every `*.yaml` and `*.yml` below `root`, or `root` itself when it is a file.

    Hidden files and folders are passed over. Files in `environments/<name>/` are those of one environment. Of files
    that are in `previous`, only documents that have changed are parsed again. Raises nothing for bad content;
    unreadable files become diagnostics.
    """
    known = {file.name: file for file in previous.files} if previous else {}
    # A link on the way is followed once: it may be switched to another commit meanwhile, and half of each is neither.
    shown, root = root, root.resolve() if root.is_dir() else root
    home = root if root.is_dir() else root.parent
    prefix = home.resolve().name
    found: list[Diagnostic] = []
    files: list[SourceFile] = []
    now = time.time()
    for path, parts in _policy_files(root, prefix, found):
        name = _name(prefix, parts)
        before, status = known.get(name), _status(path)
        stamp = None if status is None else _stamp(status, now)
        if before is not None and stamp is not None and stamp == before.stamp:
            files.append(before)
            continue
        data = _read(path, name, found) if status is not None else _read_linked(Path(path), home, name, found)
        if data is not None:
            files.append(_source_file(name, data, before, stamp))
    sources = Sources(tuple(files), tuple(found))
    if any(sources.documents) or has_errors(sources.diagnostics):
        return sources
    place = Position(prefix if root.is_dir() else f"{prefix}/{root.name}", 0, 0)
    said = f"no policies under {shown}" if root.exists() else f"no policies under {shown}: there is no such folder"
    none = error("P010", place, said, "a folder of *.yaml, one policy or more")
    return Sources(sources.files, (*sources.found, none))


def sources_of(texts: Iterable[tuple[str, str]]) -> Sources:
    """Of files that were read before, by their names then."""
    return Sources(tuple(_source_file(name, text.encode(), None, None) for name, text in texts))


def _status(path: str) -> os.stat_result | None:
    """`None` for what is no file, and for links, whose targets are looked at every time."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def _stamp(status: os.stat_result, now: float) -> Stamp | None:
    """`None` for what has just changed."""
    if now - max(status.st_mtime, status.st_ctime) < SETTLED:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _name(prefix: str, parts: tuple[str, ...]) -> str:
    """As in `Position.file`. File names are bytes on Linux, which need not be UTF-8."""
    name = "/".join((prefix, *parts))
    return name if name.isascii() else os.fsencode(name).decode("utf-8", "replace")


def _policy_files(root: Path, prefix: str, found: list[Diagnostic]) -> list[tuple[str, tuple[str, ...]]]:
    """With the way from the policy folder to each."""
    if not root.is_dir():
        return [(str(root), (root.name,))] if root.exists() else []
    paths: list[tuple[str, tuple[str, ...]]] = []
    environments: list[str] = []
    for folder, folders, names in os.walk(root, onerror=lambda e: found.append(_unreadable(root, prefix, e))):
        here = Path(folder)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        parts = here.relative_to(root).parts
        found.extend(_outside(_name(prefix, (*parts, path.name))) for path in _leading_out(here, folders, root))
        if parts == (ENVIRONMENTS,):
            environments = folders
        kept = (name for name in names if name.endswith((".yaml", ".yml")) and not name.startswith("."))
        paths.extend((f"{folder}{os.sep}{name}", (*parts, name)) for name in kept)
    said = {parts[1] for _, parts in paths if len(parts) > 2 and parts[0] == ENVIRONMENTS}
    found.extend(_no_environment(_name(prefix, (ENVIRONMENTS, name))) for name in environments if name not in said)
    return sorted(paths, key=lambda path: path[1])


def _no_environment(name: str) -> Diagnostic:
    """Left out, it would be taken out of what is rendered, and of its cluster."""
    said = f"{name} holds no policies, and so is no environment"
    return error("P011", Position(name, 0, 0), said, "no such folder, or a *.yaml in it, of comments alone if need be")


def _leading_out(folder: Path, names: list[str], root: Path) -> Iterator[Path]:
    """Links among the folders `names`. None is followed: what lies within the tree is read at its own place."""
    links = (folder / name for name in names if (folder / name).is_symlink())
    return (link for link in links if not link.resolve().is_relative_to(root.resolve()))


def _outside(name: str) -> Diagnostic:
    return error("P009", Position(name, 0, 0), f"{name} leads out of the policy folder", "a copy in its place")


def _unreadable(root: Path, prefix: str, problem: OSError) -> Diagnostic:
    place = Position(_name(prefix, Path(str(problem.filename)).relative_to(root).parts), 0, 0)
    return error("P001", place, f"cannot be read: {problem.strerror}")


def _read_linked(path: Path, home: Path, name: str, found: list[Diagnostic]) -> bytes | None:
    """What `path` leads to, if that is a file within `home`."""
    place = Position(name, 0, 0)
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError) as problem:
        why = problem.strerror if isinstance(problem, OSError) else "a loop of links"
        found.append(error("P001", place, f"cannot be read: {why}"))
        return None
    if not target.is_relative_to(home.resolve()):
        found.append(_outside(name))
        return None
    if not target.is_file():
        found.append(error("P001", place, "not YAML: this is no regular file"))
        return None
    return _read(str(target), name, found)


def _read(path: str, name: str, found: list[Diagnostic]) -> bytes | None:
    """A regular file. What has become a link since it was looked at is not followed."""
    place = Position(name, 0, 0)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            size = os.fstat(descriptor).st_size
            data = file.readall() if size <= MAX_BYTES else None
    except OSError as problem:
        found.append(error("P001", place, f"cannot be read: {problem.strerror}"))
        return None
    if data is None:
        found.append(error("P008", place, f"file of {size:,} bytes; the limit is {MAX_BYTES:,}", "several files"))
    return data


def _source_file(name: str, data: bytes, known: SourceFile | None, stamp: Stamp | None) -> SourceFile:
    digest = hashlib.blake2b(data, digest_size=16).hexdigest()
    if known is not None and known.digest == digest:
        return known if known.stamp == stamp else replace(known, stamp=stamp)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        before = data[: problem.start].decode("utf-8", "replace")
        line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
        byte = f"byte 0x{data[problem.start]:02x}"
        bad = error("P002", Position(name, line, column), f"not UTF-8: {byte}", "save as UTF-8")
        return SourceFile(name, digest, data.decode("utf-8", "replace"), (), (bad,), _environment(name), stamp)
    documents = None if known is None else _documents_anew(text, known)
    if documents is not None:
        return SourceFile(name, digest, text, documents, (), _environment(name), stamp)
    return SourceFile(name, digest, text, *parse(text, name), _environment(name), stamp)


def _environment(name: str) -> str:
    """`staging` of `policies/environments/staging/models.yaml`."""
    parts = name.split("/")
    return parts[2] if len(parts) > 3 and parts[1] == ENVIRONMENTS else ""


def _documents_anew(text: str, known: SourceFile) -> tuple[Mapped, ...] | None:
    """The documents of `text`, those of `known` where they still stand on the same lines.

    `None` where there may be more to say about the file than about each document for itself.
    """
    if known.diagnostics or any(len(t) > IN_PARTS or _NOT_IN_PARTS.search(t) for t in (text, known.text)):
        return None
    before = {(first, part): documents for first, part, documents in _known_parts(known)}
    result: list[Mapped] = []
    for first, part in _parts(text):
        documents = before.get((first, part))
        if documents is None:
            documents, problems = parse("\n" * first + part, known.name)
            if problems:
                return None
        result.extend(documents)
    return tuple(result)


def _known_parts(known: SourceFile) -> Iterator[tuple[int, str, tuple[Mapped, ...]]]:
    documents = list(known.documents)
    for first, part in _parts(known.text):
        end = first + part.count("\n") + (not part.endswith("\n"))
        of_part = tuple(document for document in documents if first < document.position.line <= end)
        yield first, part, of_part
        documents = documents[len(of_part) :]


def _parts(text: str) -> Iterator[tuple[int, str]]:
    """`text` cut where documents begin, each part with the number of lines before it."""
    first = 0
    for part in _DOCUMENT.split(text):
        if part:
            yield first, part
        first += part.count("\n")
