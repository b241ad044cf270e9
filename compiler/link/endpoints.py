"""Instances given by hand: which version each belongs to, and that it belongs to one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import chain
from operator import itemgetter

from compiler.decode import Policy
from compiler.diagnostics import Diagnostic, Position, error
from compiler.kept import Kept
from compiler.kinds import InferenceModel
from compiler.kinds.inference_model import EndpointSpec, InferenceModelSpec
from compiler.link.names import disjoint

Instances = tuple[tuple[str, Position], ...]
"""Address with port of each, and where it stands in policy."""
Addresses = frozenset[str] | None
"""Of several models; `None` when one of them comes twice."""


def endpoints_of(policy: Policy[InferenceModel], version: Policy[InferenceModel]) -> list[tuple[int, EndpointSpec]]:
    """The endpoints of one version of `policy`, each with its index in the list where policy has it."""
    spec = version.body.spec
    several = policy.body.spec.versions is not None
    own = (None, spec.version or "1")
    return [(index, item) for index, item in enumerate(spec.endpoints) if not several or item.version in own]


def check_endpoint_versions(
    policy: Policy[InferenceModel],
    endpoints: tuple[EndpointSpec, ...],
    known: tuple[str, ...],
    required: tuple[str, ...],
    found: list[Diagnostic],
) -> None:
    for index, item in enumerate(endpoints):
        field = f"spec.endpoints[{index}].version"
        place = policy.at("spec", "endpoints", index, "version")
        if item.version is None and required:
            found.append(error("P113", place, f"'{field}' is missing", f"one of {', '.join(required)}"))
        elif item.version is not None and item.version not in known:
            found.append(error("P203", place, f"{field}: no version '{item.version}'", f"one of {', '.join(known)}"))


def check_own_endpoints(
    policy: Policy[InferenceModel], spec: InferenceModelSpec, heirs: tuple[str, ...], found: list[Diagnostic]
) -> None:
    """A version's own list replaces the model's, and is of that version alone."""
    versions = spec.versions or ()
    for index, item in enumerate(spec.endpoints):
        if item.version not in (None, *heirs) and item.version in [version.name for version in versions]:
            said = f"'spec.endpoints[{index}]' and the endpoints of version '{item.version}' exclude each other"
            found.append(
                error("P201", policy.at("spec", "endpoints", index, "version"), said, "one list for a version")
            )
    for number, version in enumerate(versions):
        for index, item in enumerate(version.endpoints or ()):
            if item.version not in (None, version.name):
                place = policy.at("spec", "versions", number, "endpoints", index, "version")
                said = f"'version: {item.version}' and its place in version '{version.name}' exclude each other"
                found.append(error("P201", place, said, "leave version out here"))


def instances_of(views: Iterable[Policy[InferenceModel]]) -> Instances:
    """Of all versions; a list that several of them see counts once."""
    entries = (
        (f"{item.address}:{item.port}", view.at("spec", "endpoints", index))
        for view in views
        for index, item in enumerate(view.body.spec.endpoints)
    )
    return tuple(dict.fromkeys(entries))


def check_addresses(
    portions: tuple[tuple[tuple[str, Instances], ...], ...], kept: Kept, found: list[Diagnostic]
) -> None:
    """An instance belongs to one version of one model. `portions` of models by name."""
    addresses = kept.each(_addresses, portions)
    if kept.folded("addresses", addresses, _distinct, partial(_still_distinct, addresses)):
        return
    taken: dict[str, tuple[str, Position]] = {}
    for name, instances in sorted(chain.from_iterable(portions), key=itemgetter(0)):
        for address, place in instances:
            other, first = taken.setdefault(address, (name, place))
            if first != place:
                both = f"belongs to {other} and {name}" if other != name else f"stands twice in {name}"
                said = f"endpoint {address} {both}"
                found.append(error("P208", place, said, f"first at {first}"))


def _distinct(portions: Sequence[Addresses]) -> bool:
    known = [some for some in portions if some is not None]
    return len(known) == len(portions) and disjoint(known)


def _still_distinct(
    portions: Sequence[Addresses], before: bool, gone: Sequence[Addresses], come: Sequence[Addresses]
) -> bool | None:
    """None where it takes a look at all of them to tell."""
    if not (before and _distinct(come)):
        return None
    fresh = frozenset().union(*filter(None, come)).difference(*filter(None, gone))
    others = [some for some in portions if some is not None and not any(some is one for one in come)]
    return not fresh or all(map(fresh.isdisjoint, others)) or None


def _addresses(models: tuple[tuple[str, Instances], ...]) -> Addresses:
    listed = [address for _, instances in models for address, _ in instances]
    found = frozenset(listed)
    return found if len(found) == len(listed) else None
