"""InferenceModel policies to the fleet's models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from compiler.catalogue import MAINTENANCE_ONLY, SLEEPING_ENGINES
from compiler.decode import Policies, Policy
from compiler.diagnostics import Diagnostic, Position, error, warning
from compiler.fleet import Framework, Model, ModelType, Version, Zones
from compiler.kinds import InferenceModel, ModelOrchestrator
from compiler.kinds.inference_model import EndpointSpec, InferenceModelSpec
from compiler.kinds.values import bytes_text
from compiler.link.effective import GIB, effective
from compiler.link.platform import Settings, gpu
from compiler.link.recovery import Recovery
from compiler.link.references import weights_sum
from compiler.link.traffic import (
    check_traffic,
    connection_pool,
    health_check,
    load_balancing,
    outlier_detection,
    retries,
    timeouts,
)
from compiler.link.workload import cold_start, endpoint, engine, resources


class Alternative(NamedTuple):
    """One version of a model, with its share."""

    policy: Policy[InferenceModel]
    weight: int
    origin: Position


def models(
    policies: Policies, platform: Settings, recovery: Mapping[str, Recovery], found: list[Diagnostic]
) -> tuple[Model, ...]:
    choosers = _choosers(policies)
    judged = found if policies.platform_known else []
    taken: dict[tuple[str, int], tuple[str, Position]] = {}
    result = []
    for policy in policies.of(InferenceModel):
        alternatives = _alternatives(policy, policies, found)
        if alternatives:
            name = policy.body.metadata.name
            result.append(_model(policy, alternatives, platform, recovery.get(name), choosers.get(name, ()), judged))
            _check_addresses(policy, alternatives, taken, found)
    return tuple(result)


def effective_versions(
    policy: Policy[InferenceModel], policies: Policies, platform: Settings, recovery: Recovery | None
) -> list[tuple[Alternative, InferenceModelSpec]]:
    """Each version with its whole spec. Problems are not reported here; linking the fleet does."""
    unheard: list[Diagnostic] = []
    alternatives = _alternatives(policy, policies, unheard)
    heaviest = _heaviest(alternatives)
    return [(a, _effective(policy, a, platform, recovery if a is heaviest else None, unheard)) for a in alternatives]


def _model(
    policy: Policy[InferenceModel],
    alternatives: list[Alternative],
    platform: Settings,
    recovery: Recovery | None,
    choosers: tuple[str, ...],
    found: list[Diagnostic],
) -> Model:
    name, metadata = policy.body.metadata.name, policy.body.metadata
    heaviest = _heaviest(alternatives)
    specs = [_effective(policy, a, platform, recovery if a is heaviest else None, found) for a in alternatives]
    shared = specs[alternatives.index(heaviest)]
    for alternative, spec in zip(alternatives, specs, strict=True):
        _check_workload(alternative.policy, spec, platform, found)
    _check_standbys(policy, heaviest, shared, recovery, found)
    aliases = policy.body.spec.aliases
    return Model(
        name=name,
        namespace=metadata.namespace or platform.namespace,
        aliases=aliases,
        served_names=(name, *aliases, *choosers),
        type=ModelType(shared.type),
        versions=tuple(
            _version(a, spec, platform, recovery if a is heaviest else None, found)
            for a, spec in zip(alternatives, specs, strict=True)
        ),
        zones=recovery.zones if recovery else Zones((), None),
        load_balancing=load_balancing(policy, shared.traffic, found),
        outlier_detection=outlier_detection(shared.traffic),
        retries=retries(shared.traffic),
        timeouts=timeouts(shared.traffic),
        labels=tuple(sorted(metadata.labels.items())),
        annotations=tuple(sorted(metadata.annotations.items())),
        origin=policy.at("metadata", "name"),
    )


def _version(
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
        engine=engine(spec),
        resources=resources(spec, gpu(alternative.policy, platform, [])),
        cold_start=cold_start(spec),
        replicas=spec.replicas,
        hot=recovery.hot if recovery else 0,
        warm=recovery.warm if recovery else 0,
        cold=recovery.cold if recovery else 0,
        endpoints=tuple(endpoint(e) for e in spec.endpoints),
        health_check=health_check(spec.traffic),
        connection_pool=connection_pool(spec.traffic),
        origin=alternative.origin,
    )


def _effective(
    policy: Policy[InferenceModel],
    alternative: Alternative,
    platform: Settings,
    recovery: Recovery | None,
    found: list[Diagnostic],
) -> InferenceModelSpec:
    spec = alternative.policy.body.spec
    own = tuple(item for _, item in endpoints_of(policy, alternative))
    return effective(spec, gpu(alternative.policy, platform, found), recovery.standbys if recovery else 0, own)


def endpoints_of(policy: Policy[InferenceModel], alternative: Alternative) -> list[tuple[int, EndpointSpec]]:
    """The endpoints of one version, each with its index in the list where policy has it."""
    spec = alternative.policy.body.spec
    several = policy.body.spec.versions is not None
    own = (None, spec.version or "1")
    return [(index, item) for index, item in enumerate(spec.endpoints) if not several or item.version in own]


def _alternatives(policy: Policy[InferenceModel], policies: Policies, found: list[Diagnostic]) -> list[Alternative]:
    """The model's versions with weights that sum to 100; empty when one of them is invalid by itself."""
    spec = policy.body.spec
    if spec.versions is None:
        _check_endpoint_versions(policy, spec.endpoints, (spec.version or "1",), (), found)
        return [Alternative(policy, 100, policy.at("metadata", "name"))]
    if policy.wrote("spec", "version"):
        place = policy.key("spec", "version")
        found.append(error("P201", place, "'spec.version' and 'spec.versions' exclude each other", "one of them"))
    views = policies.versions[policy.body.metadata.name]
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
    _check_endpoint_versions(policy, spec.endpoints, names, names if len(names) > 1 else (), found)
    _check_own_endpoints(policy, spec, heirs, found)
    if len(views) != len(weights):
        return []
    return [
        Alternative(view, weight or 0, policy.at("spec", "versions", index, "name"))
        for index, (view, weight) in enumerate(zip(views, weights, strict=True))
    ]


