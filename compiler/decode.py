"""Documents to policies: each checked against its kind's schema, with a place for every finding."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, Generic, NamedTuple, TypeVar

from pydantic import BaseModel

from compiler import foreign
from compiler.by_name import by_name
from compiler.diagnostics import BUILT_IN, Diagnostic, Position, error, warning
from compiler.kept import Kept
from compiler.kinds import API_VERSION, KINDS, InferenceModel, Platform
from compiler.kinds.inference_model import InferenceModelSpec
from compiler.kinds.part import part_of
from compiler.nodes import Loc, Mapped, Node, Scalar, Sequence, at, dotted, key_position, merge, plain, without
from compiler.schema_problems import described, validated
from compiler.spelling import nearest

K = TypeVar("K", bound=BaseModel)
Names = Mapping[type[BaseModel], frozenset[str]]
"""By kind."""


_BY_NAME = {kind.__name__: kind for kind in KINDS}
_FOREIGN = {name: _BY_NAME[name] for name in foreign.KINDS}


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
        return key_position(self.node, loc)

    def either(self, loc: Loc, first: str, second: str) -> Position:
        """Where one of two values below `loc` stands that do not fit each other: the first, unless it is a default."""
        return self.at(*loc, first if self.wrote(*loc, first) else second)

    def wrote(self, *loc: str | int) -> bool:
        """Whether policy gives the value at `loc`; False for a built-in default."""
        return at(self.node, loc)[1]

    def said(self, *loc: str | int) -> Position:
        """Where policy gives the value at `loc`; `BUILT_IN` for a default."""
        node, given = at(self.node, loc)
        return node.position if given else BUILT_IN


@dataclass(frozen=True, slots=True)
class Policies:
    """All documents of a fleet, by kind."""

    portions: tuple[Portion, ...]
    """The same by file."""
    platform: Policy[Platform] | None
    by_kind: Mapping[type[BaseModel], Mapping[str, Policy[Any]]]
    """By name, in the order of the names."""
    versions: Mapping[str, tuple[Policy[InferenceModel], ...]]
    """For each model with `versions`, the model as each of them sees it: its spec with the version's values laid on."""
    names: Names
    """Of every document, the invalid ones too: a reference to one of those is not dangling."""
    complete: bool
    """Whether every document could be read as one of a kind; if not, a name that none has may be that document's."""

    @property
    def platform_known(self) -> bool:
        """Whether Platform's settings are those that policy means; if not, what depends on them cannot be judged."""
        return self.platform is not None or (self.complete and not self.names[Platform])

    def of(self, kind: type[K]) -> Mapping[str, Policy[K]]:
        """By name, in the order of the names."""
        return self.by_kind[kind]


class Portion(NamedTuple):
    """Some of a fleet's documents, decoded. What they are in each other's eyes is for `decode` and linking to say."""

    policies: Mapping[type[BaseModel], tuple[tuple[str, Policy[Any]], ...]]
    """The valid ones with their names, as they stand one after the other."""
    versions: tuple[tuple[str, tuple[Policy[InferenceModel], ...]], ...]
    """As in `Policies`."""
    names: Names
    complete: bool
    found: tuple[Diagnostic, ...]
    place: Position
    """Of the first document."""

    def of(self, kind: type[K]) -> tuple[tuple[str, Policy[K]], ...]:
        return self.policies.get(kind, ())


def decode(
    files: Iterable[tuple[Mapped, ...]], complete: bool = True, kept: Kept | None = None
) -> tuple[Policies, list[Diagnostic]]:
    """The valid ones of the documents of `files`, and what is wrong with the others. Their order does not matter.

    Foreign documents are rewritten first, so that nothing after this line knows of them.
    `complete` says that no document is missing because its file could not be read.
    """
    kept = kept or Kept()
    found: list[Diagnostic] = []
    files, refused = foreign.native(files, kept, found)
    files = tuple(documents for documents in files if documents)
    platform, defaults = _platform(files, kept, found)
    portions = kept.each(_portion, files, defaults, using=(kept,))
    whole = kept.stretches(_together, portions, using=(kept,))
    found.extend(finding for portion in whole for finding in portion.found)
    policies: dict[type[BaseModel], Mapping[str, Policy[Any]]] = {
        kind: _unique(kind, kept.joined([portion.of(kind) for portion in whole]), kept, found) for kind in KINDS
    }
    versions = by_name(kept, "versions", kept.joined([portion.versions for portion in whole]))
    names = [portion.names for portion in whole]
    known = kept.last("names", (*names, *refused), _all_names, (names, refused))
    complete = complete and all(portion.complete for portion in whole)
    return Policies(portions, platform, policies, versions, known, complete), list(dict.fromkeys(found))


