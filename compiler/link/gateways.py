"""Gateway and ModelOrchestrator policies to the fleet's gateways."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from compiler.decode import Policies, Policy
from compiler.diagnostics import Diagnostic, Position, error, warning
from compiler.fleet import (
    Gateway,
    Host,
    LengthUnit,
    Listener,
    Model,
    Orchestrator,
    PodResources,
    Protocol,
    ServiceType,
    Target,
    longest_of,
)
from compiler.fleet.names import SIDECAR
from compiler.kept import Kept
from compiler.kinds import Gateway as GatewayKind
from compiler.kinds import InferenceModel, ModelOrchestrator
from compiler.kinds.gateway import GatewaySpec
from compiler.kinds.model_orchestrator import MemberSpec
from compiler.link.fallback import capable_members, fallback
from compiler.link.members import check_member
from compiler.link.platform import Settings
from compiler.link.references import dangling, weights_sum
from compiler.link.rules import rules
from compiler.link.traffic import ROUTE_FIELDS

IMPLICIT = "default"
"""The gateway there is when policy has none: every host, port 8080, HTTP, all models."""

LEAST_REQUEST_BYTES = 4 * 2**20
BYTES_PER_TOKEN = 16
"""Enough for a prompt of one model's longest context: a token of CJK text in escaped JSON is 6 to 12 bytes."""


def gateways(
    policies: Policies,
    platform: Settings,
    models: tuple[Model, ...],
    by_name: Mapping[str, Model],
    kept: Kept,
    found: list[Diagnostic],
) -> tuple[Gateway, ...]:
    orchestrators = _orchestrators(policies, platform, by_name, kept, found)
    declared = tuple(policies.of(GatewayKind).values())
    _check_names(declared, found)
    _check_hosts(declared, found)
    built = [_gateway(policy, platform, models, by_name, orchestrators, policies, kept, found) for policy in declared]
    if not policies.names[GatewayKind]:
        built = [_implicit(platform, models, tuple(by_name), orchestrators.get(IMPLICIT), kept)]
    return tuple(built)


def _gateway(
    policy: Policy[GatewayKind],
    platform: Settings,
    models: tuple[Model, ...],
    by_name: Mapping[str, Model],
    orchestrators: Mapping[str, Orchestrator],
    policies: Policies,
    kept: Kept,
    found: list[Diagnostic],
) -> Gateway:
    spec, metadata = policy.body.spec, policy.body.metadata
    names = tuple(by_name) if spec.models is None else tuple(sorted(spec.models))
    known = policies.names[InferenceModel]
    first: dict[str, Position] = {}
    for index, name in enumerate(spec.models or ()):
        place = policy.at("spec", "models", index)
        if name not in known:
            found.append(dangling(f"spec.models[{index}]", "InferenceModel", name, place, known))
        elif name in first:
            found.append(error("P204", place, f"model '{name}' twice, first at {first[name]}", "delete one"))
        first.setdefault(name, place)
    limit = spec.max_request_bytes
    reachable = models if spec.models is None else tuple([by_name[name] for name in names if name in by_name])
    return Gateway(
        name=metadata.name,
        namespace=metadata.namespace or platform.namespace,
        hosts=tuple(
            Host(host, platform.carrier(host), policy.at("spec", "hosts", index))
            for index, host in enumerate(spec.hosts)
        ),
        listeners=tuple(_listeners(policy, found)),
        models=names,
        orchestrator=orchestrators.get(metadata.name),
        max_request_bytes=_request_bytes(reachable, kept) if limit is None else limit,
        labels=tuple(sorted(metadata.labels.items())),
        annotations=tuple(sorted(metadata.annotations.items())),
        origin=policy.at("metadata", "name"),
        replicas=spec.replicas,
        resources=PodResources(spec.resources.cpu, spec.resources.memory),
        service_type=ServiceType(spec.service_type),
        limit_origin=policy.said("spec", "maxRequestBytes"),
    )


def _implicit(
    platform: Settings, models: tuple[Model, ...], names: tuple[str, ...], orchestrator: Orchestrator | None, kept: Kept
) -> Gateway:
    spec = GatewaySpec()
    return Gateway(
        name=IMPLICIT,
        namespace=platform.namespace,
        hosts=tuple(Host(host, platform.carrier(host)) for host in spec.hosts),
        listeners=tuple(Listener(listener.port, Protocol(listener.protocol), None) for listener in spec.listeners),
        models=names,
        orchestrator=orchestrator,
        max_request_bytes=_request_bytes(models, kept),
        labels=(),
        annotations=(),
        origin=Position("built-in", 0, 0),
    )


