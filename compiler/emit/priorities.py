"""PriorityClasses: whose pods are scheduled first, and take the place of others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from compiler.diagnostics import Diagnostic
from compiler.emit.names import priority_class
from compiler.emit.object import Object, Owner, Wave, metadata
from compiler.fleet import Fleet, Platform, Priority
from compiler.kept import Kept

_VALUES: Mapping[Priority, int] = {
    Priority.CRITICAL: 1_000_000,
    Priority.HIGH: 100_000,
    Priority.NORMAL: 10_000,
    Priority.LOW: 1_000,
}
_WHOSE = Owner("turnout", None, (), ())


def objects(fleet: Fleet, kept: Kept) -> Iterator[Object]:
    """Of the priorities in use: a class is the whole cluster's, and nobody wants one there for nothing."""
    used = {model.priority for model in fleet.models}
    if fleet.platform.control_server is not None:
        used.add(Priority.CRITICAL)  # its own, and that of its Envoys
    platform = kept.same("platform of priorities", fleet.platform)
    return (
        kept.by(("class", priority), (platform,), _class, (priority, platform))
        for priority in Priority
        if priority in used
    )


def diagnostics(fleet: Fleet, kept: Kept) -> Iterator[Diagnostic]:
    return iter(())


def _class(priority: Priority, platform: Platform) -> Object:
    body = {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": metadata(priority_class(priority), _WHOSE, platform.origin, Wave.FOUNDATION),
        "value": _VALUES[priority],
        "description": f"Pods of priority {priority}.",
    }
    return Object("platform/priorities.yaml", body, platform.origin)
