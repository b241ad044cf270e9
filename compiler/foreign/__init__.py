"""Documents of ai.example.com/v1, read as they are written there: the fleet's documents in turnout.dev/v1.

Every value keeps the place where it was written, so whatever is found in it later is told there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple

from compiler.diagnostics import Diagnostic, error, warning
from compiler.foreign.orchestrator import Rewritten, gateway_of, in_native_version, rewritten
from compiler.kept import Kept
from compiler.nodes import Loc, Mapped, Node, Scalar, at, dotted, key_position, merge, nested, plain, replaced, without

__all__ = ["API_VERSION", "KINDS", "Native", "native"]

API_VERSION = "ai.example.com/v1"
KINDS = ("InferenceModel", "ModelOrchestrator")

_WRITTEN_BY_A_CLUSTER: tuple[Loc, ...] = (
    ("status",),
    *(
        ("metadata", key)
        for key in ("creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid")
    ),
    ("metadata", "annotations", "kubectl.kubernetes.io/last-applied-configuration"),
    ("metadata", "annotations", "argocd.argoproj.io/tracking-id"),
)
"""What `kubectl get -o yaml` adds to what somebody wrote."""


class Native(NamedTuple):
    files: tuple[tuple[Mapped, ...], ...]
    """Documents of turnout.dev/v1, and those that are of neither; by file, where nothing foreign has a say in any."""
    refused: tuple[Mapped, ...]
    """Foreign ones that are not valid, and what they would have added: only their names mean something."""


def native(files: Iterable[tuple[Mapped, ...]], kept: Kept, found: list[Diagnostic]) -> Native:
    """The documents of `files`, the foreign ones rewritten; reports what is wrong with those as they are written."""
    files = tuple(files)
    if not any(kept.each(_has_foreign, files)):
        return Native(files, ())
    documents = tuple(chain.from_iterable(files))
    names = (_name(document, "Gateway") for document in documents)
    gateways = kept.same("gateways of foreign documents", tuple(name for name in names if name is not None))
    own: list[Mapped] = []
    refused: list[Mapped] = []
    orchestrators: list[Rewritten] = []
    for document in documents:
        kind = kept.of(_foreign_kind, document)
        if kind is None:
            own.append(document)
            continue
        part = kept.reported(found, _policy_part, document)
        if kind == "InferenceModel":
            own.append(kept.of(_model, part))
        elif (orchestrator := kept.reported(found, rewritten, part, gateways)) is not None:
            orchestrators.append(orchestrator)
            own.append(orchestrator.document)
        else:
            refused += [part, *((gateway,) if (gateway := gateway_of(part, gateways)) else ())]
    for orchestrator in orchestrators:
        if orchestrator.gateway is not None:
            own = _with_gateway(own, orchestrator.gateway)
    own = _with_traffic(own, orchestrators, kept, found)
    return Native(tuple(kept.tuple_of((each,)) for each in own), tuple(refused))


def _has_foreign(documents: tuple[Mapped, ...]) -> bool:
    return any(_foreign_kind(document) is not None for document in documents)


def _foreign_kind(document: Mapped) -> str | None:
    if _text(document, "apiVersion") != API_VERSION:
        return None
    kind = _text(document, "kind")
    return kind if kind in KINDS else None


def _text(document: Mapped, *loc: str) -> str | None:
    node, exact = at(document, loc)
    return node.value if exact and isinstance(node, Scalar) and isinstance(node.value, str) else None


def _name(document: Mapped, kind: str) -> str | None:
    """Of a document of `kind`."""
    return _text(document, "metadata", "name") if _text(document, "kind") == kind else None


def _policy_part(document: Mapped, found: list[Diagnostic]) -> Mapped:
    for loc in _WRITTEN_BY_A_CLUSTER:
        if at(document, loc)[1]:
            said = f"'{dotted(loc)}' is no policy: a cluster wrote it, and it is passed over"
            found.append(warning("P117", key_position(document, loc), said, "leave it out"))
            document = _removed(document, loc)
    return document


def _removed(node: Mapped, loc: Loc) -> Mapped:
    key, *rest = (str(step) for step in loc)
    inner = node.entries[key]
    if rest and isinstance(inner, Mapped):
        return replaced(node, key, _removed(inner, tuple(rest)))
    return without(node, key)


def _model(document: Mapped) -> Mapped:
    """All its fields are spelt the same here; only autoscaling is off there unless it is switched on."""
    spec = document.entries.get("spec")
    scaling = spec.entries.get("autoscaling") if isinstance(spec, Mapped) else None
    if isinstance(spec, Mapped) and isinstance(scaling, Mapped):
        off = nested(("enabled",), Scalar(False, scaling.position, "false"), scaling.position)
        document = replaced(document, "spec", replaced(spec, "autoscaling", merge(off, scaling)))
    return in_native_version(document)


def _with_gateway(documents: list[Mapped], gateway: Mapped) -> list[Mapped]:
    """`documents` with `gateway` laid under the one of its name, whose own values win; or added if there is none."""
    name = _text(gateway, "metadata", "name")
    if any(_name(document, "Gateway") == name for document in documents):
        asked = without(gateway, "metadata")
        return [merge(asked, each) if _name(each, "Gateway") == name else each for each in documents]
    return [*documents, gateway]


def _with_traffic(
    documents: list[Mapped], orchestrators: list[Rewritten], kept: Kept, found: list[Diagnostic]
) -> list[Mapped]:
    """`documents` with what orchestrators set for traffic laid under each member; a model's own value wins."""
    wanted: dict[str, list[Rewritten]] = {}
    for orchestrator in orchestrators:
        if orchestrator.traffic is not None:
            for member in dict.fromkeys(_members(orchestrator.document)):
                wanted.setdefault(member, []).append(orchestrator)
    stable = {name: kept.same(("orchestrators of", name), tuple(those)) for name, those in wanted.items()}
    return [
        kept.reported(found, _laid_under, document, stable[name])
        if (name := _name(document, "InferenceModel")) is not None and name in stable
        else document
        for document in documents
    ]


