"""The log on standard error: a line an event, for people or as JSON.

Events are written as `log.info("policy loaded digest=%s models=%d", …)`. For people that is the line; in JSON each
`key=%s` is a field with the value as it was given, and what is left of the text is the event's name.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime

from compiler.diagnostics import Diagnostic, Severity
from compiler.report import printable

TEXT = "%(asctime)s %(levelname)s %(message)s"
FIELDS = "fields"
"""Attribute of a record: fields that its text says in words. One called `event` names it."""

_CONVERSION = re.compile(r"%[-#0+]*\d*(?:\.\d+)?[diouxXeEfFgGcrsa]")
_FIELD = re.compile(r"(\w+)=(.+)", re.DOTALL)

log = logging.getLogger(__name__)


def to_stderr(*, as_json: bool) -> None:
    """Before gRPC is loaded. As JSON there are no lines of its own for each handshake that fails: they
    are no JSON, name no peer, and whoever reaches the port can have as many written as they like. `GRPC_VERBOSITY`
    asks for them all the same."""
    if as_json:
        os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if as_json else TextFormatter(TEXT))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("watchfiles").setLevel(logging.WARNING)


class TextFormatter(logging.Formatter):
    """Part of what is told are other people's words, which may not begin a line of their own."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the library's name
        return printable(super().formatMessage(record))


class JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        event, fields = parted(record)
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": event,
            **fields,
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def parted(record: logging.LogRecord) -> tuple[str, Mapping[str, object]]:
    """The name of the event and its fields."""
    given = getattr(record, FIELDS, None)
    if given is not None:
        return str(given.get("event", record.getMessage())), {k: v for k, v in given.items() if k != "event"}
    template, args = str(record.msg), record.args
    if not args or not isinstance(args, tuple):
        return record.getMessage(), {}
    if not len(args) == len(_CONVERSION.findall(template)) == template.count("%"):
        return record.getMessage(), {}
    words, fields, values = [], dict[str, object](), list(args)
    for word in template.split(" "):
        count = len(_CONVERSION.findall(word))
        taken, values = tuple(values[:count]), values[count:]
        if (found := _FIELD.fullmatch(word)) is None:
            words.append(word % taken)
        else:
            fields[found[1]] = _value(found[2], taken)
    return " ".join(words), fields


def _value(template: str, taken: tuple[object, ...]) -> object:
    """Numbers stay numbers, rounded as in the text."""
    if len(taken) == 1 and _CONVERSION.fullmatch(template):
        (value,) = taken
        if isinstance(value, float):
            return float(template % taken)
        return value if isinstance(value, bool | int) or value is None else str(value)
    return template % taken


def tell(found: Diagnostic) -> None:
    """A problem of the policies, as an event of its own."""
    level = logging.ERROR if found.severity is Severity.ERROR else logging.WARNING
    place = {"file": found.position.file, "line": found.position.line, "column": found.position.column}
    fields = {"event": "policy problem", "code": found.code, **place, "message": found.message, "hint": found.hint}
    log.log(level, "%s: %s %s", found.position, found.code, found.message, extra={FIELDS: fields})
