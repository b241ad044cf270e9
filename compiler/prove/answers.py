"""Whether every request that an orchestrator chooses for has an answer."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.diagnostics import warning
from compiler.evaluate import evaluate
from compiler.fleet import Field, Orchestrator
from compiler.prove.case import READER, Case
from compiler.prove.cover import TooLargeError
from compiler.prove.witness import Finding, request_text
from compiler.request import Request


def findings(of: Case) -> Iterator[Finding]:
    witness = None
    if not of.orchestrator.default and not of.orchestrator.fallback.hops:
        try:
            witness = _unmet(of)
        except TooLargeError:
            of.unproven.append("that every request has an answer")
    # Of the requests that meet no rule this is the one that the stages after the rules have the least to go by.
    if witness is not None and not evaluate(of.fleet, witness, of.gateway, carrier=READER).targets:
        said = f"no default: {_who(witness, of.orchestrator)} gets 404"
        found = warning("P416", of.orchestrator.origin, said, "routing: {defaultModel: …}")
        yield Finding(found, of.gateway.name, witness)


def _unmet(of: Case) -> Request | None:
    """A request that meets no rule; it asks for no capability, as no rule is met by asking for fewer."""
    bare = of.space.only((Field.CAPABILITY, ""), lambda asked: asked == frozenset())
    return of.example(bare, of.boxes)


def _who(witness: Request, orchestrator: Orchestrator) -> str:
    if witness != Request():
        return request_text(witness) + ("" if witness.model else ", without a model,")
    asked = dict.fromkeys(c.asked for rule in orchestrator.rules for c in rule.conditions)
    absent = [name for name in asked if name not in ("stream", "path", "method", "model")]
    return " or ".join(["a request without a model", *absent])