def _check_endpoint_versions(
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


def _check_own_endpoints(
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


def _heaviest(alternatives: list[Alternative]) -> Alternative:
    """The version whose tiers stand by: the one with most of the traffic, the first of equals."""
    return max(alternatives, key=lambda a: a.weight)


def _choosers(policies: Policies) -> Mapping[str, tuple[str, ...]]:
    """For each model, the orchestrators that may choose it, sorted."""
    result: dict[str, set[str]] = {}
    for policy in policies.of(ModelOrchestrator):
        for member in policy.body.spec.models:
            result.setdefault(member.ref or member.name, set()).add(policy.body.metadata.name)
    return {name: tuple(sorted(choosers)) for name, choosers in result.items()}


def _check_addresses(
    policy: Policy[InferenceModel],
    alternatives: Iterable[Alternative],
    taken: dict[tuple[str, int], tuple[str, Position]],
    found: list[Diagnostic],
) -> None:
    """An instance belongs to one version of one model."""
    name = policy.body.metadata.name
    for alternative in alternatives:
        for index, item in enumerate(alternative.policy.body.spec.endpoints):
            place = alternative.policy.at("spec", "endpoints", index)
            key = item.address, item.port
            other, first = taken.setdefault(key, (name, place))
            if first != place:
                both = f"belongs to {other} and {name}" if other != name else f"stands twice in {name}"
                said = f"endpoint {item.address}:{item.port} {both}"
                found.append(error("P208", place, said, f"first at {first}"))


def _check_workload(
    policy: Policy[InferenceModel], spec: InferenceModelSpec, platform: Settings, found: list[Diagnostic]
) -> None:
    _check_gpus(policy, spec, platform, found)
    _check_image(policy, str(spec.image), platform, found)
    check_traffic(policy, spec, found)
    if Framework(spec.framework) in MAINTENANCE_ONLY:
        place = policy.at("spec", "framework")
        found.append(warning("P410", place, f"{spec.framework} is in maintenance mode", "vllm or sglang"))


def _check_gpus(
    policy: Policy[InferenceModel], spec: InferenceModelSpec, platform: Settings, found: list[Diagnostic]
) -> None:
    needs, config = spec.resources, spec.config
    has = gpu(policy, platform, []).memory_gib * needs.gpu_count * GIB
    if needs.gpu_memory is not None and has and needs.gpu_memory != has:
        place = policy.at("spec", "resources", "gpuMemory")
        given, real = bytes_text(needs.gpu_memory), bytes_text(has)
        said = f"gpuMemory {given}: {needs.gpu_count} × {needs.gpu_type} have {real}"
        found.append(error("P209", place, said, "leave gpuMemory out"))
    tensor_parallel = config.tensor_parallel or 1
    if needs.gpu_count and needs.gpu_count % tensor_parallel:
        place = policy.at("spec", "config", "tensorParallel")
        said = f"tensorParallel {tensor_parallel} does not divide gpuCount {needs.gpu_count}"
        found.append(error("P210", place, said, f"tensorParallel: {needs.gpu_count}"))


def _check_image(policy: Policy[InferenceModel], image: str, platform: Settings, found: list[Diagnostic]) -> None:
    place = policy.at("spec", "image")
    if platform.require_digest and "@sha256:" not in image:
        said = f"image '{image}' is not pinned: Platform requires a digest"
        found.append(error("P109", place, said, "name@sha256:…"))
    registry, path = _registry(image)
    full = f"{registry}/{path}"
    if platform.registries and not any(full == r or full.startswith(r.rstrip("/") + "/") for r in platform.registries):
        hint = f"one of {', '.join(platform.registries)}"
        found.append(error("P111", place, f"registry {registry} is not allowed", hint))


def _registry(image: str) -> tuple[str, str]:
    """The host that `image` comes from, and the rest; a first part without dot or port is no host but a folder."""
    first, slash, rest = image.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return first, rest
    return "docker.io", image


def _check_standbys(
    policy: Policy[InferenceModel],
    heaviest: Alternative,
    spec: InferenceModelSpec,
    recovery: Recovery | None,
    found: list[Diagnostic],
) -> None:
    name = policy.body.metadata.name
    if heaviest.weight and spec.replicas == 0 and not (recovery and recovery.hot):
        place = heaviest.policy.at("spec", "replicas")
        found.append(error("P420", place, f"nothing serves {name}: 0 replicas, no hot standby", "replicas: 1"))
    sleeps = Framework(spec.framework) in SLEEPING_ENGINES
    if recovery and recovery.warm and not sleeps and not spec.cold_start.preload_to_shm:
        said = f"{name}: a warm standby of {spec.framework} needs preloadToShm"
        found.append(error("P424", recovery.warm_place, said, "coldStart: {preloadToShm: true}"))