def _request_bytes(models: tuple[Model, ...], kept: Kept) -> int:
    longest = max(kept.stretches(longest_of, models), default=0)
    return max(LEAST_REQUEST_BYTES, BYTES_PER_TOKEN * longest)


def _listeners(policy: Policy[GatewayKind], found: list[Diagnostic]) -> Iterator[Listener]:
    first: dict[int, Position] = {}
    for index, spec in enumerate(policy.body.spec.listeners):
        loc = ("spec", "listeners", index)
        secret = spec.tls.secret_ref.name if spec.tls else None
        if spec.protocol == "HTTPS" and secret is None:
            place = policy.at(*loc, "protocol")
            found.append(error("P225", place, "HTTPS without tls.secretRef", "tls: {secretRef: {name: …}}"))
        if spec.protocol == "HTTP" and secret is not None:
            place = policy.at(*loc, "tls")
            found.append(error("P201", place, "'tls' and 'protocol: HTTP' exclude each other", "protocol: HTTPS"))
        port = policy.at(*loc, "port")
        if spec.port in first:
            said = f"port {spec.port} twice, first at {first[spec.port]}"
            found.append(error("P204", port, said, "another port"))
        first.setdefault(spec.port, port)
        yield Listener(spec.port, Protocol(spec.protocol), secret if spec.protocol == "HTTPS" else None, port)


def _check_names(policies: tuple[Policy[GatewayKind], ...], found: list[Diagnostic]) -> None:
    for policy in policies:
        name = policy.body.metadata.name
        if name.partition(".")[0] == SIDECAR:  # it could not be told from those
            said = f"'{name}' is no name: {SIDECAR} is the group of Envoys beside a client"
            found.append(error("P115", policy.at("metadata", "name"), said, "another name"))


def _check_hosts(policies: tuple[Policy[GatewayKind], ...], found: list[Diagnostic]) -> None:
    owners: dict[str, tuple[str, Position]] = {}
    for policy in policies:
        name = policy.body.metadata.name
        for index, host in enumerate(policy.body.spec.hosts):
            place = policy.at("spec", "hosts", index)
            owner, first = owners.setdefault(host, (name, place))
            if owner != name:
                found.append(error("P218", place, f"{owner} and {name} both serve {host}", "hosts of its own for each"))
            elif first != place:
                found.append(error("P204", place, f"host '{host}' twice, first at {first}", "delete one"))


def _orchestrators(
    policies: Policies, platform: Settings, models: Mapping[str, Model], kept: Kept, found: list[Diagnostic]
) -> Mapping[str, Orchestrator]:
    """By the gateway each of them serves."""
    known = policies.names[GatewayKind] or frozenset({IMPLICIT})
    result: dict[str, Orchestrator] = {}
    for policy in policies.of(ModelOrchestrator).values():
        orchestrator, problems = kept.by(
            _orchestrator,
            (policy, policies.platform, platform, *_involved(policy, policies, models)),
            _orchestrator,
            (policy, policies, platform, models),
        )
        found.extend(problems)
        gateway = policy.body.spec.gateway
        if gateway is None and len(known) > 1:
            names = ", ".join(sorted(known))
            found.append(error("P113", policy.at("spec"), "'spec.gateway' is missing", f"one of {names}"))
            continue
        name = gateway or next(iter(known))
        place = policy.at("spec", "gateway") if gateway else policy.at("metadata", "name")
        if name not in known:
            found.append(dangling("spec.gateway", "Gateway", name, place, known))
        elif name in result:
            said = f"{result[name].name} and {orchestrator.name} both serve requests of {name} that name no model"
            found.append(error("P218", place, said, "one orchestrator for a gateway"))
        else:
            result[name] = orchestrator
    return result


