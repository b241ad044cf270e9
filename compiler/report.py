"""Diagnostics for people, programs and GitHub."""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Callable, Container, Iterable
from pathlib import Path

from compiler.diagnostics import Diagnostic, Position, Severity
from compiler.source import Sources

Painter = Callable[[str, str], str]

MOST_BLOCKS = 200
"""Of one report in text: nobody reads more at a time."""
SECRET_IN_POLICY = "P110"
"""Lines with such a finding are not shown: reports end up in logs."""

_COLOURS = {Severity.ERROR: "\033[1;31m", Severity.WARNING: "\033[1;33m", Severity.INFO: "\033[1;36m"}
_BOLD, _BLUE, _END = "\033[1m", "\033[34m", "\033[0m"


def text(diagnostics: Iterable[Diagnostic], sources: Sources, root: Path, colour: bool) -> str:
    """One block a finding: place, code and message, the line with a mark under the value, the hint.

    Places are paths from the working folder when `root` is, so that terminals and editors can open them.
    """
    found = list(diagnostics)
    secret = {(d.position.file, d.position.line) for d in found if d.code == SECRET_IN_POLICY}
    blocks = "".join(_block(d, sources, root, colour, secret) for d in found[:MOST_BLOCKS])
    rest = len(found) - MOST_BLOCKS
    return f"{blocks}… and {rest:,} more; --format json lists them all\n" if rest > 0 else blocks


def _block(
    diagnostic: Diagnostic, sources: Sources, root: Path, colour: bool, secret: Container[tuple[str, int]]
) -> str:
    paint = _painter(colour)
    place, severity = diagnostic.position, diagnostic.severity
    word = "" if severity is Severity.ERROR else f"{severity}: "
    code = paint(_COLOURS[severity], diagnostic.code)
    lines = [f"{paint(_BOLD, printable(shown(place, root)))}: {code} {word}{printable(diagnostic.message)}"]
    line = None if (place.file, place.line) in secret else sources.line(place)
    number = str(place.line)
    margin = " " * len(number)
    if line is not None:
        visible, mark = _window(line, place.column)
        lines.append(f"{paint(_BLUE, f'{number} |')} {visible}".rstrip())
        lines.append(f"{margin} {paint(_BLUE, '|')} {' ' * mark}{paint(_COLOURS[severity], '^')}")
    if diagnostic.hint:
        lines.append(f"{margin} {paint(_BLUE, '=')} hint: {printable(diagnostic.hint)}")
    return "\n".join(lines) + "\n"


def _window(line: str, column: int, width: int = 120) -> tuple[str, int]:
    """A part of `line` short enough for a terminal, and how many cells into it the mark goes."""
    start = 0 if column <= width - 20 else column - width // 2
    visible = printable(line[start : start + width].replace("\t", " "))
    return visible, sum(map(_cells, visible[: column - 1 - start]))


def _cells(character: str) -> int:
    """How wide a terminal shows it: Chinese and most emoji take two cells, accents of their own none."""
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def printable(words: str) -> str:
    """`words` on one line, and without signs that would command the terminal."""
    return "".join(c if c.isprintable() else "�" for c in words)


def _painter(colour: bool) -> Painter:
    return (lambda code, words: f"{code}{words}{_END}") if colour else (lambda _, words: words)


def shown(position: Position, root: Path) -> str:
    """`position` as a path that can be opened from the working folder."""
    home = root if root.is_dir() else root.parent
    prefix = home.resolve().name
    if position.file != prefix and not position.file.startswith(f"{prefix}/"):
        return str(position)
    file = os.path.normpath(home / position.file[len(prefix) + 1 :])
    return str(Position(file, position.line, position.column))


def summary(diagnostics: Iterable[Diagnostic]) -> str:
    """`2 errors, 1 warning`, or `no problems`."""
    severities = [d.severity for d in diagnostics]
    counts = [(severities.count(s), s) for s in Severity]
    said = [f"{n} {s}{'s' if n > 1 and s is not Severity.INFO else ''}" for n, s in counts if n]
    return ", ".join(said) or "no problems"


def as_json(diagnostics: Iterable[Diagnostic], root: Path) -> str:
    """`{"diagnostics": [{code, severity, file, line, column, message, hint}, …]}`; line and column 0 mean the file."""
    return json_text([document(d, root) for d in diagnostics])


def json_text(documents: list[dict[str, str | int]]) -> str:
    return json.dumps({"diagnostics": documents}, indent=2, ensure_ascii=False) + "\n"


def document(diagnostic: Diagnostic, root: Path) -> dict[str, str | int]:
    place = diagnostic.position
    return {
        "code": diagnostic.code,
        "severity": str(diagnostic.severity),
        "file": shown(Position(place.file, 0, 0), root),
        "line": place.line,
        "column": place.column,
        "message": diagnostic.message,
        "hint": diagnostic.hint,
    }


def github(diagnostics: Iterable[Diagnostic], root: Path) -> str:
    """Workflow commands: GitHub shows each finding at its line of the pull request."""
    return "".join(_annotation(d, root) for d in diagnostics)


def _annotation(diagnostic: Diagnostic, root: Path) -> str:
    level = "notice" if diagnostic.severity is Severity.INFO else str(diagnostic.severity)
    place = diagnostic.position
    file = shown(Position(place.file, 0, 0), root)
    where = f"file={_property(file)}" + (f",line={place.line},col={place.column}" if place.line else "")
    message = f"{diagnostic.message} ({diagnostic.hint})" if diagnostic.hint else diagnostic.message
    return f"::{level} {where},title={diagnostic.code}::{_escape(message)}\n"


def _escape(words: str) -> str:
    return words.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(words: str) -> str:
    return _escape(words).replace(":", "%3A").replace(",", "%2C")
