"""References to an orchestrator's members."""

from __future__ import annotations

from collections.abc import Mapping

from compiler.decode import Policy
from compiler.diagnostics import Diagnostic, error
from compiler.kinds import ModelOrchestrator
from compiler.kinds.model_orchestrator import MemberSpec
from compiler.nodes import Loc, dotted
from compiler.spelling import nearest


def check_member(
    policy: Policy[ModelOrchestrator], loc: Loc, name: str, members: Mapping[str, MemberSpec], found: list[Diagnostic]
) -> bool:
    """Whether `name` is one of `members`; reports P203 at `loc` if not."""
    if name not in members:
        hint = nearest(name, members) or f"one of {', '.join(members)}"
        found.append(error("P203", policy.at(*loc), f"{dotted(loc)}: no member '{name}'", hint))
    return name in members
