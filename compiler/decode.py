"""Documents to policies: each checked against its kind's schema, with a place for every finding."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from compiler import foreign
from compiler.diagnostics import BUILT_IN, Diagnostic, Position, error, warning
from compiler.kept import Kept
from compiler.kinds import API_VERSION, KINDS, InferenceModel, Platform
from compiler.kinds.part import part_of
from compiler.nodes import Loc, Mapped, Node, Scalar, Sequence, at, dotted, key_position, merge, plain, without
from compiler.schema_problems import described, validated
from compiler.spelling import nearest

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

    platform: Policy[Platform] | None
    by_kind: Mapping[type[BaseModel], Mapping[str, Policy[Any]]]
    """By name, in the order of the names."""
    versions: Mapping[str, tuple[Policy[InferenceModel], ...]]
    """For each model with `versions`, the model as each of them sees it: its spec with the version's values laid on."""
    names: Mapping[type[BaseModel], frozenset[str]]
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


def decode(
    documents: Iterable[Mapped], complete: bool = True, kept: Kept | None = None
) -> tuple[Policies, list[Diagnostic]]:
    """The valid ones of `documents`, and what is wrong with the others. Order of documents does not matter.

    Foreign documents are rewritten first, so that nothing after this line knows of them.
    `complete` says that no document is missing because its file could not be read.
    """
    kept = kept or Kept()
    found: list[Diagnostic] = []
    by_kind: dict[type[BaseModel], list[Mapped]] = {kind: [] for kind in KINDS}
    written, refused = foreign.native(documents, kept, found)
    for document in written:
        kind = kept.reported(found, _kind, document)
        if kind is None:
            complete = False
        else:
            by_kind[kind].append(document)
    platforms = _valid(Platform, by_kind[Platform], kept, found)
    for extra in platforms[1:]:
        first = platforms[0].at("metadata", "name")
        place = extra.at("metadata", "name")
        found.append(error("P204", place, f"Platform twice, first at {first}", "one for the whole fleet"))
    platform = platforms[0] if platforms else None
    defaults, given = at(platform.node, ("spec", "defaults")) if platform else (None, False)
    if isinstance(defaults, Mapped) and given:
        by_kind[InferenceModel] = [kept.of(_with_defaults, node, defaults) for node in by_kind[InferenceModel]]
    policies: dict[type[BaseModel], Mapping[str, Policy[Any]]] = {
        Platform: {policy.body.metadata.name: policy for policy in platforms[:1]}
    }
    for kind in KINDS:
        if kind is not Platform:
            policies[kind] = _unique(kind, _valid(kind, by_kind[kind], kept, found), found)
    versions = {
        name: kept.reported(found, _versions, policy)
        for name, policy in policies[InferenceModel].items()
        if policy.body.spec.versions
    }
    names = {
        kind: frozenset(
            name for node in (*nodes, *_of_kind(refused, kind)) if (name := kept.of(_name, node)) is not None
        )
        for kind, nodes in by_kind.items()
    }
    return Policies(platform, policies, versions, names, complete), list(dict.fromkeys(found))


def _kind(document: Mapped, found: list[Diagnostic]) -> type[BaseModel] | None:
    """The kind whose schema the document is to meet; reports what of it has no effect yet."""
    kind = _kind_said(document, found)
    if kind is not None:
        found.extend(_later(kind, document, ()))
    return kind


def _kind_said(document: Mapped, found: list[Diagnostic]) -> type[BaseModel] | None:
    version, kind = document.entries.get("apiVersion"), document.entries.get("kind")
    language = version.value if isinstance(version, Scalar) else None
    kinds = {k.__name__: k for k in KINDS if language != foreign.API_VERSION or k.__name__ in foreign.KINDS}
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


def _valid(kind: type[BaseModel], nodes: Iterable[Mapped], kept: Kept, found: list[Diagnostic]) -> list[Policy[Any]]:
    policies = (kept.reported(found, _policy, kind, node) for node in nodes)
    return [policy for policy in policies if policy is not None]


def _of_kind(nodes: Iterable[Mapped], kind: type[BaseModel]) -> Iterator[Mapped]:
    return (node for node in nodes if plain(node.entries["kind"]) == kind.__name__)


def _name(node: Mapped) -> str | None:
    name, exact = at(node, ("metadata", "name"))
    return name.text if exact and isinstance(name, Scalar) else None


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
        named = Mapped({**merged.entries, "version": entry.entries["name"]}, merged.keys, entry.position)
        node = Mapped({**policy.node.entries, "spec": named}, policy.node.keys, policy.node.position)
        version = _policy(InferenceModel, node, found)
        if version is not None:
            result.append(version)
    return tuple(result)


def _unique(kind: type[K], policies: list[Policy[Any]], found: list[Diagnostic]) -> Mapping[str, Policy[Any]]:
    """`policies` by name, in the order of the names; a name that comes again is an error and dropped."""
    first: dict[str, Policy[Any]] = {}
    for policy in policies:
        name = policy.body.metadata.name
        if name in first:
            place, before = policy.at("metadata", "name"), first[name].at("metadata", "name")
            found.append(error("P204", place, f"{kind.__name__} '{name}' twice, first at {before}", "another name"))
        else:
            first[name] = policy
    return {name: first[name] for name in sorted(first)}


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
        inner = part_of(info.annotation)
        value = node.entries[key]
        if inner is not None:
            items = enumerate(value.items) if isinstance(value, Sequence) else [(None, value)]
            for index, item in items:
                yield from _later(inner, item, (*loc, key) if index is None else (*loc, key, index))
