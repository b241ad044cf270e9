"""What is wrong with a policy, and where: data only. `report` renders it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Position(NamedTuple):
    """A place in a policy file. A tuple: every key and value of a fleet has one, and these are made quickest."""

    file: str
    """Path from the folder that holds the policy folder, `/` between parts: `policies/models.yaml`.

    It is the same however the command was called, so it may stand in rendered files.
    """
    line: int
    """From 1; 0 where the problem is the file or folder itself."""
    column: int
    """From 1, in characters; 0 where `line` is."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


BUILT_IN = Position("built-in", 0, 0)
"""Of what policy does not say: Turnout's own default."""


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding. Its code is explained in `docs/errors/<code>.md` and never reused."""

    code: str
    severity: Severity
    position: Position
    message: str
    hint: str = ""
    """What to do, in a few words; empty where the message says it."""


def error(code: str, position: Position, message: str, hint: str = "") -> Diagnostic:
    return Diagnostic(code, Severity.ERROR, position, message, hint)


def warning(code: str, position: Position, message: str, hint: str = "") -> Diagnostic:
    return Diagnostic(code, Severity.WARNING, position, message, hint)


def info(code: str, position: Position, message: str, hint: str = "") -> Diagnostic:
    return Diagnostic(code, Severity.INFO, position, message, hint)


def has_errors(diagnostics: tuple[Diagnostic, ...] | list[Diagnostic]) -> bool:
    return any(d.severity is Severity.ERROR for d in diagnostics)
