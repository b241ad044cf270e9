"""Rollouts to the models that they move."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta

from compiler.decode import Policies, Policy
from compiler.diagnostics import Diagnostic, Position, error, warning
from compiler.fleet import HashKey, HashSource, Model, Rollout, RolloutEngine, RolloutStrategy, slug
from compiler.fleet.names import version_slug
from compiler.kept import Kept
from compiler.kinds import DisasterRecovery, InferenceModel
from compiler.kinds import Rollout as RolloutKind
from compiler.kinds.measures import duration_text
from compiler.kinds.rollout import StickySpec
from compiler.link.analysis import analysis
from compiler.link.flagger import check_flagger
from compiler.link.names import STANDBYS
from compiler.link.platform import Settings
from compiler.link.references import dangling

READY = timedelta(minutes=5)
DRAIN = timedelta(minutes=2)

RolloutPolicy = Policy[RolloutKind]
ModelPolicy = Policy[InferenceModel]


def with_rollouts(
    models: Mapping[str, Model], policies: Policies, platform: Settings, kept: Kept, found: list[Diagnostic]
) -> Mapping[str, Model]:
    """`models`, those that a Rollout moves with it."""
    if not policies.of(RolloutKind):
        return models
    moved: dict[str, Rollout] = {}
    first: dict[str, RolloutPolicy] = {}
    for policy in policies.of(RolloutKind).values():
        name, place = policy.body.spec.model, policy.at("spec", "model")
        if name not in policies.names[InferenceModel]:
            found.append(dangling("spec.model", "InferenceModel", name, place, policies.names[InferenceModel]))
        elif name in first:
            before = first[name]
            one = f"{before.body.metadata.name} ({before.at('spec', 'model')})"
            said = f"{one} and {policy.body.metadata.name} both move {name}"
            found.append(error("P223", place, said, "one rollout a model"))
        else:
            first[name] = policy
            if name in models:  # else linking the model has said why not
                written = policies.of(InferenceModel)[name]
                moved[name] = kept.reported(found, _rollout, policy, written, models[name], platform)
    _check_standbys(first, policies, found)
    _check_slugs(policies, found)
    result = {**models, **{name: kept.of(_moved, models[name], rollout) for name, rollout in moved.items()}}
    _check_names(result.values(), found)
    return result


def _moved(model: Model, rollout: Rollout) -> Model:
    return replace(model, rollout=rollout)


def _rollout(
    policy: RolloutPolicy, written: ModelPolicy, model: Model, platform: Settings, found: list[Diagnostic]
) -> Rollout:
    spec, metadata = policy.body.spec, policy.body.metadata
    engine = RolloutEngine(spec.engine)
    _check_versions(policy, written, model, found)
    _check_steps(policy, found)
    _check_namespace(policy, model, found)
    result = Rollout(
        name=metadata.name,
        model=model.name,
        from_version=spec.from_,
        to_version=spec.to,
        strategy=RolloutStrategy(spec.strategy),
        steps=spec.steps,
        interval=spec.interval,
        pause_after=spec.pause_after,
        shadow_percent=spec.shadow_percent,
        sticky_by=_sticky_by(policy, spec.sticky_by, found),
        ready_timeout=_ready_timeout(policy, model, found),
        drain_timeout=DRAIN if spec.drain_timeout is None else spec.drain_timeout,
        analysis=analysis(policy, engine, model, found),
        engine=engine,
        labels=tuple(sorted(metadata.labels.items())),
        annotations=tuple(sorted(metadata.annotations.items())),
        origin=policy.at("metadata", "name"),
        engine_origin=policy.at("spec", "engine") if policy.wrote("spec", "engine") else policy.at("metadata", "name"),
    )
    if engine is RolloutEngine.FLAGGER:
        check_flagger(policy, written, model, result, platform.prometheus, found)
    else:
        said = f"'engine: turnout' has no effect in this version of turnout: {model.name} keeps its committed weights"
        found.append(warning("P116", result.engine_origin, said, "engine: flagger on Istio, or commit each step"))
    return result


def _check_versions(policy: RolloutPolicy, written: ModelPolicy, model: Model, found: list[Diagnostic]) -> None:
    spec = policy.body.spec
    names = [version.name for version in model.versions]
    unknown = [(field, name) for field, name in (("from", spec.from_), ("to", spec.to)) if name not in names]
    for field, name in unknown:
        found.append(dangling(f"spec.{field}", f"version of '{model.name}'", name, policy.at("spec", field), names))
    if unknown:
        return
    if spec.from_ == spec.to and spec.engine == "turnout":
        said = f"a rollout owns this split: from and to are both '{spec.to}'"
        found.append(error("P222", policy.at("spec", "to"), said, "two versions of one model"))
        return
    for index, version in enumerate(model.versions):
        if version.weight != (100 if version.name == spec.from_ else 0):
            place = written.at("spec", "versions", index, "weight")
            owner = f"{policy.body.metadata.name} ({policy.at('metadata', 'name')})"
            hint = f"{spec.from_} 100" + (f", {spec.to} 0" if spec.to != spec.from_ else "")
            said = f"a rollout owns this split: {owner} starts with all requests at {spec.from_}"
            found.append(error("P222", place, said, hint))
            return


def _check_steps(policy: RolloutPolicy, found: list[Diagnostic]) -> None:
    spec = policy.body.spec
    for index, (before, step) in enumerate(zip(spec.steps, spec.steps[1:], strict=False), 1):
        if step <= before:
            place = policy.at("spec", "steps", index)
            rising = ", ".join(map(str, sorted(set(spec.steps))))
            found.append(error("P107", place, f"steps must rise: {step} after {before}", f"[{rising}]"))
            break
    for index, step in enumerate(spec.pause_after):
        if step not in spec.steps:
            place = policy.at("spec", "pauseAfter", index)
            found.append(dangling("spec.pauseAfter", "step", str(step), place, map(str, spec.steps)))


def _check_namespace(policy: RolloutPolicy, model: Model, found: list[Diagnostic]) -> None:
    """What moves a model must stand where the model does."""
    namespace = policy.body.metadata.namespace
    if namespace is not None and namespace != model.namespace:
        said = f"metadata.namespace: '{namespace}' is not {model.namespace}, where {model.name} is"
        found.append(error("P104", policy.at("metadata", "namespace"), said, "leave it out"))


def _sticky_by(policy: RolloutPolicy, spec: StickySpec | None, found: list[Diagnostic]) -> HashKey | None:
    if spec is None:
        return None
    place = policy.at("spec", "stickyBy")
    if (spec.header is None) == (spec.cookie is None):
        said = "'header' and 'cookie' exclude each other" if spec.header else "one of 'header' and 'cookie' is needed"
        found.append(error("P201", place, f"spec.stickyBy: {said}", "{header: x-session-id}"))
        return None
    if spec.header is not None and spec.header.lower() == "x-request-id":
        said = "x-request-id is new on every request: a cohort by it is random"
        found.append(error("P213", policy.at("spec", "stickyBy", "header"), said, "a session or user header"))
    if spec.header is not None:
        return HashKey(HashSource.HEADER, spec.header)
    return HashKey(HashSource.COOKIE, spec.cookie or "")


def _ready_timeout(policy: RolloutPolicy, model: Model, found: list[Diagnostic]) -> timedelta:
    given = policy.body.spec.ready_timeout
    loads = max((v.cold_start.cold for v in model.versions if v.name == policy.body.spec.to), default=timedelta(0))
    if given is None:
        return max(READY, loads * 5 / 4)
    if given < loads:
        said = f"start-up budget {duration_text(given)} is under load time {duration_text(loads)}"
        hint = f"readyTimeout: {duration_text(loads * 5 / 4)}"
        found.append(error("P406", policy.at("spec", "readyTimeout"), said, hint))
    return given


def _check_standbys(moved: dict[str, RolloutPolicy], policies: Policies, found: list[Diagnostic]) -> None:
    flaggers = {name: policy for name, policy in moved.items() if policy.body.spec.engine == "flagger"}
    for recovery in policies.of(DisasterRecovery).values() if flaggers else ():
        for index, entry in enumerate(recovery.body.spec.models):
            if entry.name in flaggers and (entry.hot_standby or entry.warm_standby or entry.cold_standby):
                place = flaggers[entry.name].at("spec", "engine")
                standbys = recovery.at("spec", "models", index, "name")
                said = f"Flagger cannot roll a model with standby tiers, as {entry.name} has ({standbys})"
                found.append(error("P452", place, said, "engine: turnout"))


def _check_slugs(policies: Policies, found: list[Diagnostic]) -> None:
    first: dict[str, str] = {}
    for name, policy in policies.of(RolloutKind).items():
        other = first.setdefault(slug(name), name)
        if other != name:
            said = f"'{other}' and '{name}' both become {slug(name)}"
            place = policy.at("metadata", "name")
            found.append(error("P207", place, said, "names that differ in more than - and ."))


def _check_names(models: Collection[Model], found: list[Diagnostic]) -> None:
    """What Flagger makes for a model must not be called as what another model has."""
    flaggers = {f"{slug(m.name)}{of}": m for m in models if m.is_flaggers for of in ("", "-primary", "-canary")}
    for model in models if flaggers else ():
        for name, place in _own_names(model):
            moved = flaggers.get(name, model)
            if moved is not model and moved.rollout is not None:
                said = f"'{model.name}' ({place}) and what Flagger makes for '{moved.name}' both become {name}"
                found.append(error("P207", moved.rollout.origin, said, "another name"))


def _own_names(model: Model) -> Iterator[tuple[str, Position]]:
    """Of its Services and Deployments."""
    if model.is_flaggers:
        yield from ((f"{slug(model.name)}{of}", model.origin) for of in ("", "-primary", "-canary"))
        return
    for version in model.versions:
        name = f"{slug(model.name)}-{version_slug(version.name)}"
        yield from ((each, version.origin) for each in (name, *(f"{name}-{tier}" for tier in STANDBYS)))
