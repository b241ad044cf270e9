"""YAML text to nodes that remember where they were written.

Read by the rules of YAML 1.2: `on`, `1:30`, `0755`, `12_000` and dates are strings, `true` and `false` are the only
booleans. Anchors and aliases work within bounds; tags and merge keys do not.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from sys import intern
from typing import Any, NamedTuple

import yaml
from yaml import MappingEndEvent, MappingStartEvent, ScalarEvent, SequenceEndEvent

from compiler.diagnostics import Diagnostic, Position, error
from compiler.nodes import Mapped, Node, Scalar, Sequence, article, type_name

MAX_DEPTH = 100
MAX_NODES = 100_000
"""Of one document, aliases counted in full."""
MAX_NODES_OF_FILE = 500_000
MAX_DOCUMENTS = 10_000
"""Of one file."""
MAX_PROBLEMS = 1_000
"""Of one file, as YAML; what comes after them is not read."""

_INT = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]{1,3})?\Z")
_NO_NUMBER = re.compile(r"[-+]?\.(inf|Inf|INF|nan|NaN|NAN)\Z")
_CONSTANTS: Mapping[str, bool | None] = {"true": True, "false": False, "null": None, "~": None, "": None}
_NUMERIC = frozenset("+-.0123456789")
_ENDS = frozenset(".0123456789fFnN")
"""What a number begins and ends with, `.inf` and `.nan` too: most values are words, or have a unit, and matching each
takes longest."""
_CORE_TAG = "tag:yaml.org,2002:"
_LINE_END = re.compile("\r\n|[\n\r\x85\u2028\u2029]")


@lru_cache(maxsize=4)
def lines(text: str) -> list[str]:
    """`text` by lines, as the parser counts them."""
    return _LINE_END.split(text)


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
                    builder.refuse_document(node)
        finally:
            parser.dispose()
    except _UnreadableError as stop:
        builder.found.append(stop.diagnostic)
    except yaml.YAMLError as problem:
        builder.found.append(_not_yaml(problem, text, file))
    return tuple(documents), tuple(builder.found)


def resolve(text: str) -> str | int | float | bool | None:
    """The value of a plain scalar: YAML 1.2's core schema, less its spellings that policies have no use for."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if text[0] not in _NUMERIC or text[-1] not in _ENDS:
        return text
    if _INT.match(text):
        return int(text)
    return float(text) if _FLOAT.match(text) else text


_placed, _scalar = partial(tuple.__new__, Position), partial(tuple.__new__, Scalar)
"""Each of a tuple of its parts. By its name it would take twice as long, and every key has one, every value both."""


