"""Documents to policies: each checked against its kind's schema, with a place for every finding."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from compiler.diagnostics import Diagnostic, Position, error, warning
from compiler.kinds import API_VERSION, KINDS, InferenceModel, Platform
from compiler.kinds.values import duration_text
from compiler.nodes import Mapped, Node, Scalar, Sequence, at, merge, plain, type_name, value_type, without

Loc = tuple[str | int, ...]
K = TypeVar("K", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Policy(Generic[K]):
    """One document, valid by itself."""

    body: K
    node: Mapped
    """What `body` was made of, with places: for a model, Platform's defaults are merged in."""

    def at(self, *loc: str | int) -> Position:
        """Where the value at `loc` stands; where its nearest ancestor does, when it is a default."""
        return at(self.node, loc)[0].position

    def key(self, *loc: str | int) -> Position:
        """Where the key of the value at `loc` stands."""
        return _key_position(self.node, loc)

    def wrote(self, *loc: str | int) -> bool:
        """Whether policy gives the value at `loc`; False for a built-in default."""
        return at(self.node, loc)[1]


@dataclass(frozen=True, slots=True)
class Policies:
    """All documents of a fleet, by kind."""

    platform: Policy[Platform] | None
    by_kind: dict[type[BaseModel], tuple[Policy[Any], ...]]
    versions: dict[str, tuple[Policy[InferenceModel], ...]]
    """For each model with `versions`, the model as each of them sees it: its spec with the version's values laid on."""
    names: dict[type[BaseModel], frozenset[str]]
    """Of every document, the invalid ones too: a reference to one of those is not dangling."""

    def of(self, kind: type[K]) -> tuple[Policy[K], ...]:
        return self.by_kind[kind]


def decode(documents: Iterable[Mapped]) -> tuple[Policies, list[Diagnostic]]:
    """The valid ones of `documents`, and what is wrong with the others. Order of documents does not matter."""
    found: list[Diagnostic] = []
    by_kind: dict[type[BaseModel], list[Mapped]] = {kind: [] for kind in KINDS}
    for document in documents:
        kind = _kind(document, found)
        if kind is not None:
            by_kind[kind].append(document)
    platforms = _valid(Platform, by_kind[Platform], found)
    for extra in platforms[1:]:
        first = platforms[0].at("metadata", "name")
        place = extra.at("metadata", "name")
        found.append(error("P204", place, f"Platform '{extra.body.metadata.name}' twice, first at {first}"))
    platform = platforms[0] if platforms else None
    defaults, complete = at(platform.node, ("spec", "defaults")) if platform else (None, False)
    if isinstance(defaults, Mapped) and complete:
        by_kind[InferenceModel] = [_with_defaults(node, defaults) for node in by_kind[InferenceModel]]
    policies: dict[type[BaseModel], tuple[Policy[Any], ...]] = {Platform: tuple(platforms[:1])}
    for kind in KINDS:
        if kind is not Platform:
            policies[kind] = _unique(kind, _valid(kind, by_kind[kind], found), found)
    versions = {p.body.metadata.name: _versions(p, found) for p in policies[InferenceModel] if p.body.spec.versions}
    names = {kind: frozenset(_names(nodes)) for kind, nodes in by_kind.items()}
    return Policies(platform, policies, versions, names), list(dict.fromkeys(found))


def _kind(document: Mapped, found: list[Diagnostic]) -> type[BaseModel] | None:
    for key in ("apiVersion", "kind"):
        if key not in document.entries:
            found.append(error("P113", document.position, f"'{key}' is missing"))
            return None
    version, kind = document.entries["apiVersion"], document.entries["kind"]
    if plain(version) != API_VERSION:
        shown = _shown(version)
        found.append(error("P114", version.position, f"unknown apiVersion {shown}", f"did you mean '{API_VERSION}'?"))
        return None
    names = {k.__name__: k for k in KINDS}
    value = plain(kind)
    if isinstance(value, str) and value in names:
        return names[value]
    hint = _did_you_mean(value, names) or f"one of {', '.join(sorted(names))}"
    found.append(error("P114", kind.position, f"unknown kind {_shown(kind)}", hint))
    return None


def _policy(kind: type[K], node: Mapped, found: list[Diagnostic]) -> Policy[K] | None:
    problems = list(_nulls(node, ()))
    if not problems:
        try:
            body = kind.model_validate(plain(node))
        except ValidationError as invalid:
            problems = [_diagnostic(details, kind, node) for details in invalid.errors(include_url=False)]
    found.extend(_later(kind, node, ()))
    found.extend(problems)
    return None if problems else Policy(body, node)


