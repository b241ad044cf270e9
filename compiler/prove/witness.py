"""A finding about requests, with one of them that shows it."""

from __future__ import annotations

from dataclasses import dataclass

from compiler.diagnostics import Diagnostic
from compiler.request import TIER_HEADER, Request


@dataclass(frozen=True, slots=True)
class Finding:
    diagnostic: Diagnostic
    gateway: str
    """Where the orchestrator chooses."""
    witness: Request | None = None
    """That the message speaks of; None where it says that there is none."""


def request_text(request: Request) -> str:
    """The request by what sets it apart."""
    tier = request.user_tier
    facts = [] if tier is None else [f"user_tier {tier}"]
    facts += [f"{name}: {value}" for name, value in request.headers.items() if name != TIER_HEADER]
    facts += [f"metadata.{key} {value}" for key, value in request.metadata.items()]
    plain = Request()
    for name in ("model", "method", "path", "prompt_length", "max_tokens", "stream"):
        value = getattr(request, name)
        if value != getattr(plain, name):
            facts.append(f"{name} {str(value).lower() if isinstance(value, bool) else value}")
    if request.capabilities:
        facts.append(f"capability {', '.join(sorted(request.capabilities))}")
    return f"a request with {', '.join(facts)}" if facts else "any request"
