"""What Platform sets for all, with its defaults where there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from compiler.catalogue import FOREIGN_GPU_PREFIX, GPUS, Gpu
from compiler.decode import Policies, Policy
from compiler.diagnostics import Diagnostic, Position, error, warning
from compiler.fleet import Argocd, Autoscaler, Carrier, OtlpProtocol, Tracing
from compiler.kinds import Gateway, InferenceModel, Platform
from compiler.kinds.platform import PlatformSpec
from compiler.kinds.values import quoted
from compiler.link.references import dangling
from compiler.spelling import nearest


@dataclass(frozen=True, slots=True)
class Settings:
    namespace: str
    gpus: Mapping[str, Gpu]
    default_carrier: Carrier
    carriers: Mapping[str, Carrier]
    """By host, where Platform names it."""
    kubernetes: tuple[int, int]
    istio: tuple[int, int]
    registries: tuple[str, ...]
    require_digest: bool
    argocd: Argocd | None
    prometheus: str | None
    tracing: Tracing | None
    autoscaler: Autoscaler
    gateway_class: str | None
    allowed_signers: tuple[str, ...] | None

    def carrier(self, host: str) -> Carrier:
        return self.carriers.get(host, self.default_carrier)


LAST_PORT = 65535
OLDEST_ISTIO = (1, 28)
"""The first whose DestinationRule has `retryBudget`; without it three retries at a time are all (Envoy's default)."""
OLDEST_KUBERNETES = (1, 30)
"""The first with the sleep action of lifecycle hooks on by default."""
KUBERNETES_OF_IMAGE_VOLUMES = (1, 35)
"""The first with image volumes on by default; 1.33 and 1.34 have them off.

https://kubernetes.io/docs/tasks/configure-pod-container/image-volumes
"""
KUBERNETES_OF_ZONES_IN_PODS = (1, 35)
"""The first that tells pods their node's zone by default. https://www.kubernetes.dev/resources/keps/4742"""


def settings(policies: Policies, found: list[Diagnostic]) -> Settings:
    policy = policies.platform
    spec = policy.body.spec if policy else PlatformSpec()
    result = Settings(
        namespace=spec.namespace,
        gpus={**GPUS, **{name: Gpu(gpu.label, gpu.memory_gi_b) for name, gpu in spec.gpu_catalogue.items()}},
        default_carrier=Carrier(spec.data_plane.default),
        carriers={host: Carrier(carrier) for host, carrier in spec.data_plane.hosts.items()},
        kubernetes=_release(spec.versions.kubernetes),
        istio=_release(spec.versions.istio),
        registries=spec.images.registries,
        require_digest=spec.images.require_digest,
        argocd=None if policy is None else _argocd(policy),
        prometheus=None if spec.prometheus is None else spec.prometheus.address,
        tracing=_tracing(policy, found),
        autoscaler=Autoscaler(spec.autoscaler),
        gateway_class=spec.data_plane.gateway_class,
        allowed_signers=None if spec.signed_commits is None else spec.signed_commits.allowed_signers,
    )
    if policy is not None:
        if result.istio < OLDEST_ISTIO:
            place = policy.at("spec", "versions", "istio")
            found.append(too_old(place, "maxRequestBytes", "Istio", OLDEST_ISTIO, result.istio))
        if result.kubernetes < OLDEST_KUBERNETES:
            place = policy.at("spec", "versions", "kubernetes")
            sleep = "the sleep before a pod stops"
            found.append(too_old(place, sleep, "Kubernetes", OLDEST_KUBERNETES, result.kubernetes))
        _check_hosts(policies, found)
        _check_gateway_class(policy, result, found)
    return result


def _argocd(policy: Policy[Platform]) -> Argocd | None:
    spec = policy.body.spec.argocd
    if spec is None:
        return None
    return Argocd(
        repo_url=spec.repo_url,
        target_revision=spec.target_revision,
        path=spec.path.rstrip("/"),
        project=spec.project,
        namespace=spec.namespace,
        server=spec.server,
        origin=policy.key("spec", "argocd"),
    )


def gpu(policy: Policy[InferenceModel], platform: Settings, found: list[Diagnostic]) -> Gpu:
    """The catalogue's entry for the model's gpuType; reports P226 where it is read as another name, P103 if unknown."""
    written = policy.body.spec.resources.gpu_type
    if written in platform.gpus:
        return platform.gpus[written]
    return catalogued("spec.resources.gpuType", written, policy.at("spec", "resources", "gpuType"), platform, found)


def catalogued(field: str, written: str, place: Position, platform: Settings, found: list[Diagnostic]) -> Gpu:
    """The catalogue's entry for a type as it is written in `field`."""
    name = written.removeprefix(FOREIGN_GPU_PREFIX)
    if name not in platform.gpus:
        known = ", ".join(sorted(platform.gpus))
        said = f"{field}: {quoted(written)} is not one of {known}"
        found.append(error("P103", place, said, nearest(name, platform.gpus) or "Platform.gpuCatalogue adds types"))
        return Gpu(written, 0)
    if name != written:
        found.append(warning("P226", place, f"gpuType '{written}' read as {name}", name))
    return platform.gpus[name]


def _tracing(policy: Policy[Platform] | None, found: list[Diagnostic]) -> Tracing | None:
    if policy is None or (spec := policy.body.spec.tracing) is None:
        return None
    place = policy.at("spec", "tracing", "otlp")
    protocol, _, rest = spec.otlp.partition("://")
    host, _, port = rest.rpartition(":")
    if not 1 <= int(port) <= LAST_PORT:
        found.append(error("P104", place, f"spec.tracing.otlp: port {port} is outside 1-{LAST_PORT}"))
    return Tracing(OtlpProtocol(protocol), host, int(port), float(spec.percent), place)


def _release(text: str) -> tuple[int, int]:
    major, minor = text.split(".")
    return int(major), int(minor)


def too_old(place: Position, feature: str, product: str, needs: tuple[int, int], has: tuple[int, int]) -> Diagnostic:
    said = f"{feature} needs {product} {needs[0]}.{needs[1]}; Platform says {has[0]}.{has[1]}"
    return error("P302", place, said)


def _check_gateway_class(policy: Policy[Platform], platform: Settings, found: list[Diagnostic]) -> None:
    """Who is to run the Gateways of the Gateway API, nobody can guess."""
    carriers: dict[tuple[str, ...], Carrier] = {("default",): platform.default_carrier}
    carriers |= {("hosts", host): carrier for host, carrier in platform.carriers.items()}
    first = next((loc for loc, carrier in carriers.items() if carrier is Carrier.GATEWAY_API), None)
    if first is not None and platform.gateway_class is None:
        place = policy.at("spec", "dataPlane", *first)
        said = "'spec.dataPlane.gatewayClass' is missing"
        found.append(error("P113", place, said, "the GatewayClass of the cluster's implementation"))


def _check_hosts(policies: Policies, found: list[Diagnostic]) -> None:
    """Every host that Platform gives a carrier is served by some gateway."""
    policy = policies.platform
    assert policy is not None
    served = {host for gateway in policies.of(Gateway).values() for host in gateway.body.spec.hosts} or {"*"}
    broken = policies.names[Gateway] - policies.of(Gateway).keys()
    for host in policy.body.spec.data_plane.hosts:
        if host not in served and not broken:
            place = policy.key("spec", "dataPlane", "hosts", host)
            found.append(dangling("spec.dataPlane.hosts", "host", host, place, served))
