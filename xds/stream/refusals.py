"""What an Envoy refused, in words that name the line of policy."""

from __future__ import annotations

from collections.abc import Mapping

from compiler.diagnostics import Diagnostic, Position, error
from xds.blame import at
from xds.snapshot import Resource, ResourceSet, ResourceType
from xds.stream.culprits import culprit
from xds.stream.node import Node
from xds.stream.subscription import Batch, Refusal

NAMED = 5
"""Names listed of a response that had more."""


def refusal(node_id: str, type_: ResourceType, refused: Refusal, commit: str = "") -> Diagnostic:
    """`commit` is that of the policies that are served, empty where it is not known."""
    name, origin = blamed(refused.resource, refused.good)
    message = f"envoy {node_id} refused {type_.label} '{name}': {refused.detail}{at(commit)}"
    kept = "the Envoy keeps the version before" if refused.good is not None else "the Envoy goes without it"
    return error("X101", origin, message, kept)


def blamed(refused: Resource, good: Resource | None) -> tuple[str, Position]:
    """The name and the line of what an Envoy refused: of a table the route, where one alone has changed."""
    return culprit(refused, good) or (refused.name, refused.origin)


def today(refused: Resource, wanted: ResourceSet | None) -> Resource:
    """`refused` where it stands in `wanted` by now, as long as it is the same one."""
    found = None if wanted is None else wanted.get(refused.name)
    return found if found is not None and found.version == refused.version else refused


def rejected(
    node: Node, type_: ResourceType, batch: Batch, detail: str, wanted: ResourceSet | None, commit: str = ""
) -> tuple[str, Mapping[str, object]]:
    """A line for the log about a response that came back, and its fields; `wanted` is what the Envoy is to have now."""
    names = sorted(batch.names)
    fields: dict[str, object] = {
        "event": "response refused",
        "code": "X101",
        "node": node.id,
        "group": node.group.name,
        "type": type_.label,
        "version": batch.after.version,
        "resources": names[:NAMED],
        "detail": detail,
    }
    if commit:
        fields["commit"] = commit
    if len(names) == 1:
        (name,) = names
        refused = Refusal(today(batch.after[name], wanted), detail, batch.before.get(name))
        found = refusal(node.id, type_, refused, commit)
        line = found.position
        place = {"file": line.file, "line": line.line, "column": line.column, "version": batch.after[name].version}
        return f"{line}: {found.code} {found.message}", fields | place
    what, listed = "with", names
    if not names:
        what, listed = "that removes", sorted(batch.removed)
    said = ", ".join(listed[:NAMED]) + (f" and {len(listed) - NAMED} more" if len(listed) > NAMED else "")
    several = f"{len(listed)} {type_.label}{'' if len(listed) == 1 else 's'}"
    return f"X101 envoy {node.id} refused a response {what} {several} ({said}): {detail}{at(commit)}", fields
