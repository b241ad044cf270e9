"""What pydantic finds wrong with a document, in words for the person who wrote it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from compiler.diagnostics import Diagnostic, Position, error
from compiler.kinds.part import part_of
from compiler.kinds.values import quoted
from compiler.nodes import (
    Loc,
    Mapped,
    Node,
    Scalar,
    Sequence,
    article,
    at,
    dotted,
    key_position,
    plain,
    told,
    type_name,
    value_type,
)
from compiler.quantity import bytes_text
from compiler.spelling import LIKELY, nearest

K = TypeVar("K", bound=BaseModel)

MOST_PROBLEMS = 1_000
"""That are told of one document; a hint for each of 50,000 unknown keys would take a minute."""


def validated(kind: type[K], node: Mapped, found: list[Diagnostic]) -> K | None:
    """The document `node` as one of `kind`; None when it is not valid, and why is reported."""
    nulls = dict(_nulls(node, ())) if _holds_null(node) else {}
    problems = list(nulls.values())
    try:
        body = kind.model_validate(plain(node))
    except ValidationError as invalid:
        details = [d for d in invalid.errors(include_url=False) if d["loc"] not in nulls]
        problems += [schema_problem(d, kind, node) for d in details[:MOST_PROBLEMS] if not _emptied(d)]
    found.extend(problems)
    return None if problems else body


def _holds_null(node: Mapped | Sequence) -> bool:
    """Most documents hold none, and to keep the way to every value in mind takes longest."""
    for item in node.items if isinstance(node, Sequence) else node.entries.values():
        if item.value is None if isinstance(item, Scalar) else _holds_null(item):
            return True
    return False


def _nulls(node: Node, loc: Loc) -> Iterator[tuple[Loc, Diagnostic]]:
    if isinstance(node, Scalar):
        if node.value is None:
            said = f"{told(loc)}: null is no value here"
            yield loc, error("P102", node.position, said, "leave the key out for the default")
    elif isinstance(node, Sequence):
        for index, item in enumerate(node.items):
            yield from _nulls(item, (*loc, index))
    else:
        for key, value in node.entries.items():
            yield from _nulls(value, (*loc, key))


def _emptied(details: ErrorDetails) -> bool:
    """Whether a list only counts as empty because none of its items is valid."""
    return details["type"] == "too_short" and bool(details["input"])


def _schema_at(schema: type[BaseModel], loc: Loc) -> type[BaseModel] | None:
    for step in loc:
        if isinstance(step, int):
            continue
        fields = {info.alias or name: info for name, info in schema.model_fields.items()}
        part = part_of(fields[step].annotation) if step in fields else None
        if part is None:
            return None
        schema = part
    return schema


def schema_problem(details: ErrorDetails, kind: type[BaseModel], root: Mapped) -> Diagnostic:
    """What pydantic found in the document `root`, in the words and at the place of whoever wrote it."""
    loc: Loc = tuple(step for step in details["loc"] if step != "[key]")
    node, exact = at(root, loc)
    context: dict[str, Any] = details.get("ctx", {})
    name, code = told(loc), details["type"]
    if code == "missing":
        parent = at(root, loc[:-1])[0]
        return error("P113", parent.position, f"'{name}' is missing", _missing_hint(loc))
    if code == "extra_forbidden":
        return _unknown_field(loc, kind, root)
    if code[0] == "P" and code[1:].isdigit():
        place = key_position(root, loc) if details["loc"][-1:] == ("[key]",) else node.position
        return error(code, place, f"{name}: {context['message']}", context["hint"])
    if code == "literal_error" and isinstance(value := details["input"], str):
        return _not_one_of(name, value, _literals(context["expected"]), node.position)
    wanted = _WANTED.get(code)
    if wanted is not None or code == "literal_error":
        return _wrong_type(name, details["input"], wanted or "string", node if exact else None, node.position)
    return error("P104", node.position, f"{name}: {_outside(details, node)}")


_WANTED = {
    "string_type": "string",
    "int_type": "integer",
    "int_from_float": "integer",
    "float_type": "number",
    "decimal_type": "number",
    "bool_type": "boolean",
    "tuple_type": "list",
    "list_type": "list",
    "dict_type": "map",
    "model_type": "map",
    "model_attributes_type": "map",
    "is_instance_of": "string",
    "time_delta_type": "duration",
}


def _unknown_field(loc: Loc, kind: type[BaseModel], root: Mapped) -> Diagnostic:
    schema = _schema_at(kind, loc[:-1])
    key = str(loc[-1])
    fields = [info.alias or name for name, info in schema.model_fields.items()] if schema else []
    elsewhere = next(_places(kind, key, ()), None)
    hint = (
        nearest(key, fields, LIKELY)
        or (f"did you mean '{elsewhere}'?" if elsewhere else "")
        or nearest(key, fields)
        or (f"fields: {', '.join(fields)}" if fields else "")
    )
    if key == "<<":
        hint = "YAML 1.2 has no merge keys: Platform.defaults, or a version of the model"
    return error("P101", key_position(root, loc), f"unknown field '{told(loc)}'", hint)


def _places(schema: type[BaseModel], key: str, loc: Loc) -> Iterator[str]:
    """Where else below `schema` a field called `key` exists."""
    for name, info in schema.model_fields.items():
        alias = info.alias or name
        if alias == key:
            yield dotted((*loc, alias))
        elif (part := part_of(info.annotation)) is not None:
            yield from _places(part, key, (*loc, alias))


def _not_one_of(name: str, value: str, allowed: list[str], place: Position) -> Diagnostic:
    said = f"{name}: {quoted(value)} is not one of {', '.join(allowed)}"
    return error("P103", place, said, nearest(value, allowed))


def _wrong_type(name: str, value: object, wanted: str, node: Node | None, place: Position) -> Diagnostic:
    shown = described(node) if node is not None else repr(value)
    got = type_name(node) if node is not None else value_type(value)
    hint = ""
    if wanted == "string" and got in ("integer", "number", "boolean"):
        hint = f'"{shown}"'
    elif wanted == "boolean" and isinstance(value, str):
        hint = {"yes": "true", "on": "true", "no": "false", "off": "false"}.get(value.lower(), "true or false")
    elif wanted in ("integer", "number") and isinstance(value, str) and value.replace("_", "").isdigit():
        hint = str(int(value.replace("_", "")))
    elif wanted == "duration" and got == "integer":
        hint = f"{shown}s"
    elif wanted == "list":
        hint = f"[{shown}]" if isinstance(value, str) else "items in [ ], or each behind a -"
    elif wanted == "map":
        hint = "key: value"
    what = f"{shown} is {article(got)}" if isinstance(node, Scalar) else f"this is {article(got)}"
    return error("P102", place, f"{name}: {what}, not {article(wanted)}", hint)


def _outside(details: ErrorDetails, node: Node) -> str:
    context: dict[str, Any] = details.get("ctx", {})
    shown = described(node)
    match details["type"]:
        case "greater_than_equal":
            return f"{shown} is out of range: at least {_bound(context['ge'], node)}"
        case "greater_than":
            return f"{shown} is out of range: more than {_bound(context['gt'], node)}"
        case "less_than_equal":
            return f"{shown} is out of range: at most {_bound(context['le'], node)}"
        case "less_than":
            return f"{shown} is out of range: less than {_bound(context['lt'], node)}"
        case "string_too_short" | "too_short":
            return "it is empty"
    return f"{shown}: {details['msg']}"


def _bound(value: object, node: Node) -> str:
    written_with_unit = isinstance(node, Scalar) and isinstance(node.value, str)
    return bytes_text(value) if isinstance(value, int) and written_with_unit else str(value)


def _missing_hint(loc: Loc) -> str:
    return {
        "metadata": "metadata: {name: …}",
        "modelName": "the weights' id, as in modelName: org/name",
        "spec": "spec: {…}",
    }.get(str(loc[-1]), "")


def _literals(expected: str) -> list[str]:
    # Pydantic writes the allowed values as "'a', 'b' or 'c'".
    return [part for part in expected.split("'") if part and part not in (", ", " or ")]


def described(node: Node) -> str:
    """`node` as it stands in an error: a scalar as written, a collection by its size."""
    if isinstance(node, Scalar):
        if isinstance(node.value, str):
            return quoted(node.value)
        return "null" if node.value is None else node.text
    count = len(node.items) if isinstance(node, Sequence) else len(node.entries)
    return f"a {type_name(node)} of {count}"
