"""YAML that remembers where each value was written.

Read by the rules of YAML 1.2: `on`, `1:30`, `0755`, `12_000` and dates are strings, `true` and `false` are the only
booleans. Anchors and aliases work within bounds; tags and merge keys do not.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from compiler.diagnostics import Diagnostic, Position, error, warning

MAX_BYTES = 16 * 2**20
MAX_DEPTH = 100
MAX_NODES = 100_000

_INT = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]{1,3})?\Z")
_NO_NUMBER = re.compile(r"[-+]?\.(inf|Inf|INF|nan|NaN|NAN)\Z")
_CONSTANTS: Mapping[str, bool | None] = {"true": True, "false": False, "null": None, "~": None, "": None}
_CORE_TAG = "tag:yaml.org,2002:"


class Scalar(NamedTuple):
    value: str | int | float | bool | None
    position: Position


class Sequence(NamedTuple):
    items: tuple[Node, ...]
    position: Position


class Mapped(NamedTuple):
    """A YAML map: values by key, and where each key stands."""

    entries: Mapping[str, Node]
    keys: Mapping[str, Position]
    position: Position


Node = Scalar | Sequence | Mapped


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

    def line(self, position: Position) -> str | None:
        """The text of the line at `position`, without its end; None where there is none to show."""
        for file in self.files:
            if file.name == position.file and position.line:
                lines = file.text.split("\n")
                return lines[position.line - 1].rstrip("\r") if position.line <= len(lines) else None
        return None


def plain(node: Node) -> Any:
    """`node` as dicts, tuples and scalars, without places."""
    if isinstance(node, Scalar):
        return node.value
    if isinstance(node, Sequence):
        return tuple(plain(item) for item in node.items)
    return {key: plain(value) for key, value in node.entries.items()}


def merge(base: Node, over: Node) -> Node:
    """`over` laid on `base`, leaf by leaf: maps merge, lists and scalars of `over` replace; each keeps its place."""
    if not (isinstance(base, Mapped) and isinstance(over, Mapped)):
        return over
    entries = dict(base.entries)
    for key, value in over.entries.items():
        entries[key] = merge(entries[key], value) if key in entries else value
    return Mapped(entries, {**base.keys, **over.keys}, over.position)


def without(node: Mapped, *keys: str) -> Mapped:
    return Mapped({k: v for k, v in node.entries.items() if k not in keys}, node.keys, node.position)


def at(node: Node, path: tuple[str | int, ...]) -> tuple[Node, bool]:
    """The node at `path` below `node`, or its nearest ancestor that exists; and whether it was found itself."""
    for step in path:
        if isinstance(node, Mapped) and isinstance(step, str) and step in node.entries:
            node = node.entries[step]
        elif isinstance(node, Sequence) and isinstance(step, int) and step < len(node.items):
            node = node.items[step]
        else:
            return node, False
    return node, True


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
        name = "/".join((prefix, *path.relative_to(home).parts))
        data = _read(path, home, name, found)
        if data is not None:
            files.append(_source_file(name, data, known.get(name)))
    if not files and not found:
        found.append(error("P010", Position(os.fspath(root), 0, 0), f"no policies under {root}", "a folder of *.yaml"))
    return Sources(tuple(files), tuple(found))


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
        paths.extend(here / n for n in names if n.endswith((".yaml", ".yml")) and not n.startswith("."))
    return sorted(paths, key=lambda path: path.relative_to(root).parts)


def _unreadable(root: Path, prefix: str, problem: OSError) -> Diagnostic:
    where = Path(str(problem.filename)).relative_to(root).as_posix()
    return error("P001", Position(f"{prefix}/{where}", 0, 0), f"cannot be read: {problem.strerror}")


def _read(path: Path, home: Path, name: str, found: list[Diagnostic]) -> bytes | None:
    place = Position(name, 0, 0)
    try:
        if not path.resolve(strict=True).is_relative_to(home.resolve()):
            found.append(error("P009", place, f"{name} leads out of the policy folder", "a file of its own"))
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


def parse(text: str, file: str) -> tuple[tuple[Mapped, ...], tuple[Diagnostic, ...]]:
    """The documents of `text`, each a map; the first thing that is no YAML ends the reading of the file."""
    builder = _Builder(file)
    documents: list[Mapped] = []
    try:
        parser = yaml.CSafeLoader(text)
        try:
            for node in builder.documents(parser):
                if isinstance(node, Mapped):
                    documents.append(node)
                elif not (isinstance(node, Scalar) and node.value is None):
                    kind = type_name(node)
                    builder.found.append(error("P006", node.position, f"a document is a map, not a {kind}"))
        finally:
            parser.dispose()
    except _UnreadableError as stop:
        builder.found.append(stop.diagnostic)
    except yaml.YAMLError as problem:
        builder.found.append(_not_yaml(problem, text, file))
    return tuple(documents), tuple(builder.found)


def type_name(node: Node) -> str:
    """What people call the type of a YAML value."""
    if isinstance(node, Sequence):
        return "list"
    if isinstance(node, Mapped):
        return "map"
    return value_type(node.value)


def value_type(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list() | tuple():
            return "list"
    return "map"


class _UnreadableError(Exception):
    """Ends the reading of one file; carries the diagnostic."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        self.diagnostic = diagnostic