def _platform(
    files: tuple[tuple[Mapped, ...], ...], kept: Kept, found: list[Diagnostic]
) -> tuple[Policy[Platform] | None, Mapped | None]:
    """The platform, and what it sets for all models. Reports all but what is wrong with each document for itself."""
    nodes = kept.chained(_platforms, files)
    platforms = [policy for node in nodes if (policy := kept.reported([], _policy, Platform, node)) is not None]
    if not platforms:
        return None, None
    for extra in platforms[1:]:
        first = platforms[0].at("metadata", "name")
        place = extra.at("metadata", "name")
        found.append(error("P204", place, f"Platform twice, first at {first}", "one for the whole fleet"))
    defaults, given = at(platforms[0].node, ("spec", "defaults"))
    return platforms[0], defaults if isinstance(defaults, Mapped) and given else None


def _platforms(documents: tuple[Mapped, ...]) -> tuple[Mapped, ...]:
    return tuple(document for document in documents if _kind_said(document, []) is Platform)


def _portion(documents: tuple[Mapped, ...], defaults: Mapped | None, kept: Kept) -> Portion:
    found: list[Diagnostic] = []
    policies: dict[type[BaseModel], list[tuple[str, Policy[Any]]]] = {}
    versions: list[tuple[str, tuple[Policy[InferenceModel], ...]]] = []
    names: dict[type[BaseModel], set[str]] = {}
    complete = True
    for document in documents:
        kind = kept.reported(found, _kind, document)
        if kind is None:
            complete = False
            continue
        node = document
        if kind is InferenceModel and defaults is not None:
            node = kept.of(_with_defaults, document, defaults)
        if (name := _name(node)) is not None:
            names.setdefault(kind, set()).add(name)
        policy = kept.reported(found, _policy, kind, node)
        if policy is None:
            continue
        policies.setdefault(kind, []).append((policy.body.metadata.name, policy))
        if kind is InferenceModel and policy.body.spec.versions:
            versions.append((policy.body.metadata.name, kept.reported(found, _versions, policy)))
    return Portion(
        {kind: tuple(those) for kind, those in policies.items()},
        tuple(versions),
        {kind: frozenset(those) for kind, those in names.items()},
        complete,
        tuple(found),
        documents[0].position,
    )


def _kind(document: Mapped, found: list[Diagnostic]) -> type[BaseModel] | None:
    """The kind whose schema the document is to meet; reports what of it has no effect yet."""
    kind = _kind_said(document, found)
    if kind is not None:
        found.extend(_later(kind, document, ()))
    return kind


def _kind_said(document: Mapped, found: list[Diagnostic]) -> type[BaseModel] | None:
    version, kind = document.entries.get("apiVersion"), document.entries.get("kind")
    language = version.value if isinstance(version, Scalar) else None
    kinds = _FOREIGN if language == foreign.API_VERSION else _BY_NAME
    if version is None:
        found.append(error("P113", document.position, "'apiVersion' is missing", f"apiVersion: {API_VERSION}"))
    elif language not in (API_VERSION, foreign.API_VERSION):
        said = f"unknown apiVersion {described(version)}"
        found.append(error("P114", version.position, said, f"did you mean '{API_VERSION}'?"))
    if kind is None:
        found.append(error("P113", document.position, "'kind' is missing", f"one of {', '.join(sorted(kinds))}"))
        return None
    known = kind.value if isinstance(kind, Scalar) else None
    if known not in kinds:
        where = f" of {foreign.API_VERSION}" if language == foreign.API_VERSION else ""
        hint = nearest(known, kinds) or f"one of {', '.join(sorted(kinds))}"
        found.append(error("P114", kind.position, f"unknown kind {described(kind)}{where}", hint))
        return None
    return kinds[known] if language == API_VERSION else None


def _policy(kind: type[K], node: Mapped, found: list[Diagnostic]) -> Policy[K] | None:
    body = validated(kind, node, found)
    return None if body is None else Policy(body, node)


def _name(node: Mapped) -> str | None:
    name, exact = at(node, ("metadata", "name"))
    return name.text if exact and isinstance(name, Scalar) else None


def _with_defaults(node: Mapped, defaults: Mapped) -> Mapped:
    spec = node.entries.get("spec")
    if not isinstance(spec, Mapped):
        return node
    return _with_spec(node, merge(defaults, spec))


def _versions(policy: Policy[InferenceModel], found: list[Diagnostic]) -> tuple[Policy[InferenceModel], ...]:
    """The policy once for each of its versions, with `version` set to the version's name."""
    spec = policy.node.entries["spec"]
    assert isinstance(spec, Mapped)  # the schema says so
    entries, inherited = spec.entries["versions"], without(spec, "versions", "version")
    assert isinstance(entries, Sequence)
    result = []
    for entry in entries.items:
        assert isinstance(entry, Mapped)
        own = without(entry, "name", "weight")
        merged = merge(inherited, own)
        named = Mapped({**merged.entries, "version": entry.entries["name"]}, merged.keys, entry.position)
        body = _version(policy, named, own, found)
        if body is not None:
            result.append(Policy(body, _with_spec(policy.node, named)))
    return tuple(result)


