"""The policies of one environment: those of all, with what its own files lay on them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Protocol

from compiler.diagnostics import Diagnostic, Position, error
from compiler.kept import Kept
from compiler.kinds.values import is_name, name_problem
from compiler.nodes import Mapped, Node, Scalar, article, at, type_name
from compiler.source import ENVIRONMENTS, Sources
from compiler.spelling import nearest

REMOVE = "remove"
"""Beside `kind`: the document of this kind and name is none of the environment's."""

Documents = tuple[Mapped, ...]
Identity = tuple[str, str, str]
"""apiVersion, kind and name, as text."""

_OWN = ("apiVersion", "kind")


class _Laid(NamedTuple):
    documents: Documents
    met: frozenset[Identity]
    """Of the overlays that found their document."""


def overlaid(
    base: Sequence[Documents], over: Sequence[Documents], kept: Kept, found: list[Diagnostic]
) -> tuple[Documents, ...]:
    """The documents of `base`, by file, with those of `over` laid on them; new ones follow, in files of their own.

    A document of `over` lies on that of the same kind and name: maps merge, lists and scalars replace, `null` takes a
    value away, `remove: true` the document. https://kubernetes.io/docs/tasks/manage-kubernetes-objects/kustomization
    calls such a file a patch.
    """
    overlays = _overlays(over, found)
    parts = tuple(overlays.values())
    laid = [
        kept.last(("overlaid", documents[0].position), (*documents, *parts), _laid, (documents, overlays, kept))
        for documents in base
        if documents
    ]
    met = {identity for one in laid for identity in one.met}
    for identity, overlay in overlays.items():
        if identity not in met and REMOVE in overlay.entries:
            found.append(_nothing_to_remove(identity, overlay, base))
    fresh = (kept.tuple_of(document for document in documents if _stands_alone(document, met)) for documents in over)
    return tuple(documents for documents in (*(one.documents for one in laid), *fresh) if documents)


class _Run(Protocol):
    @property
    def environment(self) -> str: ...
    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]: ...


def told(runs: Iterable[_Run]) -> tuple[Diagnostic, ...]:
    """What was found in each environment, each finding once; where it is not in all of them, it says in which."""
    places: dict[Diagnostic, list[str]] = {}
    runs = tuple(runs)
    for run in runs:
        for diagnostic in run.diagnostics:
            places.setdefault(diagnostic, []).append(run.environment)
    result = (
        d if len(names) == len(runs) else replace(d, message=f"{d.message}, in {', '.join(names)}")
        for d, names in places.items()
    )
    return tuple(sorted(result, key=lambda d: (d.position, d.code, d.message)))


def unfit_environment(sources: Sources, root: Path, environment: str) -> Iterator[Diagnostic]:
    """Why `environment` is none of those that `sources` have."""
    known = sources.environments
    folder = Position(f"{root.resolve().name}/{ENVIRONMENTS}", 0, 0)
    if environment and environment not in known:
        listed = f"one of {', '.join(known)}" if known else f"a folder of that name in {ENVIRONMENTS}/"
        yield error("P011", folder, f"no environment '{environment}'", nearest(environment, known) or listed)
    elif known and not environment:
        yield error("P011", folder, f"these policies are those of {', '.join(known)}", f"--env {known[0]}")
    for file in sources.files:
        parts = file.name.split("/")
        place = Position(file.name, 0, 0)
        if len(parts) == 3 and parts[1] == ENVIRONMENTS:
            said = f"{file.name} belongs to no environment"
            yield error("P011", place, said, f"{ENVIRONMENTS}/staging/{parts[2]}")
        elif file.environment and not is_name(file.environment):
            said = f"'{file.environment}' is no name: {name_problem(file.environment)}"
            yield error("P115", place, said, "a folder with lower-case letters, digits, - and .")


