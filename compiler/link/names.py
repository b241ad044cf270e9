"""Names that clients and Kubernetes see must not collide."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.decode import Policies
from compiler.diagnostics import Diagnostic, Position, error
from compiler.fleet import slug
from compiler.kinds import Gateway, InferenceModel, ModelOrchestrator

LONGEST_OBJECT_NAME = 63
"""Of a Service, and of a pod's label."""


def check_names(policies: Policies, found: list[Diagnostic]) -> None:
    _check_model_names(policies, found)
    for kind in (InferenceModel, Gateway):
        _check_slugs(policies, kind, found)
    _check_lengths(policies, found)


def _check_model_names(policies: Policies, found: list[Diagnostic]) -> None:
    """A name in a request means one thing: model, alias or orchestrator."""
    first: dict[str, Position] = {}
    for name, place in _client_names(policies):
        if name in first:
            found.append(error("P204", place, f"model name '{name}' twice, first at {first[name]}", "another name"))
        else:
            first[name] = place


def _client_names(policies: Policies) -> Iterator[tuple[str, Position]]:
    for model in policies.of(InferenceModel):
        yield model.body.metadata.name, model.at("metadata", "name")
    for orchestrator in policies.of(ModelOrchestrator):
        yield orchestrator.body.metadata.name, orchestrator.at("metadata", "name")
    for model in policies.of(InferenceModel):
        for index, alias in enumerate(model.body.spec.aliases):
            yield alias, model.at("spec", "aliases", index)


def _check_slugs(policies: Policies, kind: type[InferenceModel | Gateway], found: list[Diagnostic]) -> None:
    first: dict[str, str] = {}
    for policy in policies.of(kind):
        name = policy.body.metadata.name
        other = first.setdefault(slug(name), name)
        if other != name:
            place = policy.at("metadata", "name")
            said = f"'{other}' and '{name}' both become {slug(name)}"
            found.append(error("P207", place, said, "names that differ in more than - and ."))


def _check_lengths(policies: Policies, found: list[Diagnostic]) -> None:
    for policy in policies.of(InferenceModel):
        versions = policy.body.spec.versions or ()
        slugs: dict[str, str] = {}
        for index, version in enumerate(versions):
            place = policy.at("spec", "versions", index, "name")
            longest = f"{slug(policy.body.metadata.name)}-{version.name}-cold"
            if len(longest) > LONGEST_OBJECT_NAME:
                said = f"'{version.name}' is no name: {longest} has {len(longest)} characters, 63 are the limit"
                found.append(error("P115", place, said, "a shorter version"))
            other = slugs.setdefault(version.name.replace(".", "-"), version.name)
            if other != version.name:
                said = f"'{other}' and '{version.name}' both become {other.replace('.', '-')}"
                found.append(error("P207", place, said, "names that differ in more than - and ."))
            elif version.name in [v.name for v in versions[:index]]:
                before = policy.at("spec", "versions", [v.name for v in versions].index(version.name), "name")
                found.append(error("P204", place, f"version '{version.name}' twice, first at {before}"))
