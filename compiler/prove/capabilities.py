"""Whether somebody can do what a rule's requests ask for."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.diagnostics import Diagnostic, warning
from compiler.evaluate import holds
from compiler.fleet import Field, Fleet, Orchestrator
from compiler.kept import Kept
from compiler.request import Request


def findings(fleet: Fleet, _: Kept) -> Iterator[Diagnostic]:
    for gateway in fleet.gateways:
        if gateway.orchestrator is not None:
            yield from _unknown(gateway.orchestrator)


def _unknown(orchestrator: Orchestrator) -> Iterator[Diagnostic]:
    """Rules for capabilities that no member has together, its own or added, whoever the target is."""
    members = [Request(capabilities=frozenset(member.capabilities)) for member in orchestrator.members]
    for rule in orchestrator.rules:
        asked = [condition for condition in rule.conditions if condition.field is Field.CAPABILITY]
        if asked and not any(all(holds(condition, member) for condition in asked) for member in members):
            wanted = ", ".join(" or ".join(map(str, condition.values)) for condition in asked)
            said = f"no model has all of {wanted}"
            yield warning("P423", asked[0].origin, said, "capabilities: of a model, or of a member")