def _overlays(over: Iterable[Documents], found: list[Diagnostic]) -> Mapping[Identity, Mapped]:
    overlays: dict[Identity, Mapped] = {}
    for documents in over:
        for document in documents:
            _check_remove(document, found)
            identity = _identity(document)
            if identity is None:
                continue
            first = overlays.setdefault(identity, document)
            if first is not document:
                said = f"{identity[1]} '{identity[2]}' twice in this environment, first at {first.position}"
                found.append(error("P204", document.position, said, "one document"))
    return overlays


def _check_remove(document: Mapped, found: list[Diagnostic]) -> None:
    node = document.entries.get(REMOVE)
    if node is None:
        return
    for key in document.entries:
        if key not in (*_OWN, "metadata", REMOVE):
            said = f"'{REMOVE}' and '{key}' exclude each other"
            found.append(error("P201", document.keys[key], said, "delete one"))
    if not (isinstance(node, Scalar) and node.value is True):
        shown = f"'{node.text}'" if isinstance(node, Scalar) else article(type_name(node))
        found.append(error("P103", node.position, f"{REMOVE}: {shown} is not one of true", "leave it out to keep it"))


def _laid(documents: Documents, overlays: Mapping[Identity, Mapped], kept: Kept) -> _Laid:
    result: list[Mapped] = []
    met: list[Identity] = []
    for document in documents:
        identity = _identity(document)
        overlay = None if identity is None else overlays.get(identity)
        if identity is None or overlay is None:
            result.append(document)
            continue
        met.append(identity)
        if REMOVE not in overlay.entries:
            result.append(kept.of(_merged_document, document, overlay))
    return _Laid(tuple(result), frozenset(met))


def _stands_alone(document: Mapped, met: set[Identity]) -> bool:
    return _identity(document) not in met and REMOVE not in document.entries


def _identity(document: Mapped) -> Identity | None:
    """None for what is no policy; decoding says so."""
    name, exact = at(document, ("metadata", "name"))
    parts = [document.entries.get(key) for key in _OWN] + [name if exact else None]
    texts = [part.text for part in parts if isinstance(part, Scalar)]
    return (texts[0], texts[1], texts[2]) if len(texts) == len(parts) else None


def _merged_document(base: Mapped, over: Mapped) -> Mapped:
    """It stays where `base` stands, and so does its name: that is the line which its objects are from."""
    merged = _merged(base, over)
    spec = over.entries.get("spec")
    metadata = merged.entries["metadata"]
    named = base.entries["metadata"]
    assert isinstance(metadata, Mapped)
    assert isinstance(named, Mapped)
    entries = {
        **merged.entries,
        **{key: base.entries[key] for key in _OWN},
        "metadata": Mapped(
            {**metadata.entries, "name": named.entries["name"]}, {**metadata.keys, **named.keys}, named.position
        ),
    }
    if spec is not None and _is_null(spec):
        # What is missing now is missing here, and not where the base says it.
        entries["spec"] = Mapped({}, {}, spec.position)
    return Mapped(entries, merged.keys, base.position)


def _merged(base: Mapped, over: Mapped) -> Mapped:
    entries: dict[str, Node] = dict(base.entries)
    for key, value in over.entries.items():
        if _is_null(value):
            entries.pop(key, None)
        elif isinstance(value, Mapped):
            before = entries.get(key)
            entries[key] = _merged(before if isinstance(before, Mapped) else Mapped({}, {}, value.position), value)
        else:
            entries[key] = value
    return Mapped(entries, {**base.keys, **over.keys}, over.position)


def _is_null(node: Node) -> bool:
    return isinstance(node, Scalar) and node.value is None


def _nothing_to_remove(identity: Identity, overlay: Mapped, base: Sequence[Documents]) -> Diagnostic:
    _, kind, name = identity
    identities = (_identity(document) for documents in base for document in documents)
    names = (known[2] for known in identities if known is not None and known[1] == kind)
    place = at(overlay, ("metadata", "name"))[0].position
    return error("P203", place, f"{REMOVE}: no {kind} '{name}'", nearest(name, names))
