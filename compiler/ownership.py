"""Who writes which field of which object: one writer for each, or a finding."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from json.encoder import encode_basestring_ascii as json_text
from typing import Any, NamedTuple

from compiler.diagnostics import Diagnostic, Position, error
from compiler.emit.object import Handover, Object, place

GIT = "git"


class Row(NamedTuple):
    """A field that git does not write."""

    object: str
    """Its key: `apps/v1/Deployment/ai-inference/llama-70b-1-0`."""
    group: str
    """Empty for the core's."""
    kind: str
    namespace: str | None
    """None for an object of the whole cluster."""
    name: str
    handover: Handover


def ledger(objects: Iterable[Object]) -> tuple[Row, ...]:
    """By object and field."""
    rows = (_row(item, handover) for item in objects for handover in item.handovers)
    return tuple(sorted(rows, key=_order))


def _order(row: Row) -> tuple[str, str, str]:
    return row.object, row.handover.field, row.handover.writer


def _row(item: Object, handover: Handover) -> Row:
    metadata = item.body["metadata"]
    names = metadata.get("namespace"), metadata["name"]
    return Row(item.key, group(item.body["apiVersion"]), item.body["kind"], *names, handover)


def group(api_version: str) -> str:
    """`apps` of `apps/v1`; empty for the core's `v1`."""
    return api_version.rpartition("/")[0]


def line(row: Row) -> str:
    """JSON, written out: `json.dumps` takes six times as long."""
    handover = row.handover
    texts = (row.object, handover.field, handover.writer, handover.manager, place(handover.origin))
    item, field, writer, manager, origin = map(json_text, texts)
    return f'{{"object": {item}, "field": {field}, "writer": {writer}, "manager": {manager}, "origin": {origin}}}'


def ledger_text(lines: Iterable[str]) -> str:
    """JSON with one row a line, so that a changed owner is a changed line. The same rows in any order give the same."""
    # Every line begins with the object and the field.
    rows = ",\n".join(f"  {text}" for text in sorted(lines))
    return f"[\n{rows}\n]\n" if rows else "[]\n"


def conflicts(objects: Iterable[Object]) -> Iterator[Diagnostic]:
    """P450 for every field that two write.

    Git writes what the manifest says, unless that is only what the object begins with. Whoever writes a map writes what
    is in it.
    """
    for item in objects:
        for index, handover in enumerate(item.handovers):
            for other in item.handovers[:index]:
                if _overlap(other.field, handover.field):
                    field = max(other.field, handover.field, key=len)
                    yield _conflict(item, field, handover, other.writer, other.origin)
            if not handover.initial and _says(item.body, handover.field):
                yield _conflict(item, handover.field, handover, GIT, item.origin)


def _overlap(one: str, other: str) -> bool:
    return one == other or one.startswith(f"{other}/") or other.startswith(f"{one}/")


def _conflict(item: Object, field: str, handover: Handover, other: str, where: Position) -> Diagnostic:
    places = f"{place(where)}, {place(handover.origin)}"
    said = f"{item.key}{field} is written by {other} and {handover.writer} ({places})"
    return error("P450", handover.origin, said, "one of them")


def _says(body: Mapping[str, Any], pointer: str) -> bool:
    """Whether there is a value at `pointer`. https://www.rfc-editor.org/rfc/rfc6901"""
    value: Any = body
    for step in (part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]):
        if isinstance(value, Mapping) and step in value:
            value = value[step]
        elif isinstance(value, list | tuple) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return False
    return True