class _UnreadableError(Exception):
    """Ends the reading of one file; carries the diagnostic."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        self.diagnostic = diagnostic


class _Anchored(NamedTuple):
    node: Node
    size: int
    """Nodes in it, itself included."""
    height: int
    """Levels below it."""


def _too_deep(position: Position) -> _UnreadableError:
    return _UnreadableError(error("P004", position, f"nested over {MAX_DEPTH} deep", "policies need about ten levels"))


@dataclass(slots=True)
class _Builder:
    """Makes nodes of the parser's events, one file long.

    Built on events and not on PyYAML's composer, which crashes the process on 100,000 nested brackets; here depth and
    size are counted as the events come.
    """

    file: str
    found: list[Diagnostic] = field(default_factory=list)
    anchors: dict[str, _Anchored] = field(default_factory=dict)
    open_anchors: set[str] = field(default_factory=set)
    nodes: int = 0
    """Of the file so far, aliases counted in full."""
    most: int = MAX_NODES
    """Of those, to the end of the current document."""
    deepest: int = 0
    """The greatest depth within the node at hand, aliases followed."""

    def documents(self, parser: Any) -> Iterator[Node]:
        seen = 0
        while not isinstance(event := parser.get_event(), yaml.StreamEndEvent):
            if isinstance(event, yaml.DocumentStartEvent):
                seen += 1
                if seen > MAX_DOCUMENTS:
                    said = f"over {MAX_DOCUMENTS:,} documents in one file"
                    mark: Any = event.start_mark
                    place = Position(self.file, mark.line + 1, mark.column + 1)
                    raise _UnreadableError(error("P004", place, said, "several files"))
                self.anchors, self.open_anchors = {}, set()
                self.most = min(self.nodes + MAX_NODES, MAX_NODES_OF_FILE)
                yield self._node(parser, parser.get_event(), 0)

    def refuse_document(self, node: Node) -> None:
        said = f"a document is a map, not {article(type_name(node))}"
        self._report(error("P006", node.position, said, "apiVersion, kind, metadata and spec"))

    def _node(self, parser: Any, event: Any, depth: int) -> Node:
        mark = event.start_mark
        position = _placed((self.file, mark.line + 1, mark.column + 1))
        self.nodes += 1
        if self.nodes > self.most:
            raise self._too_many(position)
        if event.anchor is None:
            if type(event) is ScalarEvent:
                if event.tag is None:
                    text = intern(event.value)
                    quoted = not event.implicit[0]
                    if quoted or (text not in _CONSTANTS and (text[0] not in _NUMERIC or text[-1] not in _ENDS)):
                        return _scalar((text, position, text))
                return self._scalar_of(event, position)
            return self._collection(parser, event, position, depth)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(str(event.anchor), position, depth)
        return self._anchored(parser, event, position, depth)

    def _anchored(self, parser: Any, event: Any, position: Position, depth: int) -> Node:
        before, deepest = self.nodes, self.deepest
        self.deepest = depth
        self.open_anchors.add(event.anchor)
        if isinstance(event, yaml.ScalarEvent):
            node: Node = self._scalar_of(event, position)
        else:
            node = self._collection(parser, event, position, depth)
        self.open_anchors.discard(event.anchor)
        self.anchors[event.anchor] = _Anchored(node, self.nodes - before + 1, self.deepest - depth)
        self.deepest = max(deepest, self.deepest)
        return node

    def _collection(self, parser: Any, event: Any, position: Position, depth: int) -> Sequence | Mapped:
        if depth >= MAX_DEPTH:
            raise _too_deep(position)
        below = depth + 1
        if below > self.deepest:
            self.deepest = below
        is_map = type(event) is MappingStartEvent
        if event.tag is not None:
            self._collection_tag(event.tag, "map" if is_map else "seq", position)
        return self._mapping(parser, position, below) if is_map else self._sequence(parser, position, below)

    def _sequence(self, parser: Any, position: Position, below: int) -> Sequence:
        items: list[Node] = []
        while type(event := parser.get_event()) is not SequenceEndEvent:
            items.append(self._node(parser, event, below))
        return Sequence(tuple(items), position)

    def _mapping(self, parser: Any, position: Position, below: int) -> Mapped:
        entries: dict[str, Node] = {}
        keys: dict[str, Position] = {}
        file, next_event, node = self.file, parser.get_event, self._node
        while type(event := next_event()) is not MappingEndEvent:
            mark = event.start_mark
            place = _placed((file, mark.line + 1, mark.column + 1))
            if type(event) is not ScalarEvent:
                raise _UnreadableError(error("P001", place, "not YAML for a policy: a key is plain text", "key: value"))
            if event.anchor is None and event.tag is None:
                self.nodes += 1
            else:
                node(parser, event, below)
            key = intern(event.value)  # text, whatever it looks like; a fleet has each some thousand times
            value = node(parser, next_event(), below)
            if key in entries:
                said = f"key '{_short(key)}' twice, first at {keys[key]}"
                self._report(error("P003", place, said, "delete one"))
                continue
            entries[key], keys[key] = value, place
        return Mapped(entries, keys, position)

    def _scalar_of(self, event: Any, position: Position) -> Scalar:
        text = intern(event.value)
        tag: str | None = event.tag
        if tag == f"{_CORE_TAG}str" or tag == "!" or (tag is None and not event.implicit[0]):
            return Scalar(text, position, text)
        if tag is not None and tag not in {f"{_CORE_TAG}{core}" for core in ("int", "float", "bool", "null")}:
            self._refuse_tag(tag, position)
            return Scalar(text, position, text)
        value = resolve(text)
        if math.isinf(value) if type(value) is float else value is text and _NO_NUMBER.match(text):
            self._report(error("P007", position, f"{_short(text)} is no number here", "a number, or leave the key out"))
        return _scalar((value, position, text))

    def _alias(self, anchor: str, position: Position, depth: int) -> Node:
        if anchor in self.open_anchors:
            raise _UnreadableError(
                error("P001", position, f"not YAML for a policy: *{anchor} stands inside its own anchor")
            )
        if anchor not in self.anchors:
            raise _UnreadableError(
                error("P001", position, f"not YAML: no anchor &{anchor} before this alias in its document")
            )
        known = self.anchors[anchor]
        self.nodes += known.size - 1  # the alias itself is counted
        if self.nodes > self.most:
            raise self._too_many(position)
        if depth + known.height > MAX_DEPTH:
            raise _too_deep(position)
        self.deepest = max(self.deepest, depth + known.height)
        return known.node

    def _collection_tag(self, tag: str, core: str, position: Position) -> None:
        if tag not in ("!", f"{_CORE_TAG}{core}"):
            self._refuse_tag(tag, position)

    def _refuse_tag(self, tag: str, position: Position) -> None:
        shown = tag.replace(_CORE_TAG, "!!")
        self._report(error("P005", position, f"tag {_short(shown)} is not allowed", "leave the tag out"))

    def _report(self, problem: Diagnostic) -> None:
        self.found.append(problem)
        if len(self.found) >= MAX_PROBLEMS:
            said = f"over {MAX_PROBLEMS:,} problems: what follows is not read"
            raise _UnreadableError(error("P001", problem.position, f"not YAML for a policy: {said}"))

    def _too_many(self, position: Position) -> _UnreadableError:
        of_file = self.most == MAX_NODES_OF_FILE
        limit, what, more = (MAX_NODES_OF_FILE, "file", "files") if of_file else (MAX_NODES, "document", "documents")
        said = f"over {limit:,} values in one {what}, aliases counted in full"
        return _UnreadableError(error("P004", position, said, f"several {more}, fewer aliases"))


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "…"


def _not_yaml(problem: yaml.YAMLError, text: str, file: str) -> Diagnostic:
    if isinstance(problem, yaml.MarkedYAMLError):
        mark = problem.problem_mark or problem.context_mark
        line, column = (mark.line, mark.column) if mark else (0, 0)
        said = problem.problem or "unreadable"
        hint = _hint(said, text, line, column)
        if said in _UNCLOSED and problem.context_mark:
            hint += f"; it begins at line {problem.context_mark.line + 1}"
        return error("P001", Position(file, line + 1, column + 1), f"not YAML: {said}", hint)
    index = getattr(problem, "position", 0) or 0
    before = _LINE_END.split(text.encode()[:index].decode("utf-8", "replace"))
    place = Position(file, len(before), len(before[-1]) + 1)
    return error("P001", place, f"not YAML: {getattr(problem, 'reason', problem)}", "is this a text file?")


def _hint(said: str, text: str, line: int, column: int) -> str:
    rows = lines(text)
    found = rows[line][column : column + 1] if line < len(rows) else ""
    if "cannot start any token" in said:
        return "indent with spaces" if found == "\t" else f"text that begins with {found} needs quotes"
    return "indent with spaces" if "tab character" in said else _HINTS.get(said, "")


_HINTS = {
    "mapping values are not allowed in this context": "one key on a line; text with ': ' in it needs quotes",
    "could not find expected ':'": "a colon and a space after each key",
    "did not find expected key": "the keys of one map begin in one column",
    "did not find expected <document start>": "--- between documents",
    "did not find expected ',' or '}'": "commas between the entries of a { }",
    "did not find expected ',' or ']'": "commas between the items of a [ ]",
    "did not find expected node content": "a value is missing",
    "found unexpected end of stream": "a quote is not closed",
    "found incompatible YAML document": "leave the %YAML line out",
}
"""By libyaml's words for a problem: what the writer can do."""
_UNCLOSED = frozenset(said for said in _HINTS if "',' or" in said or "end of stream" in said)
