"""What is refused or held back in words that name the line of policy and its commit."""

from __future__ import annotations

from collections.abc import Mapping

from compiler.diagnostics import Diagnostic, error
from xds.snapshot import HeldBack, ResourceType

_KEPT = "the version before stays in service"
_NONE_GOOD: Mapping[ResourceType, str] = {
    ResourceType.RUNTIME: "the layer is empty",
    ResourceType.CLUSTER: "it is left out, and what leads to it is held back, too",
    ResourceType.ENDPOINT: "its cluster has no instances",
    ResourceType.LISTENER: "it is left out",
    ResourceType.ROUTE: "requests that take it are answered 503",
}
"""What becomes of it where no version was good before."""


def held_back(held: HeldBack, commit: str) -> Diagnostic:
    """`commit` is that of the policies that are served, empty where it is not known."""
    if held.code == "X103":
        message = f"runtime weights of {held.name} sum to 0{at(commit)}"
        return error(held.code, held.origin, message, "the weights before stay, or policy's")
    message = f"held back: {held.type.label} '{held.name}' breaks {held.constraint}{at(commit)}"
    return error(held.code, held.origin, message, _KEPT if held.kept else f"none was good: {_NONE_GOOD[held.type]}")


def at(commit: str) -> str:
    """The end of a message."""
    return f" · commit {commit}" if commit else ""
