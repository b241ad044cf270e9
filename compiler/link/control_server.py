"""The control server that Platform asks for, and the Envoys that it is for."""

from __future__ import annotations

from compiler.decode import Policies, Policy
from compiler.diagnostics import Diagnostic, error
from compiler.fleet import ControlServer, PodResources, Repository
from compiler.kinds import Platform
from compiler.kinds.platform import PlatformSpec
from compiler.link.images import check_image
from compiler.link.platform import Settings

_MAIN = "main"


def envoy_image(spec: PlatformSpec) -> str:
    """Of the release that Platform says its Envoys are of."""
    return spec.data_plane.envoy_image or f"envoyproxy/envoy:distroless-v{spec.versions.envoy}.0"


def control_server(
    policies: Policies, platform: Settings, environment: str, found: list[Diagnostic]
) -> ControlServer | None:
    """None unless Platform asks for one."""
    policy = policies.platform
    if policy is None or (spec := policy.body.spec.control_server) is None:
        return None
    _check_images(policy, platform, found)
    return ControlServer(
        replicas=spec.replicas,
        image=spec.image,
        git_sync_image=spec.git_sync_image,
        resources=PodResources(spec.resources.cpu, spec.resources.memory),
        repository=_repository(policy, found),
        tls_secret=None if spec.tls is None else spec.tls.secret_ref.name,
        environment=environment,
        origin=policy.key("spec", "controlServer"),
    )


def _check_images(policy: Policy[Platform], platform: Settings, found: list[Diagnostic]) -> None:
    spec = policy.body.spec
    assert spec.control_server is not None
    for image, loc in (
        (spec.control_server.image, ("spec", "controlServer", "image")),
        (spec.control_server.git_sync_image, ("spec", "controlServer", "gitSyncImage")),
        (envoy_image(spec), ("spec", "dataPlane", "envoyImage")),
    ):
        if policy.wrote(*loc):
            check_image(image, policy.at(*loc), platform, found)
        else:
            way_out = f"{'.'.join(loc)}: a copy of {image}"
            check_image(image, policy.key("spec", "controlServer"), platform, found, way_out)


def _repository(policy: Policy[Platform], found: list[Diagnostic]) -> Repository:
    spec = policy.body.spec
    assert spec.control_server is not None
    written, argocd = spec.control_server.repository, spec.argocd
    if written.url is None and argocd is None:
        said = "'spec.controlServer.repository.url' is missing"
        place = policy.key("spec", "controlServer")
        found.append(error("P113", place, said, "where the policies are, or argocd.repoURL for both"))
    of_argocd = argocd if argocd is not None and written.url in (None, argocd.repo_url) else None
    return Repository(
        url=written.url or (of_argocd.repo_url if of_argocd else ""),
        revision=written.revision or (of_argocd.target_revision if of_argocd else _MAIN),
        path=written.path.strip("/"),
        secret=None if written.secret_ref is None else written.secret_ref.name,
    )