def _valid(kind: type[BaseModel], nodes: Iterable[Mapped], found: list[Diagnostic]) -> list[Policy[Any]]:
    return [policy for node in nodes if (policy := _policy(kind, node, found)) is not None]


def _names(nodes: Iterable[Mapped]) -> Iterator[str]:
    for node in nodes:
        name, exact = at(node, ("metadata", "name"))
        if exact and isinstance(name, Scalar) and isinstance(name.value, str):
            yield name.value


def _with_defaults(node: Mapped, defaults: Mapped) -> Mapped:
    spec = node.entries.get("spec")
    if not isinstance(spec, Mapped):
        return node
    return Mapped({**node.entries, "spec": merge(defaults, spec)}, node.keys, node.position)


def _versions(policy: Policy[InferenceModel], found: list[Diagnostic]) -> tuple[Policy[InferenceModel], ...]:
    """The policy once for each of its versions, with `version` set to the version's name."""
    spec = policy.node.entries["spec"]
    assert isinstance(spec, Mapped)  # the schema says so
    entries = spec.entries["versions"]
    assert isinstance(entries, Sequence)
    result = []
    for entry in entries.items:
        assert isinstance(entry, Mapped)
        own = without(entry, "name", "weight")
        merged = merge(without(spec, "versions", "version"), own)
        assert isinstance(merged, Mapped)
        named = Mapped({**merged.entries, "version": entry.entries["name"]}, merged.keys, entry.position)
        node = Mapped({**policy.node.entries, "spec": named}, policy.node.keys, policy.node.position)
        version = _policy(InferenceModel, node, found)
        if version is not None:
            result.append(version)
    return tuple(result)


def _unique(kind: type[K], policies: list[Policy[Any]], found: list[Diagnostic]) -> tuple[Policy[Any], ...]:
    """`policies` by name; a name that comes again is an error and dropped."""
    first: dict[str, Policy[Any]] = {}
    for policy in policies:
        name, place = policy.body.metadata.name, policy.at("metadata", "name")
        if name in first:
            before = first[name].at("metadata", "name")
            found.append(error("P204", place, f"{kind.__name__} '{name}' twice, first at {before}", "another name"))
        else:
            first[name] = policy
    return tuple(first[name] for name in sorted(first))


def _nulls(node: Node, loc: Loc) -> Iterator[Diagnostic]:
    if isinstance(node, Scalar):
        if node.value is None:
            said = f"{dotted(loc)}: null is no value here"
            yield error("P102", node.position, said, "leave the key out for the default")
    elif isinstance(node, Sequence):
        for index, item in enumerate(node.items):
            yield from _nulls(item, (*loc, index))
    else:
        for key, value in node.entries.items():
            yield from _nulls(value, (*loc, key))


def _later(schema: type[BaseModel], node: Node, loc: Loc) -> Iterator[Diagnostic]:
    """P116 for every key in `node` whose field has no effect yet."""
    if not isinstance(node, Mapped):
        return
    for name, info in schema.model_fields.items():
        key = info.alias or name
        if key not in node.entries:
            continue
        extra = info.json_schema_extra
        if isinstance(extra, dict) and extra.get("x-later"):
            said = f"'{dotted((*loc, key))}' has no effect in this version of turnout"
            yield warning("P116", node.keys[key], said)
            continue
        inner = _part(info.annotation)
        value = node.entries[key]
        if inner is not None:
            items = enumerate(value.items) if isinstance(value, Sequence) else [(None, value)]
            for index, item in items:
                yield from _later(inner, item, (*loc, key) if index is None else (*loc, key, index))


