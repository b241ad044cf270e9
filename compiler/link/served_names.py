"""The names that a model's engine must take for its own, because requests that carry them reach it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from compiler.decode import Policies, Policy, Portion
from compiler.fleet import OnExplicitModel
from compiler.kept import Kept
from compiler.kinds import InferenceModel, ModelOrchestrator


def served_names(policies: Policies, kept: Kept) -> Mapping[str, tuple[str, ...]]:
    """For each model that serves any, the names beside its own and its aliases, sorted: of orchestrators that may
    choose it, of models whose clients it answers as a hop, and of models whose requests are mirrored to it."""
    models = policies.of(InferenceModel)
    more: dict[str, set[str]] = {}
    for policy in policies.of(ModelOrchestrator).values():
        for model, names in _chosen(policy, policies):
            more.setdefault(model, set()).update(names)
    reached = {name: frozenset(names) for name, names in more.items()}
    for name, mirror in kept.chained(_mirrors, policies.portions):
        more.setdefault(mirror, set()).update(_own(models, name), reached.get(name, ()))
    return {name: tuple(sorted(names - _own(models, name))) for name, names in more.items()}


def _mirrors(portion: Portion) -> tuple[tuple[str, str], ...]:
    """Models whose requests are mirrored, and to which."""
    mirrors = ((name, policy.body.spec.traffic.mirror) for name, policy in portion.of(InferenceModel))
    return tuple((name, mirror.model) for name, mirror in mirrors if mirror is not None)


def _own(models: Mapping[str, Policy[InferenceModel]], name: str) -> frozenset[str]:
    return frozenset((name, *models[name].body.spec.aliases)) if name in models else frozenset()


def _chosen(policy: Policy[ModelOrchestrator], policies: Policies) -> Iterator[tuple[str, frozenset[str]]]:
    spec, name = policy.body.spec, policy.body.metadata.name
    models = {member.name: member.ref or member.name for member in spec.models}
    for model in models.values():
        yield model, frozenset({name})
    for rule in spec.routing.rules:
        if rule.traffic is not None and rule.traffic.mirror is not None:
            yield rule.traffic.mirror.model, frozenset({name})
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
            yield models.get(hop.model, hop.model), _own(policies.of(InferenceModel), model)
