"""Who is meant in a NetworkPolicy: pods by their labels, in namespaces by theirs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compiler.emit.names import APP, TENANT_LABEL

Peer = dict[str, Any]

_NAMESPACE = "kubernetes.io/metadata.name"
OF_NO_TENANT: Peer = {"namespaceSelector": {"matchExpressions": [{"key": TENANT_LABEL, "operator": "DoesNotExist"}]}}
"""A tenant may label its own pods as it likes, but not its namespace."""


def in_namespaces(*namespaces: str) -> Peer:
    return {"namespaceSelector": {"matchExpressions": [{"key": _NAMESPACE, "operator": "In", "values": [*namespaces]}]}}


def pods(labels: Mapping[str, str]) -> Peer:
    return {"podSelector": {"matchLabels": dict(labels)}}


PROMETHEUS: Peer = {**OF_NO_TENANT, **pods({APP: "prometheus"})}


def tcp(*ports: int | str) -> list[dict[str, Any]]:
    """Ports by number, or by the name that a pod's container gives them."""
    return [{"protocol": "TCP", "port": port} for port in ports]