def _members(orchestrator: Mapped) -> Iterator[str]:
    members = at(orchestrator, ("spec", "models"))[0]
    for member in plain(members):
        yield member.get("ref", member["name"])


def _laid_under(model: Mapped, orchestrators: tuple[Rewritten, ...], found: list[Diagnostic]) -> Mapped:
    spec = model.entries.get("spec")
    if not isinstance(spec, Mapped):
        return model
    own, name = spec.entries.get("traffic"), str(_name(model, "InferenceModel"))
    for index, orchestrator in enumerate(orchestrators):
        for other in orchestrators[:index]:
            found.extend(_contradictions(name, own, other, orchestrator))
        assert orchestrator.traffic is not None
        spec = merge(nested(("traffic",), orchestrator.traffic, orchestrator.traffic.position), spec)
    return replaced(model, "spec", spec)


def _contradictions(model: str, own: Node | None, one: Rewritten, other: Rewritten) -> Iterator[Diagnostic]:
    """Where `one` and `other` set what `model` does not set itself, and not to the same."""
    assert one.traffic is not None
    for loc, value in _leaves(other.traffic, ()):
        before, given = at(one.traffic, loc)
        if given and plain(before) != plain(value) and not (own is not None and at(own, loc)[1]):
            names = f"{_text(one.document, 'metadata', 'name')} and {_text(other.document, 'metadata', 'name')}"
            said = f"{names} both set {dotted(loc)} of {model}, first at {before.position}"
            yield error("P229", value.position, said, "the same for both, or on the model")


def _leaves(node: Node | None, loc: Loc) -> Iterator[tuple[Loc, Node]]:
    if isinstance(node, Mapped):
        for key, value in node.entries.items():
            yield from _leaves(value, (*loc, key))
    elif node is not None:
        yield loc, node