@dataclass(slots=True)
class _Builder:
    """Makes nodes of the parser's events, one file long.

    Built on events and not on PyYAML's composer, which crashes the process on 100,000 nested brackets; here depth and
    size are counted as the events come.
    """

    file: str
    found: list[Diagnostic] = field(default_factory=list)
    anchors: dict[str, tuple[Node, int]] = field(default_factory=dict)
    open_anchors: set[str] = field(default_factory=set)
    nodes: int = 0
    """Of the current document, aliases counted in full."""

    def documents(self, parser: Any) -> Iterator[Node]:
        while not isinstance(event := parser.get_event(), yaml.StreamEndEvent):
            if isinstance(event, yaml.DocumentStartEvent):
                self.anchors, self.open_anchors, self.nodes = {}, set(), 0
                yield self._node(parser, parser.get_event(), 0)

    def _node(self, parser: Any, event: Any, depth: int) -> Node:
        position = self._position(event.start_mark)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(str(event.anchor), position)
        self._count(1, position)
        if depth >= MAX_DEPTH and not isinstance(event, yaml.ScalarEvent):
            raise _UnreadableError(error("P004", position, f"nested over {MAX_DEPTH} deep"))
        before = self.nodes
        if event.anchor is not None:
            self.open_anchors.add(event.anchor)
        if isinstance(event, yaml.ScalarEvent):
            node: Node = self._scalar(event, position)
        elif isinstance(event, yaml.SequenceStartEvent):
            self._collection_tag(event.tag, "seq", position)
            node = self._sequence(parser, position, depth)
        else:
            self._collection_tag(event.tag, "map", position)
            node = self._mapping(parser, position, depth)
        if event.anchor is not None:
            self.open_anchors.discard(event.anchor)
            self.anchors[event.anchor] = node, self.nodes - before + 1
        return node

    def _sequence(self, parser: Any, position: Position, depth: int) -> Sequence:
        items: list[Node] = []
        while not isinstance(event := parser.get_event(), yaml.SequenceEndEvent):
            items.append(self._node(parser, event, depth + 1))
        return Sequence(tuple(items), position)

    def _mapping(self, parser: Any, position: Position, depth: int) -> Mapped:
        entries: dict[str, Node] = {}
        keys: dict[str, Position] = {}
        while not isinstance(event := parser.get_event(), yaml.MappingEndEvent):
            place = self._position(event.start_mark)
            if not isinstance(event, yaml.ScalarEvent):
                raise _UnreadableError(error("P001", place, "not YAML for a policy: a key is plain text"))
            self._count(1, place)
            key = event.value
            value = self._node(parser, parser.get_event(), depth + 1)
            if key in entries:
                self.found.append(error("P003", place, f"key '{_short(key)}' twice, first at {keys[key]}"))
                continue
            entries[key], keys[key] = value, place
        return Mapped(entries, keys, position)

    def _scalar(self, event: Any, position: Position) -> Scalar:
        text: str = event.value
        tag: str | None = event.tag
        if tag == f"{_CORE_TAG}str" or tag == "!" or (tag is None and not event.implicit[0]):
            return Scalar(text, position)
        if tag is not None and tag not in {f"{_CORE_TAG}{core}" for core in ("int", "float", "bool", "null")}:
            self._refuse_tag(tag, position)
            return Scalar(text, position)
        if text in _CONSTANTS:
            return Scalar(_CONSTANTS[text], position)
        if _INT.match(text):
            return Scalar(int(text), position)
        if _FLOAT.match(text):
            return Scalar(float(text), position)
        if _NO_NUMBER.match(text):
            self.found.append(error("P007", position, f"{text} is no number here"))
        return Scalar(text, position)

    def _alias(self, anchor: str, position: Position) -> Node:
        if anchor in self.open_anchors:
            raise _UnreadableError(
                error("P001", position, f"not YAML for a policy: *{anchor} stands inside its own anchor")
            )
        if anchor not in self.anchors:
            raise _UnreadableError(error("P001", position, f"not YAML: no anchor &{anchor} before this alias"))
        node, size = self.anchors[anchor]
        self._count(size, position)
        return node

    def _collection_tag(self, tag: str | None, core: str, position: Position) -> None:
        if tag not in (None, "!", f"{_CORE_TAG}{core}"):
            self._refuse_tag(str(tag), position)

    def _refuse_tag(self, tag: str, position: Position) -> None:
        shown = tag.replace(_CORE_TAG, "!!")
        self.found.append(error("P005", position, f"tag {_short(shown)} is not allowed", "leave the tag out"))

    def _count(self, nodes: int, position: Position) -> None:
        self.nodes += nodes
        if self.nodes > MAX_NODES:
            raise _UnreadableError(
                error("P004", position, f"over {MAX_NODES:,} values in one document, aliases counted in full")
            )

    def _position(self, mark: Any) -> Position:
        return Position(self.file, mark.line + 1, mark.column + 1)


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "…"


def _not_yaml(problem: yaml.YAMLError, text: str, file: str) -> Diagnostic:
    if isinstance(problem, yaml.MarkedYAMLError):
        mark = problem.problem_mark or problem.context_mark
        place = Position(file, mark.line + 1, mark.column + 1) if mark else Position(file, 1, 1)
        said = problem.problem or "unreadable"
        hint = "indent with spaces" if "\\t" in said or "'\t'" in said else ""
        return error("P001", place, f"not YAML: {said}", hint)
    index = getattr(problem, "position", 0) or 0
    before = text.encode()[:index].decode("utf-8", "replace")
    place = Position(file, before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)
    return error("P001", place, f"not YAML: {getattr(problem, 'reason', problem)}")
