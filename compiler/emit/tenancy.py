"""Namespaces, what may run in them, and who may reach it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

from compiler.diagnostics import Diagnostic, Position
from compiler.emit import mesh
from compiler.emit.names import TENANT_LABEL, platform_owner, tenant_file, tenant_owner
from compiler.emit.network_policies import network_policies
from compiler.emit.object import Object, Owner, Wave, metadata
from compiler.emit.placement import GPU, SHARED_GPU, VGPU
from compiler.emit.spaces import NOBODY, Space, carriers, reaches, spaces
from compiler.fleet import Fleet, Platform, Tenant, slug
from compiler.kept import Kept

_SYNC_OPTIONS = "argocd.argoproj.io/sync-options"
_KEEP = ("Delete=false", "Prune=false")
"""With a namespace goes all that is in it, volumes and what others have made there: a person deletes it."""
_NETWORK_FILE, _NAMESPACE_FILE = "platform/network-policies.yaml", "platform/namespaces.yaml"
_MESH_FILE = "platform/mesh.yaml"
_POD_SECURITY = "pod-security.kubernetes.io/"
_INJECTION = "istio-injection"
_REVISION = "istio.io/rev"


def objects(fleet: Fleet, kept: Kept) -> Iterator[Object]:
    asking = reaches(fleet, kept)
    found = spaces(fleet, asking, kept)
    platform = kept.same("platform of spaces", fleet.platform)
    yield from kept.chained(_of_space, found, platform)
    meshed = {space.name for space in found if space.in_mesh}
    if meshed:
        carried = carriers(asking, kept)
        of_mesh = [(model, carried.get(model.name, NOBODY)) for model in fleet.models if model.namespace in meshed]
        yield from chain.from_iterable(kept.rows(mesh.of_model, of_mesh))


def diagnostics(fleet: Fleet, kept: Kept) -> Iterator[Diagnostic]:
    """Kubernetes can express all of it."""
    yield from ()


def _of_space(space: Space, platform: Platform) -> tuple[Object, ...]:
    return tuple(_objects(space, platform))


def _objects(space: Space, platform: Platform) -> Iterator[Object]:
    tenant = space.tenant
    whole = platform_owner(platform, None) if tenant is None else tenant_owner(tenant, None)
    owner = Owner(whole.slug, space.name, whole.labels, whole.annotations)
    files = (_NAMESPACE_FILE, _NETWORK_FILE, _MESH_FILE) if tenant is None else (tenant_file(tenant),) * 3
    if space.is_ours:
        yield _namespace(space, whole, platform, files[0])
    if tenant is not None:
        yield _quota(tenant, space.gpu_resources or (GPU,), owner)
        yield _limits(tenant, owner)
    if space.has_models or tenant is not None:
        yield from network_policies(space, platform.namespace, owner, files[1])
    if space.in_mesh:
        yield mesh.strict(space, owner, files[2])


def _namespace(space: Space, owner: Owner, platform: Platform, file: str) -> Object:
    labels = {**_pod_security(space, platform), **_injection(space, owner)}
    if space.tenant is not None:
        labels[TENANT_LABEL] = slug(space.tenant.name)
    body = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": metadata(space.name, owner, space.origin, Wave.FOUNDATION, labels, _sync_options(owner)),
    }
    return Object(file, body, space.origin)


def _sync_options(owner: Owner) -> dict[str, str]:
    """The owner's with ours, which win: of `Prune=false` and another `Prune` Argo CD goes by the first."""
    theirs = dict(owner.annotations).get(_SYNC_OPTIONS, "").split(",")
    options = dict.fromkeys((*_KEEP, *(option.strip() for option in theirs if option.strip())))
    return {_SYNC_OPTIONS: ",".join(options)}


def _pod_security(space: Space, platform: Platform) -> dict[str, str]:
    """What pods may be. Not `restricted`: the engines' images run as root.

    https://kubernetes.io/docs/concepts/security/pod-security-standards
    """
    # A container that Istio adds sets up the pod's network (NET_ADMIN), and weights on the node are a hostPath: neither
    # is `baseline`, which is still told of.
    free = space.in_mesh or space.mounts_node
    release = f"v{platform.kubernetes}"
    levels = {"enforce": "privileged" if free else "baseline", "audit": "baseline", "warn": "baseline"}
    return {
        _POD_SECURITY + key: value
        for mode, level in levels.items()
        for key, value in ((mode, level), (f"{mode}-version", release))
    }


def _injection(space: Space, owner: Owner) -> dict[str, str]:
    """Istio's proxy beside every pod; of the revision that the owner names, if there is one."""
    if not space.in_mesh or _REVISION in dict(owner.labels):
        return {}
    return {_INJECTION: "enabled"}


def _quota(tenant: Tenant, resources: tuple[str, ...], owner: Owner) -> Object:
    """Whole GPUs and shares of them are asked for by different names, and Kubernetes cannot add these up: each that the
    models ask by has the whole quota (P417 proves the sum), and the others have none."""
    # Extended resources have a quota of their requests only, which are their limits.
    gpus = {}
    if tenant.quota is not None:
        most = str(tenant.quota.gpus)
        gpus = {f"requests.{name}": most if name in resources else "0" for name in (GPU, SHARED_GPU, VGPU)}
    origin = tenant.origin if tenant.quota is None else tenant.quota.origin
    # What a gateway does not see is no request of anybody: nothing of a tenant's is to be reached past them.
    hard = {**gpus, "services.loadbalancers": "0", "services.nodeports": "0"}
    return _object(tenant, owner, origin, "ResourceQuota", {"hard": hard})


def _limits(tenant: Tenant, owner: Owner) -> Object:
    """For containers that say nothing themselves. No limit of cores, which would throttle the engines, and no most of
    anything, which those containers would be given whole."""
    limit = {
        "type": "Container",
        "default": {"memory": "1Gi"},
        "defaultRequest": {"cpu": "100m", "memory": "256Mi"},
    }
    return _object(tenant, owner, tenant.origin, "LimitRange", {"limits": [limit]})


def _object(tenant: Tenant, owner: Owner, origin: Position, kind: str, spec: dict[str, Any]) -> Object:
    body = {
        "apiVersion": "v1",
        "kind": kind,
        "metadata": metadata("turnout", owner, origin, Wave.FOUNDATION),
        "spec": spec,
    }
    return Object(tenant_file(tenant), body, origin)
