"""JSON Schemas of the kinds, for completion and checks in editors (yaml-language-server)."""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from compiler.kinds import KINDS
from compiler.kinds.measures import duration_text
from compiler.kinds.part import Part

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schemas() -> Mapping[str, str]:
    """By file name: a schema for each kind, and `policy.json` that takes any of them."""
    kinds = {kind.__name__: _schema(kind) for kind in KINDS}
    files = {f"{name}.json": schema for name, schema in kinds.items()}
    files["policy.json"] = _any(kinds)
    return {name: json.dumps(schema, indent=2, ensure_ascii=False) + "\n" for name, schema in files.items()}


class _Generator(GenerateJsonSchema):
    def encode_default(self, dft: Any) -> Any:
        """As policy would write it: pydantic writes PT10S, and null for what is left out."""
        return duration_text(dft) if isinstance(dft, timedelta) else _without_nulls(super().encode_default(dft))


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _schema(kind: type[Part]) -> dict[str, Any]:
    schema = kind.model_json_schema(by_alias=True, schema_generator=_Generator)
    words = dict(_docstrings())
    for name, part in [(kind.__name__, schema), *schema.get("$defs", {}).items()]:
        for field, described in part.get("properties", {}).items():
            if (name, field) in words:
                described.setdefault("description", words[name, field])
    return {"$schema": _DIALECT, **_tidy(schema)}


def _tidy(schema: Any) -> Any:
    """Without what pydantic adds: titles, null as a value, and defaults of maps, which their fields have already."""
    if isinstance(schema, list):
        return [_tidy(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {
        key: {name: _tidy(value) for name, value in part.items()} if key in ("properties", "$defs") else _tidy(part)
        for key, part in schema.items()
        if not (key == "title" and isinstance(part, str))
        and not (key == "default" and (part is None or "$ref" in schema))
    }
    options = [option for option in kept.pop("anyOf", []) if option != {"type": "null"}]
    return {**options[0], **kept} if len(options) == 1 else {**kept, "anyOf": options} if options else kept


def _any(kinds: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Chosen by `kind`, so that an editor completes the fields of the kind at hand and not of all."""
    definitions = {name: part for schema in kinds.values() for name, part in schema["$defs"].items()}
    bodies = {
        name: {k: v for k, v in schema.items() if k not in ("$schema", "$defs")} for name, schema in kinds.items()
    }
    chosen = [
        {"if": {"properties": {"kind": {"const": name}}, "required": ["kind"]}, "then": {"$ref": f"#/$defs/{name}"}}
        for name in bodies
    ]
    return {
        "$schema": _DIALECT,
        "title": "Turnout policy",
        "type": "object",
        "required": ["apiVersion", "kind", "metadata"],
        "properties": {"kind": {"enum": sorted(bodies)}},
        "allOf": chosen,
        "$defs": {**definitions, **bodies},
    }


def _docstrings() -> Iterator[tuple[tuple[str, str], str]]:
    """The strings under the fields of every schema, by class and field as policy spells it.

    Pydantic can do this itself at import, but that reads every module's source at each start of the command.
    """
    for part in _parts(Part):
        for base in reversed(part.__mro__):  # a class's own words come after those it inherits
            if issubclass(base, Part) and base is not Part:
                tree = ast.parse(inspect.getsource(base))
                yield from _fields(part, tree.body[0])


def _parts(base: type[Part]) -> Iterator[type[Part]]:
    for part in base.__subclasses__():
        yield part
        yield from _parts(part)


def _fields(part: type[Part], body: ast.stmt) -> Iterator[tuple[tuple[str, str], str]]:
    assert isinstance(body, ast.ClassDef)
    for field, words in zip(body.body, body.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(words, ast.Expr)
            and isinstance(words.value, ast.Constant)
            and field.target.id in part.model_fields
        ):
            alias = part.model_fields[field.target.id].alias or field.target.id
            yield (part.__name__, alias), inspect.cleandoc(str(words.value.value))
