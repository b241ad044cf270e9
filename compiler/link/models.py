"""InferenceModel policies to the fleet's models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from compiler.by_name import by_name
from compiler.catalogue import SLEEPING_ENGINES
from compiler.decode import Policies, Policy, Portion
from compiler.diagnostics import BUILT_IN, Diagnostic, Position, error
from compiler.fleet import Endpoint, Framework, Model, ModelType, Pool, Priority, Tenant, Version, Zones
from compiler.kept import Kept
from compiler.kinds import InferenceModel
from compiler.kinds.inference_model import InferenceModelSpec
from compiler.link.effective import effective
from compiler.link.endpoints import (
    Instances,
    check_addresses,
    check_endpoint_versions,
    check_own_endpoints,
    endpoints_of,
    instances_of,
)
from compiler.link.platform import Settings, gpu
from compiler.link.pools import Pools, pool_of
from compiler.link.recovery import Recovery
from compiler.link.references import weights_sum
from compiler.link.scaling import autoscaling, check_autoscaling
from compiler.link.served_names import served_names
from compiler.link.traffic import (
    check_mirror,
    check_traffic,
    connection_pool,
    fault,
    health_check,
    load_balancing,
    mirror,
    outlier_detection,
    retries,
    timeouts,
)
from compiler.link.workload import check_workload, cold_start, endpoint, engine, replicas, resources


class Alternative(NamedTuple):
    """One version of a model, with its share."""

    policy: Policy[InferenceModel]
    weight: int
    origin: Position


class _Linked(NamedTuple):
    """Models as far as no other has a say in them."""

    models: tuple[tuple[str, Model], ...]
    """Those of which every version is valid by itself, with their names."""
    instances: tuple[tuple[str, Instances], ...]
    mirroring: tuple[str, ...]
    found: tuple[Diagnostic, ...]
    unfit: tuple[Diagnostic, ...]
    """What of them does not fit the platform."""


class _More(NamedTuple):
    """What other policies say of a model."""

    model: str
    recovery: Recovery | None
    names: tuple[str, ...]
    """That it serves, beside its own."""
    tenant: Tenant | None
    """Whose alone it is."""


_NO_MORE = _More("", None, (), None)


def models(
    policies: Policies,
    platform: Settings,
    recovery: Mapping[str, Recovery],
    tenants: Mapping[str, Tenant],
    pools: Pools,
    kept: Kept,
    found: list[Diagnostic],
) -> Mapping[str, Model]:
    """By name, in order. `recovery` and `tenants` are those of each model."""
    names = served_names(policies, kept)
    more = {
        name: kept.same(("more", name), _More(name, recovery.get(name), names.get(name, ()), tenants.get(name)))
        for name in {*recovery, *names, *tenants}
    }
    portions = policies.portions
    if sum(kept.stretches(_count, portions)) != len(policies.of(InferenceModel)):
        # Without those whose name is another's.
        portions = (
            Portion(
                {InferenceModel: tuple(policies.of(InferenceModel).items())},
                tuple(policies.versions.items()),
                {},
                True,
                (),
                BUILT_IN,
            ),
        )
    linked = _all_linked(portions, more, platform, pools, kept)
    found.extend(kept.chained(_found, linked))
    found.extend(kept.chained(_unfit, linked) if policies.platform_known else ())
    result = by_name(kept, "models", kept.chained(_models, linked))
    mirroring = {n: _mirroring(result[n], policies, found) for n in kept.chained(_with_mirror, linked) if n in result}
    check_addresses(kept.each(_instances, linked), kept, found)
    return {**result, **mirroring} if mirroring else result


def _all_linked(
    portions: tuple[Portion, ...], more: Mapping[str, _More], platform: Settings, pools: Pools, kept: Kept
) -> tuple[_Linked, ...]:
    if not more:
        return kept.each(_linked, portions, (), platform, pools, using=(kept,))
    theirs = kept.each(_theirs, portions, kept.same("more", more), using=(kept,))
    return kept.rows(_linked, zip(portions, theirs, strict=True), platform, pools, using=(kept,))


def _theirs(portion: Portion, more: Mapping[str, _More], kept: Kept) -> tuple[_More, ...]:
    return kept.tuple_of(more[name] for name, _ in portion.of(InferenceModel) if name in more)


def _count(portions: tuple[Portion, ...]) -> int:
    return sum(len(portion.of(InferenceModel)) for portion in portions)


def _found(linked: _Linked) -> tuple[Diagnostic, ...]:
    return linked.found


def _unfit(linked: _Linked) -> tuple[Diagnostic, ...]:
    return linked.unfit


def _models(linked: _Linked) -> tuple[tuple[str, Model], ...]:
    return linked.models


def _with_mirror(linked: _Linked) -> tuple[str, ...]:
    return linked.mirroring


def _instances(linked: _Linked) -> tuple[tuple[str, Instances], ...]:
    return linked.instances


def _linked(portion: Portion, theirs: tuple[_More, ...], platform: Settings, pools: Pools, kept: Kept) -> _Linked:
    own, more = portion.of(InferenceModel), {of_model.model: of_model for of_model in theirs}
    found: list[Diagnostic] = []
    unfit: list[Diagnostic] = []
    models: list[tuple[str, Model]] = []
    instances: list[tuple[str, Instances]] = []
    views = dict(portion.versions)
    for name, policy in own:
        alternatives = kept.reported(found, _alternatives, policy, views.get(name, ()))
        _, recovery, more_names, tenant = more.get(name, _NO_MORE)
        if alternatives:
            pool = kept.reported(found, _pool, policy, alternatives, pools)
            parts = (policy, alternatives, platform, pool, recovery, more_names, tenant)
            models.append((name, kept.reported(unfit, _model, *parts)))
        instances.append((name, kept.of(_instances_of, alternatives)))
    mirroring = tuple(name for name, policy in own if policy.body.spec.traffic.mirror is not None)
    return _Linked(tuple(models), tuple(instances), mirroring, tuple(found), tuple(unfit))


def _pool(
    policy: Policy[InferenceModel], alternatives: tuple[Alternative, ...], pools: Pools, found: list[Diagnostic]
) -> Pool | None:
    has_gpus = any(alternative.policy.body.spec.resources.gpu_count for alternative in alternatives)
    return pool_of(policy, has_gpus, pools, found)


def _instances_of(alternatives: tuple[Alternative, ...]) -> Instances:
    return instances_of([alternative.policy for alternative in alternatives])


def _mirroring(model: Model, policies: Policies, found: list[Diagnostic]) -> Model:
    """`model`, without its mirror where that leads nowhere, which is reported."""
    policy, place = policies.of(InferenceModel)[model.name], ("spec", "traffic", "mirror")
    leads = check_mirror(policy, place, policy.body.spec.traffic, (model.name,), policies, found)
    return model if leads else replace(model, mirror=None)


def effective_versions(
    policy: Policy[InferenceModel], policies: Policies, platform: Settings, recovery: Recovery | None
) -> list[tuple[Alternative, InferenceModelSpec]]:
    """Each version with its whole spec. Problems are not reported here; linking the fleet does."""
    unheard: list[Diagnostic] = []
    alternatives = _alternatives(policy, policies.versions.get(policy.body.metadata.name, ()), unheard)
    heaviest = _heaviest(alternatives)
    return [(a, _effective(policy, a, platform, recovery if a is heaviest else None, unheard)) for a in alternatives]


def _model(
    policy: Policy[InferenceModel],
    alternatives: tuple[Alternative, ...],
    platform: Settings,
    pool: Pool | None,
    recovery: Recovery | None,
    more_names: tuple[str, ...],
    tenant: Tenant | None,
    found: list[Diagnostic],
) -> Model:
    name, metadata = policy.body.metadata.name, policy.body.metadata
    heaviest = _heaviest(alternatives)
    specs = [_effective(policy, a, platform, recovery if a is heaviest else None, found) for a in alternatives]
    shared = specs[alternatives.index(heaviest)]
    for alternative, spec in zip(alternatives, specs, strict=True):
        if alternative is not heaviest and alternative.weight and spec.replicas == 0:
            # The heaviest has the hot standbys; another version's requests go to none of them.
            found.append(_nothing_serves(f"{name} version {spec.version}", alternative.policy))
        check_workload(alternative.policy, spec, platform, found)
        check_autoscaling(alternative.policy, spec, platform, found)
        check_traffic(alternative.policy, spec, found)
    _check_standbys(policy, heaviest, shared, recovery, found)
    aliases, traffic = policy.body.spec.aliases, ("spec", "traffic")
    return Model(
        name=name,
        namespace=tenant.namespace if tenant else metadata.namespace or platform.namespace,
        aliases=aliases,
        served_names=(name, *aliases, *more_names),
        type=ModelType(shared.type),
        versions=tuple(
            _version(policy, a, spec, platform, recovery if a is heaviest else None, found)
            for a, spec in zip(alternatives, specs, strict=True)
        ),
        zones=recovery.zones if recovery else Zones((), None),
        rto=recovery.rto if recovery else None,
        load_balancing=load_balancing(policy, shared.traffic, found),
        outlier_detection=outlier_detection(shared.traffic, policy.said(*traffic, "outlierDetection")),
        retries=retries(shared.traffic, policy.said(*traffic, "retries")),
        timeouts=timeouts(
            shared.traffic, policy.said(*traffic, "timeouts"), policy.said(*traffic, "timeouts", "stream")
        ),
        mirror=mirror(shared.traffic, policy.said(*traffic, "mirror")),
        fault=fault(shared.traffic, policy.said(*traffic, "fault")),
        expected_qps=shared.expected_qps.typical if shared.expected_qps else None,
        labels=tuple(sorted(metadata.labels.items())),
        annotations=tuple(sorted(metadata.annotations.items())),
        origin=policy.at("metadata", "name"),
        pool=pool,
        tenant=tenant.name if tenant else None,
        priority=recovery.priority if recovery else Priority.NORMAL,
    )


def _version(
    policy: Policy[InferenceModel],
    alternative: Alternative,
    spec: InferenceModelSpec,
    platform: Settings,
    recovery: Recovery | None,
    found: list[Diagnostic],
) -> Version:
    return Version(
        name=str(spec.version),
        weight=alternative.weight,
        model_name=spec.model_name,
        engine=engine(spec, alternative.policy.body.metadata.name),
        resources=resources(spec, gpu(alternative.policy, platform, [])),
        cold_start=cold_start(spec),
        replicas=replicas(spec),
        hot=recovery.hot if recovery else 0,
        warm=recovery.warm if recovery else 0,
        cold=recovery.cold if recovery else 0,
        endpoints=_endpoints(policy, alternative.policy),
        health_check=health_check(spec.traffic),
        connection_pool=connection_pool(spec.traffic, alternative.policy.said("spec", "traffic", "connectionPool")),
        origin=alternative.origin,
        autoscaling=autoscaling(alternative.policy, spec, platform.autoscaler),
        standby_origin=recovery.place if recovery else BUILT_IN,
    )


def _endpoints(policy: Policy[InferenceModel], version: Policy[InferenceModel]) -> tuple[Endpoint, ...]:
    listed = endpoints_of(policy, version)
    return tuple(endpoint(item, version.at("spec", "endpoints", index, "address")) for index, item in listed)


def _effective(
    policy: Policy[InferenceModel],
    alternative: Alternative,
    platform: Settings,
    recovery: Recovery | None,
    found: list[Diagnostic],
) -> InferenceModelSpec:
    spec = alternative.policy.body.spec
    own = tuple(item for _, item in endpoints_of(policy, alternative.policy))
    return effective(spec, gpu(alternative.policy, platform, found), recovery.standbys if recovery else 0, own)


def _alternatives(
    policy: Policy[InferenceModel], views: tuple[Policy[InferenceModel], ...], found: list[Diagnostic]
) -> tuple[Alternative, ...]:
    """The model's versions with weights that sum to 100; empty when one of them is invalid by itself.

    `views` are those of `Policies.versions`.
    """
    spec = policy.body.spec
    if spec.versions is None:
        check_endpoint_versions(policy, spec.endpoints, (spec.version or "1",), (), found)
        return (Alternative(policy, 100, policy.at("metadata", "name")),)
    if policy.wrote("spec", "version"):
        place = policy.key("spec", "version")
        found.append(error("P201", place, "'spec.version' and 'spec.versions' exclude each other", "one of them"))
    weights = [100 if v.weight is None and len(spec.versions) == 1 else v.weight for v in spec.versions]
    places = [policy.at("spec", "versions", i, "weight") for i in range(len(weights))]
    for index, weight in enumerate(weights):
        if weight is None:
            missing = f"'spec.versions[{index}].weight' is missing"
            found.append(error("P113", places[index], missing, "weights of all versions sum to 100"))
    known = [weight for weight in weights if weight is not None]
    what = f"model '{policy.body.metadata.name}'"
    if len(known) == len(weights) and (bad := weights_sum(what, known, places)):
        found.append(bad)
    names = tuple(version.name for version in spec.versions)
    heirs = tuple(v.name for v in spec.versions if v.endpoints is None)
    check_endpoint_versions(policy, spec.endpoints, names, names if len(names) > 1 else (), found)
    check_own_endpoints(policy, spec, heirs, found)
    if len(views) != len(weights):
        return ()
    return tuple(
        Alternative(view, weight or 0, policy.at("spec", "versions", index, "name"))
        for index, (view, weight) in enumerate(zip(views, weights, strict=True))
    )


def _heaviest(alternatives: tuple[Alternative, ...]) -> Alternative:
    """The version whose tiers stand by: the one with most of the traffic, the first of equals."""
    return max(alternatives, key=lambda a: a.weight)


def _nothing_serves(what: str, version: Policy[InferenceModel]) -> Diagnostic:
    by_load = not version.wrote("spec", "replicas") and version.wrote("spec", "autoscaling", "minReplicas")
    loc = ("autoscaling", "minReplicas") if by_load else ("replicas",)
    said = f"nothing serves {what}: 0 replicas, no hot standby"
    return error("P420", version.at("spec", *loc), said, f"{loc[-1]}: 1")


def _check_standbys(
    policy: Policy[InferenceModel],
    heaviest: Alternative,
    spec: InferenceModelSpec,
    recovery: Recovery | None,
    found: list[Diagnostic],
) -> None:
    name = policy.body.metadata.name
    if heaviest.weight and spec.replicas == 0 and not (recovery and recovery.hot):
        found.append(_nothing_serves(name, heaviest.policy))
    sleeps = Framework(spec.framework) in SLEEPING_ENGINES
    if recovery and recovery.warm and not sleeps and not spec.cold_start.preload_to_shm:
        said = f"{name}: a warm standby of {spec.framework} needs preloadToShm"
        found.append(error("P424", recovery.warm_place, said, "coldStart: {preloadToShm: true}"))
