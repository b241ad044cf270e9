"""Who an orchestrator chooses by capability, and who answers when the one that was chosen cannot."""

from __future__ import annotations

from collections.abc import Mapping

from compiler.decode import Policies, Policy
from compiler.diagnostics import Diagnostic, error, warning
from compiler.fleet import Fallback, Hop, Member, Model, OnExplicitModel
from compiler.fleet.capabilities import MOST_CLASSES, capability_classes
from compiler.kinds import InferenceModel, ModelOrchestrator
from compiler.kinds.model_orchestrator import MemberSpec
from compiler.link.members import check_member
from compiler.link.platform import Settings


def capable_members(
    policy: Policy[ModelOrchestrator],
    members: Mapping[str, MemberSpec],
    models: Mapping[str, Model],
    policies: Policies,
    platform: Settings,
    found: list[Diagnostic],
) -> tuple[Member, ...]:
    """The members that can do something, the smallest first."""
    own = policies.of(InferenceModel)
    memory = {gpu.product: gpu.memory_gib for gpu in platform.gpus.values()}

    def size(member: Member) -> tuple[int, str]:
        """GiB of the GPUs of one instance, then the name."""
        needs = models[member.model].heaviest.resources
        return memory.get(needs.gpu_product, 0) * needs.gpu_count, member.model

    made: dict[str, Member] = {}
    for index, spec in enumerate(policy.body.spec.models):
        name = spec.ref or spec.name
        if name in models and members.get(spec.name) is spec:
            before = made[name].capabilities if name in made else own[name].body.spec.capabilities
            both = tuple(sorted({*before, *spec.capabilities}))
            made[name] = Member(name, both, policy.at("spec", "models", index, "name"))
    able = sorted((member for member in made.values() if member.capabilities), key=size)
    if len(capability_classes(able)) > MOST_CLASSES:
        said = f"capabilities of the members of '{policy.body.metadata.name}' make over {MOST_CLASSES} sets of models"
        found.append(error("P425", policy.at("spec", "models"), said, "fewer capabilities, or more alike"))
    return tuple(able)


def fallback(policy: Policy[ModelOrchestrator], members: Mapping[str, MemberSpec], found: list[Diagnostic]) -> Fallback:
    spec = policy.body.spec.routing.fallback
    explicit = OnExplicitModel(spec.on_explicit_model)
    loc = ("spec", "routing", "fallback", "chain")
    hops: dict[str, Hop] = {}
    for index, hop in enumerate(spec.chain):
        if hop.equivalent_to and explicit is not OnExplicitModel.ON_UNAVAILABLE:
            said = f"equivalentTo decides nothing with onExplicitModel: {explicit}"
            place = policy.key(*loc, index, "equivalentTo")
            found.append(warning("P440", place, said, "onExplicitModel: onUnavailable"))
        known = check_member(policy, (*loc, index, "model"), hop.model, members, found)
        equivalent = [
            (number, members[name].ref or name)
            for number, name in enumerate(hop.equivalent_to)
            if check_member(policy, (*loc, index, "equivalentTo", number), name, members, found)
        ]
        if not known:
            continue
        model = members[hop.model].ref or hop.model
        if model in hops:
            place = policy.at(*loc, index, "model")
            found.append(error("P219", place, f"fallback: {model} twice, first at {hops[model].origin}", "delete one"))
        for number, name in equivalent:
            if name == model:
                place = policy.at(*loc, index, "equivalentTo", number)
                found.append(error("P219", place, f"fallback: {model} is equivalent to itself", "delete it"))
        names = tuple(sorted({name for _, name in equivalent}))
        hops.setdefault(model, Hop(model, names, policy.at(*loc, index, "model")))
    return Fallback(tuple(hops.values()), explicit)
