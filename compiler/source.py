"""The policy folder: which files are read, and what could not be."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from compiler.diagnostics import Diagnostic, Position, error, has_errors, warning
from compiler.nodes import Mapped
from compiler.parse import lines, parse

MAX_BYTES = 16 * 2**20
_UNREAD = frozenset({"P001", "P002", "P004", "P006", "P008", "P009"})
"""Problems behind which whole documents may be hidden."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One policy file as read: what it says, and what is wrong with it as YAML."""

    name: str
    """As in `Position.file`."""
    digest: str
    text: str
    documents: tuple[Mapped, ...]
    diagnostics: tuple[Diagnostic, ...]


@dataclass(frozen=True, slots=True)
class Sources:
    """All files of a policy folder, in order of their names."""

    files: tuple[SourceFile, ...]
    found: tuple[Diagnostic, ...] = ()
    """What is wrong with the folder itself, or with files that could not be read at all."""

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

    Hidden files and folders are passed over. Files whose bytes are those of `previous` are not parsed again.
    Raises nothing for bad content; unreadable files become diagnostics.
    """
    known = {file.name: file for file in previous.files} if previous else {}
    home = root if root.is_dir() else root.parent
    prefix = home.resolve().name
    found: list[Diagnostic] = []
    files: list[SourceFile] = []
    for path in _policy_files(root, prefix, found):
        name = _name(prefix, path.relative_to(home))
        data = _read(path, home, name, found)
        if data is not None:
            files.append(_source_file(name, data, known.get(name)))
    sources = Sources(tuple(files), tuple(found))
    if any(sources.documents) or has_errors(sources.diagnostics):
        return sources
    place = Position(prefix if root.is_dir() else f"{prefix}/{root.name}", 0, 0)
    said = f"no policies under {root}" if root.exists() else f"no policies under {root}: there is no such folder"
    none = error("P010", place, said, "a folder of *.yaml, one policy or more")
    return Sources(sources.files, (*sources.found, none))


def _name(prefix: str, path: Path) -> str:
    """As in `Position.file`. File names are bytes on Linux, which need not be UTF-8."""
    return os.fsencode("/".join((prefix, *path.parts))).decode("utf-8", "replace")


def _policy_files(root: Path, prefix: str, found: list[Diagnostic]) -> list[Path]:
    if not root.is_dir():
        return [root] if root.exists() else []
    paths: list[Path] = []
    for folder, folders, names in os.walk(root, onerror=lambda e: found.append(_unreadable(root, prefix, e))):
        here = Path(folder)
        if here == root and "environments" in folders:
            folders.remove("environments")
            place = Position(f"{prefix}/environments", 0, 0)
            found.append(warning("P116", place, "'environments' has no effect in this version of turnout"))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found.extend(_outside(_name(prefix, path.relative_to(root))) for path in _leading_out(here, folders, root))
        paths.extend(here / n for n in names if n.endswith((".yaml", ".yml")) and not n.startswith("."))
    return sorted(paths, key=lambda path: path.relative_to(root).parts)


def _leading_out(folder: Path, names: list[str], root: Path) -> Iterator[Path]:
    """Links among the folders `names`. None is followed: what lies within the tree is read at its own place."""
    links = (folder / name for name in names if (folder / name).is_symlink())
    return (link for link in links if not link.resolve().is_relative_to(root.resolve()))


def _outside(name: str) -> Diagnostic:
    return error("P009", Position(name, 0, 0), f"{name} leads out of the policy folder", "a copy in its place")


def _unreadable(root: Path, prefix: str, problem: OSError) -> Diagnostic:
    place = Position(_name(prefix, Path(str(problem.filename)).relative_to(root)), 0, 0)
    return error("P001", place, f"cannot be read: {problem.strerror}")


def _read(path: Path, home: Path, name: str, found: list[Diagnostic]) -> bytes | None:
    place = Position(name, 0, 0)
    try:
        if not path.resolve(strict=True).is_relative_to(home.resolve()):
            found.append(_outside(name))
            return None
        if not path.is_file():
            found.append(error("P001", place, "not YAML: this is no regular file"))
            return None
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
            size = os.fstat(file.fileno()).st_size
    except (OSError, RuntimeError) as problem:
        why = problem.strerror if isinstance(problem, OSError) else "a loop of links"
        found.append(error("P001", place, f"cannot be read: {why}"))
        return None
    if len(data) > MAX_BYTES:
        found.append(error("P008", place, f"file of {size / 2**20:.0f} MiB; the limit is 16", "several files"))
        return None
    return data


def _source_file(name: str, data: bytes, known: SourceFile | None) -> SourceFile:
    digest = hashlib.blake2b(data, digest_size=16).hexdigest()
    if known is not None and known.digest == digest:
        return known
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        before = data[: problem.start].decode("utf-8", "replace")
        line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
        byte = f"byte 0x{data[problem.start]:02x}"
        bad = error("P002", Position(name, line, column), f"not UTF-8: {byte}", "save as UTF-8")
        return SourceFile(name, digest, data.decode("utf-8", "replace"), (), (bad,))
    documents, diagnostics = parse(text, name)
    return SourceFile(name, digest, text, documents, diagnostics)
