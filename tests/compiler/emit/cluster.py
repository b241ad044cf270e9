"""What a cluster makes of NetworkPolicies and Pod Security labels, as Kubernetes' documentation says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Labels = Mapping[str, str]
Body = Mapping[str, Any]

_BASELINE_CAPABILITIES = (
    "AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE SETFCAP SETGID SETPCAP SETUID SYS_CHROOT"
)


@dataclass(frozen=True)
class Pod:
    namespace: str
    labels: Labels = field(default_factory=dict)


class Cluster:
    """`foreign` are namespaces of others, with their labels."""

    def __init__(self, objects: Iterable[Body], foreign: Mapping[str, Labels] | None = None) -> None:
        made = list(objects)
        self._policies = [body for body in made if body["kind"] == "NetworkPolicy"]
        self.namespaces = {
            **{name: dict(labels) for name, labels in (foreign or {}).items()},
            **{
                body["metadata"]["name"]: dict(body["metadata"]["labels"])
                for body in made
                if body["kind"] == "Namespace"
            },
        }
        for name, labels in self.namespaces.items():
            labels["kubernetes.io/metadata.name"] = name

    def reaches(self, source: Pod, target: Pod, port: int | str = 8000) -> bool:
        return self._lets(target, source, port, "Ingress", "from") and self._lets(source, target, port, "Egress", "to")

    def leaves(self, source: Pod, port: int) -> bool:
        """Whether it may connect to any address outside of the cluster."""
        chosen = list(self._choosing(source, "Egress"))
        rules = [rule for policy in chosen for rule in policy.get("egress", ())]
        return not chosen or any("to" not in rule and _has_port(rule, port) for rule in rules)

    def _lets(self, pod: Pod, peer: Pod, port: int | str, direction: str, key: str) -> bool:
        chosen = list(self._choosing(pod, direction))
        if not chosen:
            return True
        rules = [(policy, rule) for policy in chosen for rule in policy.get(direction.lower(), ())]
        return any(
            _has_port(rule, port) and (key not in rule or any(self._is(peer, p, pod.namespace) for p in rule[key]))
            for _, rule in rules
        )

    def _choosing(self, pod: Pod, direction: str) -> Iterator[Body]:
        for policy in self._policies:
            spec = policy["spec"]
            here = policy["metadata"]["namespace"] == pod.namespace
            if here and direction in spec["policyTypes"] and _matches(spec["podSelector"], pod.labels):
                yield spec

    def _is(self, pod: Pod, peer: Body, here: str) -> bool:
        if "ipBlock" in peer:
            return False
        namespaces = peer.get("namespaceSelector")
        of_namespace = self.namespaces.get(pod.namespace, {})
        there = pod.namespace == here if namespaces is None else _matches(namespaces, of_namespace)
        return there and _matches(peer.get("podSelector", {}), pod.labels)


def _has_port(rule: Body, port: int | str) -> bool:
    return "ports" not in rule or any(entry["port"] == port for entry in rule["ports"])


def _matches(selector: Body, labels: Labels) -> bool:
    wanted = selector.get("matchLabels", {}).items() <= labels.items()
    return wanted and all(_meets(expression, labels) for expression in selector.get("matchExpressions", ()))


def _meets(expression: Body, labels: Labels) -> bool:
    value = labels.get(expression["key"])
    match expression["operator"]:
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "In":
            return value in expression["values"]
    return value not in expression["values"]


def beyond_baseline(pod: Body) -> list[str]:
    """What of a pod's spec the Pod Security Standard `baseline` forbids.

    https://kubernetes.io/docs/concepts/security/pod-security-standards
    """
    found = [name for name in ("hostNetwork", "hostPID", "hostIPC") if pod.get(name)]
    found += [f"hostPath {volume['name']}" for volume in pod.get("volumes", ()) if "hostPath" in volume]
    for container in (*pod.get("initContainers", ()), *pod["containers"]):
        security = container.get("securityContext", {})
        added = {*security.get("capabilities", {}).get("add", ())}.difference(_BASELINE_CAPABILITIES.split())
        found += [f"capability {name}" for name in sorted(added)]
        found += ["privileged"] if security.get("privileged") else []
        found += [f"hostPort {port['hostPort']}" for port in container.get("ports", ()) if port.get("hostPort")]
    return found