def _version(
    policy: Policy[InferenceModel], spec: Mapped, own: Mapped, found: list[Diagnostic]
) -> InferenceModel | None:
    """`policy` with `spec`, of which only what `own` lays on it is checked: the rest is valid, and shared, as most of a
    fleet's memory would be copies of it.
    """
    name = spec.entries["version"]
    assert isinstance(name, Scalar)
    update: dict[str, Any] = {"version": name.value, "versions": None}
    if own.entries:
        said = {key: spec.entries[key] for key in ("modelName", *own.entries)}
        checked = validated(InferenceModel, _with_spec(policy.node, Mapped(said, spec.keys, spec.position)), found)
        if checked is None:
            return None
        update |= {field: getattr(checked.spec, field) for field in _fields_of(own)}
    return policy.body.model_copy(update={"spec": policy.body.spec.model_copy(update=update)})


def _with_spec(document: Mapped, spec: Mapped) -> Mapped:
    return Mapped({**document.entries, "spec": spec}, document.keys, document.position)


def _fields_of(own: Mapped) -> Iterator[str]:
    return (name for name, info in InferenceModelSpec.model_fields.items() if (info.alias or name) in own.entries)


def _together(portions: tuple[Portion, ...], kept: Kept) -> Portion:
    place = portions[0].place
    names = _union(portion.names for portion in portions)
    return Portion(
        {kind: tuple(chain.from_iterable([portion.of(kind) for portion in portions])) for kind in names},
        tuple(chain.from_iterable([portion.versions for portion in portions])),
        # Most edits leave them as they are.
        kept.same(("names", place), names),
        all(portion.complete for portion in portions),
        tuple(chain.from_iterable([portion.found for portion in portions])),
        place,
    )


def _unique(
    kind: type[BaseModel], policies: tuple[tuple[str, Policy[Any]], ...], kept: Kept, found: list[Diagnostic]
) -> Mapping[str, Policy[Any]]:
    """All policies by name, in the order of the names; a name that comes again is an error and dropped."""
    if kind is Platform:
        policies = policies[:1]  # `_platform` has told of others
    first = by_name(kept, kind.__name__, policies)
    for name, policy in policies if len(first) < len(policies) else ():
        if policy is not first[name]:
            place, before = policy.at("metadata", "name"), first[name].at("metadata", "name")
            found.append(error("P204", place, f"{kind.__name__} '{name}' twice, first at {before}", "another name"))
    return first


def _all_names(names: Iterable[Names], refused: tuple[Mapped, ...]) -> Names:
    """`refused` are documents of which no more than their names counts."""
    theirs: list[Names] = [
        {_BY_NAME[plain(node.entries["kind"])]: frozenset({name})}
        for node in refused
        if (name := _name(node)) is not None
    ]
    found = _union((*names, *theirs))
    return {kind: found.get(kind, frozenset()) for kind in KINDS}


def _union(several: Iterable[Names]) -> Names:
    found: dict[type[BaseModel], list[frozenset[str]]] = {}
    for names in several:
        for kind, own in names.items():
            found.setdefault(kind, []).append(own)
    return {kind: frozenset().union(*those) for kind, those in found.items()}


def _later(schema: type[BaseModel], node: Node, loc: Loc) -> Iterator[Diagnostic]:
    """P116 for every key in `node` whose field has no effect yet."""
    if not isinstance(node, Mapped):
        return
    of_note = _of_note(schema)
    for key, value in node.entries.items():
        if key not in of_note:
            continue
        inner = of_note[key]
        if inner is None:
            said = f"'{dotted((*loc, key))}' has no effect in this version of turnout"
            yield warning("P116", node.keys[key], said)
        elif isinstance(value, Sequence):
            for index, item in enumerate(value.items):
                yield from _later(inner, item, (*loc, key, index))
        else:
            yield from _later(inner, value, (*loc, key))


@functools.cache
def _of_note(schema: type[BaseModel]) -> Mapping[str, type[BaseModel] | None]:
    """The fields of `schema`, as policy spells them, that have no effect yet, and, with their parts, those that hold
    such fields."""
    result: dict[str, type[BaseModel] | None] = {}
    for name, info in schema.model_fields.items():
        extra, inner = info.json_schema_extra, part_of(info.annotation)
        if isinstance(extra, dict) and extra.get("x-later"):
            result[info.alias or name] = None
        elif inner is not None and _of_note(inner):
            result[info.alias or name] = inner
    return result
