"""Names that clients and Kubernetes see must not collide."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from compiler.decode import Policies, Policy, Portion
from compiler.diagnostics import Diagnostic, Position, error
from compiler.fleet import Tier, slug
from compiler.fleet.names import version_slug
from compiler.kept import Kept
from compiler.kinds import Gateway, InferenceModel, ModelOrchestrator, Tenant

STANDBYS = (Tier.HOT, Tier.WARM, Tier.COLD)
LONGEST_OBJECT_NAME = 63
"""Of a Service, and of a pod's label."""
_OWN = "turnout"
"""Begins the names of what Turnout runs itself: `turnout-control`, `turnout-gateway-public`."""
_EVERY_NAMESPACES = "default"
"""Each namespace has a ServiceAccount of this name, and one in the mesh the PeerAuthentication of all its pods."""


class Taken(NamedTuple):
    """The names that some models take."""

    by_clients: frozenset[str]
    slugs: frozenset[str]
    services: frozenset[str]
    """Of each version. Other objects are called so with a tier behind it."""
    alone: bool
    """Whether all is well with them among themselves, and only others that take one of these names are at odds."""


def check_names(policies: Policies, kept: Kept, found: list[Diagnostic]) -> None:
    if _all_differ(policies, kept):
        return
    _check_model_names(policies, found)
    _check_reserved(policies, found)
    for kind in (InferenceModel, Gateway, Tenant):
        _check_slugs(policies, kind, found)
    _check_objects(policies, found)


def _all_differ(policies: Policies, kept: Kept) -> bool:
    """Whether nothing can be wrong: what takes much longer is to say what is."""
    taken = kept.each(_taken, policies.portions, using=(kept,))
    others = policies.of(ModelOrchestrator), policies.of(Gateway), policies.of(Tenant)
    return kept.last("names differ", (*kept.cut(taken), *others), _differ, (taken, *others))


def _differ(
    taken: tuple[Taken, ...], orchestrators: Iterable[str], gateways: Collection[str], tenants: Collection[str]
) -> bool:
    return (
        all(some.alone for some in taken)
        and all(len({slug(name) for name in names}) == len(names) for names in (gateways, tenants))
        and disjoint([frozenset(orchestrators), *(some.by_clients for some in taken)])
        and disjoint([some.slugs for some in taken])
        and disjoint([some.services for some in taken])
    )


def disjoint(sets: Sequence[frozenset[str]]) -> bool:
    return len(frozenset().union(*sets)) == sum(map(len, sets))


def _taken(portion: Portion, kept: Kept) -> Taken:
    models = [policy for _, policy in portion.of(InferenceModel)]
    names = [name for policy in models for name in (policy.body.metadata.name, *policy.body.spec.aliases)]
    slugs = frozenset(slug(policy.body.metadata.name) for policy in models)
    services = [_service(policy.body.metadata.name, version) for policy in models for version in _versions(policy)]
    tiers, longest = tuple(f"-{tier}" for tier in STANDBYS), LONGEST_OBJECT_NAME - len(f"-{Tier.COLD}")
    alone = (
        len(set(names)) == len(names)
        and len(slugs) == len(models)
        and len(set(services)) == len(services)
        and not any(_reserved(each) for each in slugs)
        and not any(len(service) > longest or service.endswith(tiers) for service in services)
    )
    # Most edits leave them as they are.
    return kept.same(("taken", portion.place), Taken(frozenset(names), slugs, frozenset(services), alone))


def _check_model_names(policies: Policies, found: list[Diagnostic]) -> None:
    """A name in a request means one thing: model, alias or orchestrator."""
    first: dict[str, Position] = {}
    for name, place in _client_names(policies):
        if name in first:
            found.append(error("P204", place, f"model name '{name}' twice, first at {first[name]}", "another name"))
        else:
            first[name] = place


