"""The tables of docs/policies: every field of a kind with its type, default and meaning, from the JSON Schema."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from compiler.schema import schemas

BEGIN, END = "<!-- fields -->", "<!-- end of fields -->"
DESCRIBED_ELSEWHERE = {"DefaultsSpec": "[InferenceModel](InferenceModel.md)"}
_DURATION = "^[0-9]+(ms|s|m|h)$"


def table(kind: str) -> str:
    """The fields of `kind`, down to the leaves; a shape that comes again is told by where it came first."""
    schema = json.loads(schemas()[f"{kind}.json"])
    rows = "".join(f"| {' | '.join(row)} |\n" for row in _rows(schema, schema["$defs"], "", {}))
    return f"| Field | Type | Default | Meaning |\n|-|-|-|-|\n{rows}"


def with_table(page: str, kind: str) -> str:
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table(kind)}{END}{after}"


def _rows(
    part: Mapping[str, Any], shapes: Mapping[str, Any], path: str, seen: dict[str, str]
) -> Iterator[tuple[str, str, str, str]]:
    for name, field in part["properties"].items():
        here = f"{path}.{name}" if path else name
        if here == "kind":
            continue
        required = name in part.get("required", ())
        words = field["description"].replace("|", "\\|").replace("\n", " ")
        shape = _shape(field)
        if shape is None:
            yield f"`{here}`", _type(field, shapes), _default(field, required), words
            continue
        inside = here + {"array": "[]", "object": ".<name>"}.get(field.get("type", ""), "")
        known = DESCRIBED_ELSEWHERE.get(shape) or (f"`{seen[shape]}`" if shape in seen else "")
        kind = _type(field, shapes) + (f", as {known}" if known else "")
        yield f"`{here}`", kind, _default(field, required), words
        if not known:
            seen[shape] = inside
            yield from _rows(shapes[shape], shapes, inside, seen)


def _shape(field: Mapping[str, Any]) -> str | None:
    """The part that `field` holds, itself, as items of a list or as values of a map."""
    holder = field.get("items") or field.get("additionalProperties") or field
    reference = holder.get("$ref") if isinstance(holder, dict) else None
    return reference.rsplit("/", 1)[1] if reference else None


def _type(field: Mapping[str, Any], shapes: Mapping[str, Any]) -> str:
    if "$ref" in field:
        return "map"
    if field.get("type") == "array":
        return f"list of {_plural(_type(field['items'], shapes))}"
    if field.get("type") == "object":
        values = field.get("additionalProperties", True)
        return f"map of {_plural(_type(values, shapes))}" if isinstance(values, dict) else "map"
    if "enum" in field:
        return "one of " + ", ".join(field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    if field.get("pattern") == _DURATION:
        return "duration"
    if "anyOf" in field:
        return "quantity"
    return str(field.get("type", "any")) + _range(field)


def _plural(noun: str) -> str:
    first, space, rest = noun.partition(" ")
    return noun if first == "one" else {"any": "any", "quantity": "quantities"}.get(first, f"{first}s") + space + rest


def _range(field: Mapping[str, Any]) -> str:
    least, most = field.get("minimum"), field.get("maximum")
    if least is not None and most is not None:
        return f" {least}-{most}"
    if least is not None:
        return f" from {least}"
    return f" over {field['exclusiveMinimum']}" if "exclusiveMinimum" in field else ""


def _default(field: Mapping[str, Any], required: bool) -> str:
    if required:
        return "required"
    if "default" not in field or field["default"] in ([], {}):
        return ""
    value = field["default"]
    return f"`{value}`" if isinstance(value, str) else f"`{json.dumps(value, ensure_ascii=False)}`"
