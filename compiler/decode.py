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
from compiler.kinds.values import bytes_text, duration_text, quoted
from compiler.nodes import Mapped, Node, Scalar, Sequence, article, at, merge, plain, type_name, value_type, without

Loc = tuple[str | int, ...]
K = TypeVar("K", bound=BaseModel)

MOST_PROBLEMS = 1_000
"""That are told of one document; a hint for each of 50,000 unknown keys would take a minute."""
LONGEST_WORD = 60
"""Longer ones are no misspellings of a field or value, and comparing them takes long."""
LIKELY, POSSIBLE = 0.85, 0.6
"""How alike two words are, from 0 to 1: a slip of the pen, and a guess."""


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

    def either(self, loc: Loc, first: str, second: str) -> Position:
        """Where one of two values below `loc` stands that do not fit each other: the first, unless it is a default."""
        return self.at(*loc, first if self.wrote(*loc, first) else second)

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
    complete: bool
    """Whether every document could be read as one of a kind; if not, a name that none has may be that document's."""

    @property
    def platform_known(self) -> bool:
        """Whether Platform's settings are those that policy means; if not, what depends on them cannot be judged."""
        return self.platform is not None or (self.complete and not self.names[Platform])

    def of(self, kind: type[K]) -> tuple[Policy[K], ...]:
        return self.by_kind[kind]


def decode(documents: Iterable[Mapped], complete: bool = True) -> tuple[Policies, list[Diagnostic]]:
    """The valid ones of `documents`, and what is wrong with the others. Order of documents does not matter.

    `complete` says that no document is missing because its file could not be read.
    """
    found: list[Diagnostic] = []
    by_kind: dict[type[BaseModel], list[Mapped]] = {kind: [] for kind in KINDS}
    for document in documents:
        kind = _kind(document, found)
        if kind is None:
            complete = False
        else:
            by_kind[kind].append(document)
            found.extend(_later(kind, document, ()))
    platforms = _valid(Platform, by_kind[Platform], found)
    for extra in platforms[1:]:
        first = platforms[0].at("metadata", "name")
        place = extra.at("metadata", "name")
        found.append(error("P204", place, f"Platform twice, first at {first}", "one for the whole fleet"))
    platform = platforms[0] if platforms else None
    defaults, given = at(platform.node, ("spec", "defaults")) if platform else (None, False)
    if isinstance(defaults, Mapped) and given:
        by_kind[InferenceModel] = [_with_defaults(node, defaults) for node in by_kind[InferenceModel]]
    policies: dict[type[BaseModel], tuple[Policy[Any], ...]] = {Platform: tuple(platforms[:1])}
    for kind in KINDS:
        if kind is not Platform:
            policies[kind] = _unique(kind, _valid(kind, by_kind[kind], found), found)
    versions = {p.body.metadata.name: _versions(p, found) for p in policies[InferenceModel] if p.body.spec.versions}
    names = {kind: frozenset(_names(nodes)) for kind, nodes in by_kind.items()}
    return Policies(platform, policies, versions, names, complete), list(dict.fromkeys(found))


def _kind(document: Mapped, found: list[Diagnostic]) -> type[BaseModel] | None:
    version, kind = document.entries.get("apiVersion"), document.entries.get("kind")
    names = {k.__name__: k for k in KINDS}
    if version is None:
        found.append(error("P113", document.position, "'apiVersion' is missing", f"apiVersion: {API_VERSION}"))
    elif plain(version) != API_VERSION:
        said = f"unknown apiVersion {_shown(version)}"
        found.append(error("P114", version.position, said, f"did you mean '{API_VERSION}'?"))
    if kind is None:
        found.append(error("P113", document.position, "'kind' is missing", f"one of {', '.join(sorted(names))}"))
        return None
    known = plain(kind) if isinstance(kind, Scalar) else None
    if known not in names:
        hint = _did_you_mean(known, names) or f"one of {', '.join(sorted(names))}"
        found.append(error("P114", kind.position, f"unknown kind {_shown(kind)}", hint))
        return None
    return names[known] if version is not None and plain(version) == API_VERSION else None