def _client_names(policies: Policies) -> Iterator[tuple[str, Position]]:
    for model in policies.of(InferenceModel).values():
        yield model.body.metadata.name, model.at("metadata", "name")
    for orchestrator in policies.of(ModelOrchestrator).values():
        yield orchestrator.body.metadata.name, orchestrator.at("metadata", "name")
    for model in policies.of(InferenceModel).values():
        for index, alias in enumerate(model.body.spec.aliases):
            yield alias, model.at("spec", "aliases", index)


def _reserved(model: str) -> str:
    """Whose name the model's slug would take; empty where it is free."""
    if model == _EVERY_NAMESPACES:
        return "every namespace has a ServiceAccount called so"
    own = model == _OWN or model.startswith(f"{_OWN}-")
    return "what Turnout runs itself is called so" if own else ""


def _check_reserved(policies: Policies, found: list[Diagnostic]) -> None:
    for model in policies.of(InferenceModel).values():
        name = model.body.metadata.name
        if why := _reserved(slug(name)):
            said = f"metadata.name: '{name}' is no name: {why}"
            found.append(error("P115", model.at("metadata", "name"), said, f"another name, and aliases: [{name}]"))


def _check_slugs(policies: Policies, kind: type[InferenceModel | Gateway | Tenant], found: list[Diagnostic]) -> None:
    first: dict[str, str] = {}
    for policy in policies.of(kind).values():
        name = policy.body.metadata.name
        other = first.setdefault(slug(name), name)
        if other != name:
            place = policy.at("metadata", "name")
            said = f"'{other}' and '{name}' both become {slug(name)}"
            found.append(error("P207", place, said, "names that differ in more than - and ."))


def _check_objects(policies: Policies, found: list[Diagnostic]) -> None:
    """No two versions of whatever models share the name of a Service or Deployment, and all names fit."""
    owners: dict[str, str] = {}
    slugs: dict[str, str] = {}
    for policy in policies.of(InferenceModel).values():
        model = policy.body.metadata.name
        if slugs.setdefault(slug(model), model) == model:  # else `_check_slugs` has said it
            _check_versions(policy, owners, found)


def _check_versions(policy: Policy[InferenceModel], owners: dict[str, str], found: list[Diagnostic]) -> None:
    model = policy.body.metadata.name
    first: dict[str, Position] = {}
    for index, version in enumerate(_versions(policy)):
        place = _version_place(policy, index)
        if version in first:
            said = f"version '{version}' twice, first at {first[version]}"
            found.append(error("P204", place, said, "another name"))
            continue
        first[version] = place
        name = _service(model, version)
        _check_length(version, name, place, found)
        _check_object(f"{model} {version}", name, place, owners, found)


def _service(model: str, version: str) -> str:
    return f"{slug(model)}-{version_slug(version)}"


def _check_length(version: str, name: str, place: Position, found: list[Diagnostic]) -> None:
    longest = f"{name}-{Tier.COLD}"
    if len(longest) > LONGEST_OBJECT_NAME:
        said = f"'{version}' is no name: {longest} has {len(longest)} characters, {LONGEST_OBJECT_NAME} are the limit"
        found.append(error("P115", place, said, "a shorter version"))


def _check_object(owner: str, name: str, place: Position, owners: dict[str, str], found: list[Diagnostic]) -> None:
    names = (name, *(f"{name}-{tier}" for tier in STANDBYS))
    taken = next((taken for taken in names if taken in owners), None)
    if taken is not None:
        said = f"'{owners[taken]}' and '{owner}' both become {taken}"
        found.append(error("P207", place, said, "another version, or another name"))
    owners.update(dict.fromkeys(names, owner))


def _versions(policy: Policy[InferenceModel]) -> tuple[str, ...]:
    spec = policy.body.spec
    return (spec.version or "1",) if spec.versions is None else tuple(version.name for version in spec.versions)


def _version_place(policy: Policy[InferenceModel], index: int) -> Position:
    spec = policy.body.spec
    if spec.versions is not None:
        return policy.at("spec", "versions", index, "name")
    return policy.at("spec", "version") if spec.version else policy.at("metadata", "name")