def _part(annotation: Any) -> type[BaseModel] | None:
    """The schema that `annotation` holds: itself, as an option, or as the items of a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in typing.get_args(annotation):
        if (part := _part(argument)) is not None:
            return part
    return None


def _schema_at(schema: type[BaseModel], loc: Loc) -> type[BaseModel] | None:
    for step in loc:
        if isinstance(step, int):
            continue
        fields = {info.alias or name: info for name, info in schema.model_fields.items()}
        part = _part(fields[step].annotation) if step in fields else None
        if part is None:
            return None
        schema = part
    return schema


def _diagnostic(details: ErrorDetails, kind: type[BaseModel], root: Mapped) -> Diagnostic:
    loc: Loc = tuple(step for step in details["loc"] if step != "[key]")
    node, exact = at(root, loc)
    context: dict[str, Any] = details.get("ctx", {})
    name, code = dotted(loc), details["type"]
    if code == "missing":
        parent = at(root, loc[:-1])[0]
        return error("P113", parent.position, f"'{dotted(loc)}' is missing", _missing_hint(loc))
    if code == "extra_forbidden":
        return _unknown_field(loc, kind, root)
    if code[0] == "P" and code[1:].isdigit():
        place = _key_position(root, loc) if details["loc"][-1:] == ("[key]",) else node.position
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
    hint = _did_you_mean(key, fields)
    if not hint and (place := next(_places(kind, key, ()), None)):
        hint = f"did you mean '{place}'?"
    if key == "<<":
        hint = "YAML 1.2 has no merge keys: Platform.defaults, or a version of the model"
    return error("P101", _key_position(root, loc), f"unknown field '{dotted(loc)}'", hint)


def _places(schema: type[BaseModel], key: str, loc: Loc) -> Iterator[str]:
    """Where else below `schema` a field called `key` exists."""
    for name, info in schema.model_fields.items():
        alias = info.alias or name
        if alias == key:
            yield dotted((*loc, alias))
        elif (part := _part(info.annotation)) is not None:
            yield from _places(part, key, (*loc, alias))


def _not_one_of(name: str, value: str, allowed: list[str], place: Position) -> Diagnostic:
    said = f"{name}: '{value}' is not one of {', '.join(allowed)}"
    return error("P103", place, said, _did_you_mean(value, allowed))


def _wrong_type(name: str, value: object, wanted: str, node: Node | None, place: Position) -> Diagnostic:
    shown = _shown(node) if node is not None else repr(value)
    got = type_name(node) if node is not None else value_type(value)
    hint = ""
    if wanted == "string" and got in ("integer", "number", "boolean"):
        hint = f'"{shown}"'
    elif wanted == "boolean" and isinstance(value, str):
        hint = {"yes": "true", "on": "true", "no": "false", "off": "false"}.get(value.lower(), "true or false")
    elif wanted in ("integer", "number") and isinstance(value, str) and value.replace("_", "").isdigit():
        hint = str(int(value.replace("_", "")))
    elif wanted == "duration":
        hint = "60s, not 60"
    elif wanted == "list":
        hint = f"[{shown}]" if isinstance(value, str) else "- item"
    article = "an" if got[0] in "aeiou" else "a"
    wanted_article = "an" if wanted[0] in "aeiou" else "a"
    return error("P102", place, f"{name}: {shown} is {article} {got}, not {wanted_article} {wanted}", hint)


def _outside(details: ErrorDetails, node: Node) -> str:
    context: dict[str, Any] = details.get("ctx", {})
    shown = _shown(node)
    match details["type"]:
        case "greater_than_equal":
            return f"{shown} is outside: at least {_bound(context['ge'])}"
        case "greater_than":
            return f"{shown} is outside: more than {_bound(context['gt'])}"
        case "less_than_equal":
            return f"{shown} is outside: at most {_bound(context['le'])}"
        case "less_than":
            return f"{shown} is outside: less than {_bound(context['lt'])}"
        case "string_too_short" | "too_short":
            return f"{shown} is empty"
        case "string_pattern_mismatch":
            return f"{shown} is outside {context['pattern']}"
    return f"{shown}: {details['msg']}"


def _bound(value: object) -> str:
    return duration_text(value) if isinstance(value, timedelta) else str(value)


def _key_position(root: Mapped, loc: Loc) -> Position:
    parent = at(root, loc[:-1])[0]
    if isinstance(parent, Mapped) and loc and loc[-1] in parent.keys:
        return parent.keys[str(loc[-1])]
    return parent.position


def _missing_hint(loc: Loc) -> str:
    return "the weights' id, as in modelName: org/name" if loc[-1] == "modelName" else ""


def _did_you_mean(value: object, candidates: Iterable[str]) -> str:
    if not isinstance(value, str):
        return ""
    folded = {candidate.lower(): candidate for candidate in candidates}
    close = difflib.get_close_matches(value.lower(), folded, n=1, cutoff=0.6)
    return f"did you mean '{folded[close[0]]}'?" if close else ""


def _literals(expected: str) -> list[str]:
    # Pydantic writes the allowed values as "'a', 'b' or 'c'".
    return [part for part in expected.split("'") if part and part not in (", ", " or ")]


def dotted(loc: Loc) -> str:
    """`spec.versions[0].weight`."""
    text = ""
    for step in loc:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def _shown(node: Node) -> str:
    """`node` as it stands in an error: a scalar as written, a collection by its size."""
    if isinstance(node, Scalar):
        if isinstance(node.value, str):
            return repr(node.value if len(node.value) <= 60 else node.value[:57] + "…")
        return {True: "true", False: "false", None: "null"}.get(node.value, str(node.value))  # type: ignore[arg-type]
    count = len(node.items) if isinstance(node, Sequence) else len(node.entries)
    return f"a {type_name(node)} of {count}"