def _policy(kind: type[K], node: Mapped, found: list[Diagnostic]) -> Policy[K] | None:
    nulls = dict(_nulls(node, ()))
    problems = list(nulls.values())
    try:
        body = kind.model_validate(plain(node))
    except ValidationError as invalid:
        details = [d for d in invalid.errors(include_url=False) if d["loc"] not in nulls]
        problems += [_diagnostic(d, kind, node) for d in details[:MOST_PROBLEMS] if not _emptied(d)]
    found.extend(problems)
    return None if problems else Policy(body, node)


def _emptied(details: ErrorDetails) -> bool:
    """Whether a list only counts as empty because none of its items is valid."""
    return details["type"] == "too_short" and bool(details["input"])


def _valid(kind: type[BaseModel], nodes: Iterable[Mapped], found: list[Diagnostic]) -> list[Policy[Any]]:
    return [policy for node in nodes if (policy := _policy(kind, node, found)) is not None]


def _names(nodes: Iterable[Mapped]) -> Iterator[str]:
    for node in nodes:
        name, exact = at(node, ("metadata", "name"))
        if exact and isinstance(name, Scalar):
            yield name.text


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
    name, code = told(loc), details["type"]
    if code == "missing":
        parent = at(root, loc[:-1])[0]
        return error("P113", parent.position, f"'{name}' is missing", _missing_hint(loc))
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
    elsewhere = next(_places(kind, key, ()), None)
    hint = (
        _did_you_mean(key, fields, LIKELY)
        or (f"did you mean '{elsewhere}'?" if elsewhere else "")
        or _did_you_mean(key, fields)
        or (f"fields: {', '.join(fields)}" if fields else "")
    )
    if key == "<<":
        hint = "YAML 1.2 has no merge keys: Platform.defaults, or a version of the model"
    return error("P101", _key_position(root, loc), f"unknown field '{told(loc)}'", hint)


def _places(schema: type[BaseModel], key: str, loc: Loc) -> Iterator[str]:
    """Where else below `schema` a field called `key` exists."""
    for name, info in schema.model_fields.items():
        alias = info.alias or name
        if alias == key:
            yield dotted((*loc, alias))
        elif (part := _part(info.annotation)) is not None:
            yield from _places(part, key, (*loc, alias))


def _not_one_of(name: str, value: str, allowed: list[str], place: Position) -> Diagnostic:
    said = f"{name}: {quoted(value)} is not one of {', '.join(allowed)}"
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
    shown = _shown(node)
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
    if isinstance(value, timedelta):
        return duration_text(value)
    written_with_unit = isinstance(node, Scalar) and isinstance(node.value, str)
    return bytes_text(value) if isinstance(value, int) and written_with_unit else str(value)


def _key_position(root: Mapped, loc: Loc) -> Position:
    parent = at(root, loc[:-1])[0]
    if isinstance(parent, Mapped) and loc and loc[-1] in parent.keys:
        return parent.keys[str(loc[-1])]
    return parent.position


def _missing_hint(loc: Loc) -> str:
    return {
        "metadata": "metadata: {name: …}",
        "modelName": "the weights' id, as in modelName: org/name",
        "spec": "spec: {…}",
    }.get(str(loc[-1]), "")


def _did_you_mean(value: object, candidates: Iterable[str], likeness: float = POSSIBLE) -> str:
    if not isinstance(value, str) or len(value) > LONGEST_WORD:
        return ""
    folded = {candidate.lower(): candidate for candidate in candidates}
    close = difflib.get_close_matches(value.lower(), folded, n=1, cutoff=likeness)
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


def told(loc: Loc) -> str:
    """`dotted` for a message: without the length that keys may have by mistake."""
    return dotted(tuple(step[:57] + "…" if isinstance(step, str) and len(step) > 60 else step for step in loc))


def _shown(node: Node) -> str:
    """`node` as it stands in an error: a scalar as written, a collection by its size."""
    if isinstance(node, Scalar):
        if isinstance(node.value, str):
            return quoted(node.value)
        return "null" if node.value is None else node.text
    count = len(node.items) if isinstance(node, Sequence) else len(node.entries)
    return f"a {type_name(node)} of {count}"
