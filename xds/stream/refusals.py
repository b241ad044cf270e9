"""What an Envoy refused, in words that name the line of policy."""

from __future__ import annotations

from compiler.diagnostics import Diagnostic, error
from xds.snapshot import ResourceType
from xds.stream.node import Node
from xds.stream.subscription import Batch, Refusal

NAMED = 5
"""Names listed of a response that had more."""


def refusal(node_id: str, type_: ResourceType, refused: Refusal) -> Diagnostic:
    message = f"envoy {node_id} refused {type_.label} '{refused.resource.name}': {refused.detail}"
    kept = "the Envoy keeps the version before" if refused.good is not None else "the Envoy goes without it"
    return error("X101", refused.resource.origin, message, kept)


def rejected(node: Node, type_: ResourceType, batch: Batch, detail: str) -> str:
    """A line for the log about a response that came back."""
    if len(batch.names) == 1:
        (name,) = batch.names
        found = refusal(node.id, type_, Refusal(batch.after[name], detail, batch.before.get(name)))
        return f"{found.position}: {found.code} {found.message}"
    names = sorted(batch.names)
    listed = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
    return f"X101 envoy {node.id} refused a response with {len(names)} {type_.label}s ({listed}): {detail}"
