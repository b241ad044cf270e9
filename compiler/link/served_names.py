"""The names that a model's engine must take for its own, because requests that carry them reach it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from compiler.decode import Policies, Policy
from compiler.fleet import OnExplicitModel
from compiler.kinds import InferenceModel, ModelOrchestrator


def served_names(policies: Policies) -> Mapping[str, tuple[str, ...]]:
    """For each model, the names it serves beside its own and its aliases, sorted: of orchestrators that may choose it,
    of models whose clients it answers as a hop, and of models whose requests are mirrored to it."""
    own = {p.body.metadata.name: {p.body.metadata.name, *p.body.spec.aliases} for p in policies.of(InferenceModel)}
    more: dict[str, set[str]] = {name: set() for name in own}
    for policy in policies.of(ModelOrchestrator):
        for model, names in _chosen(policy, policies, own):
            more.setdefault(model, set()).update(names)
    reached = {name: own[name] | more[name] for name in own}
    for source in policies.of(InferenceModel):
        mirror = source.body.spec.traffic.mirror
        if mirror is not None:
            more.setdefault(mirror.model, set()).update(reached[source.body.metadata.name])
    return {name: tuple(sorted(names - own.get(name, set()))) for name, names in more.items()}


def _chosen(
    policy: Policy[ModelOrchestrator], policies: Policies, own: Mapping[str, set[str]]
) -> Iterator[tuple[str, set[str]]]:
    spec, name = policy.body.spec, policy.body.metadata.name
    models = {member.name: member.ref or member.name for member in spec.models}
    for model in models.values():
        yield model, {name}
    for rule in spec.routing.rules:
        if rule.traffic is not None and rule.traffic.mirror is not None:
            yield rule.traffic.mirror.model, {name}
    fallback = spec.routing.fallback
    for hop in fallback.chain:
        match OnExplicitModel(fallback.on_explicit_model):
            case OnExplicitModel.NEVER:
                asked = []
            case OnExplicitModel.ON_UNAVAILABLE:
                asked = [models.get(member, member) for member in hop.equivalent_to]
            case OnExplicitModel.ALWAYS:
                # At a sidecar every model can be named, whatever the gateway has.
                asked = list(policies.names[InferenceModel])
        for model in asked:
            yield models.get(hop.model, hop.model), own.get(model, set())