def _involved(
    policy: Policy[ModelOrchestrator], policies: Policies, models: Mapping[str, Model]
) -> Iterator[Policy[InferenceModel] | Model | None]:
    """All that an orchestrator takes from models, as they are written and as they are linked."""
    spec, written = policy.body.spec, policies.of(InferenceModel)
    for member in spec.models:
        name = member.ref or member.name
        yield from (written.get(name), models.get(name))
    for rule in spec.routing.rules or ():
        if rule.traffic is not None and rule.traffic.mirror is not None:
            yield written.get(rule.traffic.mirror.model)


def _orchestrator(
    policy: Policy[ModelOrchestrator], policies: Policies, platform: Settings, models: Mapping[str, Model]
) -> tuple[Orchestrator, tuple[Diagnostic, ...]]:
    """With what is wrong with it."""
    found: list[Diagnostic] = []
    spec = policy.body.spec
    members = _members(policy, policies, found)
    made = rules(policy, policies, members, found)
    targets = _default_stage(policy, members, found)
    if policies.platform_known:
        _check_alike(policy, [models[t.model] for t in targets if t.model in models], found)
    orchestrator = Orchestrator(
        name=policy.body.metadata.name,
        rules=made,
        prompt_length_unit=LengthUnit(spec.routing.prompt_length_unit),
        default=targets,
        origin=policy.at("metadata", "name"),
        members=capable_members(policy, members, models, policies, platform, found),
        fallback=fallback(policy, members, found),
    )
    return orchestrator, tuple(found)


def _members(
    policy: Policy[ModelOrchestrator], policies: Policies, found: list[Diagnostic]
) -> Mapping[str, MemberSpec]:
    known = policies.names[InferenceModel]
    members: dict[str, MemberSpec] = {}
    for index, member in enumerate(policy.body.spec.models):
        model, field = member.ref or member.name, "ref" if member.ref else "name"
        place = policy.at("spec", "models", index, field)
        if model not in known:
            found.append(dangling(f"spec.models[{index}].{field}", "InferenceModel", model, place, known))
        if member.name in members:
            place = policy.at("spec", "models", index, "name")
            before = policy.at("spec", "models", list(members).index(member.name), "name")
            found.append(error("P204", place, f"member '{member.name}' twice, first at {before}", "another name"))
        members.setdefault(member.name, member)
    return members


def _default_stage(
    policy: Policy[ModelOrchestrator], members: Mapping[str, MemberSpec], found: list[Diagnostic]
) -> tuple[Target, ...]:
    spec = policy.body.spec
    weighted = [(i, member) for i, member in enumerate(spec.models) if member.weight is not None]
    default = spec.routing.default_model
    if default is not None:
        check_member(policy, ("spec", "routing", "defaultModel"), default, members, found)
        if weighted:
            place = policy.at("spec", "models", weighted[0][0], "weight")
            found.append(warning("P215", place, "weights decide nothing beside defaultModel", "delete one"))
        return (Target(members[default].ref or default, 100),) if default in members else ()
    if not weighted:
        return ()  # whether that leaves requests without an answer is proven: P416
    for index, member in enumerate(spec.models):
        if member.weight is None:
            place = policy.at("spec", "models", index)
            said = f"'spec.models[{index}].weight' is missing"
            found.append(error("P113", place, said, "all members have a weight, or none"))
    weights = [member.weight or 0 for _, member in weighted]
    places = [policy.at("spec", "models", index, "weight") for index, _ in weighted]
    if len(weighted) == len(spec.models) and (
        bad := weights_sum(f"orchestrator '{policy.body.metadata.name}'", weights, places)
    ):
        found.append(bad)
    return tuple(Target(member.ref or member.name, member.weight or 0) for _, member in weighted)


def _check_alike(policy: Policy[ModelOrchestrator], models: list[Model], found: list[Diagnostic]) -> None:
    """One route carries them all, so what a route decides must not differ, nor what it reads for hashing."""
    hashed = [model for model in models if model.load_balancing.hash_key is not None]
    for model in hashed[1:]:
        if model.load_balancing.hash_key != hashed[0].load_balancing.hash_key:
            said = f"targets {hashed[0].name}, {model.name} differ in loadBalancing.hashKey"
            found.append(error("P216", policy.at("spec", "models"), said, "the same hashKey for both"))
    for model in models[1:]:
        for field in ROUTE_FIELDS:
            if getattr(model, field) != getattr(models[0], field):
                said = f"targets {models[0].name}, {model.name} differ in {field}"
                found.append(error("P216", policy.at("spec", "models"), said, "the same traffic for both"))
