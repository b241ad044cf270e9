"""What holds for every pod of ours: it has no rights, is spread, and is not taken all at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compiler.diagnostics import Position
from compiler.emit.names import priority_class
from compiler.emit.object import Object, Owner, Wave, metadata
from compiler.emit.spread import spread
from compiler.fleet import PodResources, Priority
from compiler.quantity import bytes_text, cores_text

Part = dict[str, Any]

LOCKED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}
"""A container's securityContext."""
LEAST_TO_BUDGET = 2
"""Pods: with one, a drained node takes it, budget or not."""


def pod_security(user: int) -> Part:
    """With the group that may read Secrets and write volumes. https://kubernetes.io/docs/concepts/security/pod-security-standards"""
    return {
        "runAsNonRoot": True,
        "runAsUser": user,
        "runAsGroup": user,
        "fsGroup": user,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def pod_labels(owner: Owner, selected: Mapping[str, str]) -> dict[str, str]:
    """Not the owner's own: a new cost-centre label must not restart a pod. In a namespace of the mesh, Istio's proxy
    must not stand before what is to be reached as it is."""
    return {
        "app.kubernetes.io/managed-by": "turnout",
        "app.kubernetes.io/part-of": owner.slug,
        "sidecar.istio.io/inject": "false",
        **selected,
    }


def resources(of: PodResources) -> Part:
    """No CPU limit: a throttled Envoy makes every request wait, and idle cores are nobody's gain."""
    memory = bytes_text(of.memory)
    return {"requests": {"cpu": cores_text(of.cpu), "memory": memory}, "limits": {"memory": memory}}


def secret_volume(name: str, secret: str) -> Part:
    """Which the pod's group may read. A pod waits for a Secret that is not there."""
    return {"name": name, "secret": {"secretName": secret, "defaultMode": 0o440}}


class Maker:
    """Objects of one owner in one file, called alike and with the same pods."""

    def __init__(self, file: str, name: str, owner: Owner, origin: Position, selected: Mapping[str, str]) -> None:
        self._file, self._name, self._owner, self._origin = file, name, owner, origin
        self._selected = dict(sorted(selected.items()))

    def made(self, api_version: str, kind: str, wave: Wave, **content: Any) -> Object:
        body = {
            "apiVersion": api_version,
            "kind": kind,
            "metadata": metadata(self._name, self._owner, self._origin, wave, self._selected),
            **content,
        }
        return Object(self._file, body, self._origin)

    def service_account(self) -> Object:
        """Without a token: nothing of ours asks the API server."""
        return self.made("v1", "ServiceAccount", Wave.ACCESS, automountServiceAccountToken=False)

    def ingress(self, rules: list[Part]) -> Object:
        spec = {"podSelector": {"matchLabels": self._selected}, "policyTypes": ["Ingress"], "ingress": rules}
        return self.made("networking.k8s.io/v1", "NetworkPolicy", Wave.ACCESS, spec=spec)

    def deployment(self, wave: Wave, replicas: int, annotations: Mapping[str, str], pod: Part) -> Object:
        labels = pod_labels(self._owner, self._selected)
        whole = {
            "serviceAccountName": self._name,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            # Without one, an instance that looks for room would take the place of what brings it its requests.
            "priorityClassName": priority_class(Priority.CRITICAL),
            "topologySpreadConstraints": spread(self._selected, strictly=False),
            **pod,
        }
        about = {"labels": dict(sorted(labels.items())), **({"annotations": dict(annotations)} if annotations else {})}
        spec = {
            "replicas": replicas,
            "selector": {"matchLabels": self._selected},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {"metadata": about, "spec": whole},
        }
        return self.made("apps/v1", "Deployment", wave, spec=spec)

    def service(self, wave: Wave, kind: str, ports: list[Part]) -> Object:
        return self.made("v1", "Service", wave, spec={"type": kind, "selector": self._selected, "ports": ports})

    def budget(self, wave: Wave) -> Object:
        spec = {
            "maxUnavailable": 1,
            "selector": {"matchLabels": self._selected},
            # One that never became ready must not keep its node from being drained.
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        }
        return self.made("policy/v1", "PodDisruptionBudget", wave, spec=spec)
