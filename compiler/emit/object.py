"""One Kubernetes object: its body, the file it belongs in, and the policy line it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, StrEnum
from typing import Any, NamedTuple

from compiler.diagnostics import Position

_SYNC_WAVE = "argocd.argoproj.io/sync-wave"


class Wave(IntEnum):
    """Argo CD applies lower waves first, and waits until they are healthy; but not for the last one."""

    FOUNDATION = -5
    """Namespaces, quotas, PriorityClasses, Queues."""
    ACCESS = -4
    """ServiceAccounts, RBAC, NetworkPolicies."""
    STORAGE = -3
    """Volumes, caches."""
    CONTROL = -2
    """The control server."""
    WORKLOAD = 0
    CLUSTER_SETTINGS = 1
    ROUTING = 2
    OBSERVATION = 3
    """Canaries, monitors, rules; and autoscalers, which are unwell until there are metrics."""


_WAVES = {wave: str(int(wave)) for wave in Wave}


class Writer(StrEnum):
    """Who writes a field that git does not."""

    AUTOSCALER = "autoscaler"
    STANDBY = "standby"
    """The controller that promotes standbys."""
    TURNOUT = "turnout"
    FLAGGER = "flagger"


class Handover(NamedTuple):
    """A field of an object that another than git writes, for the ownership ledger."""

    field: str
    """JSON pointer: `/spec/replicas`."""
    writer: Writer
    manager: str
    """The writer's field manager, as the API server records it: `kube-controller-manager`. Two that take turns have a
    comma between."""
    origin: Position
    """Of the policy that hands it over."""
    initial: bool = False
    """Whether the manifest says what the field begins with, for when the object is made."""


class Object(NamedTuple):
    """A tuple, as a fleet has thousands: a frozen dataclass takes four times as long to make."""

    file: str
    """Path inside the rendered folder, `/` between parts: `models/llama-70b.yaml`."""
    body: Mapping[str, Any]
    """As Kubernetes takes it, keys in its usual order: apiVersion, kind, metadata, spec."""
    origin: Position
    handovers: tuple[Handover, ...] = ()

    @property
    def key(self) -> str:
        """`apps/v1/Deployment/ai-inference/llama-70b-1-0`: unique in a fleet. Cluster-wide ones have no namespace."""
        metadata = self.body["metadata"]
        namespace = (metadata["namespace"],) if "namespace" in metadata else ()
        return "/".join((self.body["apiVersion"], self.body["kind"], *namespace, metadata["name"]))

    @property
    def wave(self) -> int:
        return int(self.body["metadata"]["annotations"][_SYNC_WAVE])


class Owner(NamedTuple):
    """The policy document an object is made from, and what it puts on every one of them."""

    slug: str
    namespace: str | None
    """None for what belongs to the whole cluster."""
    labels: tuple[tuple[str, str], ...]
    annotations: tuple[tuple[str, str], ...]


def metadata(
    name: str,
    owner: Owner,
    origin: Position,
    wave: Wave,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Labels and annotations of Turnout's win over the owner's of the same key; sorted, for stable output."""
    ours, notes = dict(owner.labels), dict(owner.annotations)
    ours["app.kubernetes.io/managed-by"] = "turnout"
    ours["app.kubernetes.io/part-of"] = owner.slug
    ours.update(labels or {})
    notes["turnout.dev/origin"] = place(origin)
    notes[_SYNC_WAVE] = _WAVES[wave]
    notes.update(annotations or {})
    said: dict[str, Any] = {"name": name}
    if owner.namespace is not None:
        said["namespace"] = owner.namespace
    said["labels"] = {key: ours[key] for key in sorted(ours)}
    said["annotations"] = {key: notes[key] for key in sorted(notes)}
    return said


def place(origin: Position) -> str:
    """`policies/models.yaml:14`. Without the column: a re-indented policy must not change what is rendered."""
    return f"{origin.file}:{origin.line}"
