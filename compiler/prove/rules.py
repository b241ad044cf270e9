"""Whether an orchestrator's rules say what they seem to say: proven, or shown by a request for which they do not.

Each rule can match, can be reached, and shares no request with another of its priority; each value and condition can
decide; each request has an answer.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from compiler.diagnostics import Diagnostic, error, info
from compiler.fleet import Condition, FieldType, Fleet, Gateway, Operator, Orchestrator, Rule
from compiler.kept import Kept
from compiler.prove import answers, reach
from compiler.prove.case import Case, case
from compiler.prove.cover import TooLargeError
from compiler.prove.points import Facet, facet_of
from compiler.prove.space import Space, meets
from compiler.prove.witness import Finding, request_text
from compiler.request import Request

WHOLE = (Operator.EQ, Operator.IN)
STEPS_OF_A_SPACE = 500
"""What it takes to look at two rules on their own."""


def findings(fleet: Fleet, kept: Kept) -> Iterator[Diagnostic]:
    return (finding.diagnostic for finding in proofs(fleet, kept))


def proofs(fleet: Fleet, kept: Kept | None = None) -> Iterator[Finding]:
    kept = kept or Kept()
    for gateway in fleet.gateways:
        orchestrator = gateway.orchestrator
        if orchestrator is not None:
            # Requests that name a model never come to the orchestrator, so no more of the fleet has a say.
            stable = kept.same(("rules", gateway.name), orchestrator)
            yield from kept.by(("rules", gateway.name), (stable,), _of_one, (fleet, gateway, orchestrator))


def _of_one(fleet: Fleet, gateway: Gateway, orchestrator: Orchestrator) -> tuple[Finding, ...]:
    return tuple(_proofs(fleet, gateway, orchestrator))


def _proofs(fleet: Fleet, gateway: Gateway, orchestrator: Orchestrator) -> Iterator[Finding]:
    clashes = [(rule, _clash(rule.conditions, orchestrator.name)) for rule in orchestrator.rules]
    for rule, clash in clashes:
        if clash:
            yield Finding(_contradiction(rule, clash), gateway.name)
    of = case(fleet, gateway, orchestrator, tuple(rule for rule, clash in clashes if not clash))
    yield from _ambiguous(of)
    yield from reach.findings(of)
    yield from answers.findings(of)
    if of.unproven:
        said = f"too many combinations of conditions: not proven {'; '.join(of.unproven)}"
        yield Finding(info("P427", orchestrator.origin, said, "fewer conditions for each rule"), gateway.name)


def _clash(conditions: Sequence[Condition], orchestrator: str) -> tuple[Condition, ...]:
    """The fewest of `conditions` that no request meets together; none where some request meets all."""
    if _can_match(conditions, orchestrator):
        return ()
    kept = list(conditions)
    for condition in conditions:
        others = [other for other in kept if other is not condition]
        if not _can_match(others, orchestrator):
            kept = others
    return tuple(kept)


def _can_match(conditions: Sequence[Condition], orchestrator: str) -> bool:
    space = Space([conditions], orchestrator)
    return space.meet(space.box(conditions)) is not None


def _contradiction(rule: Rule, clash: tuple[Condition, ...]) -> Diagnostic:
    said = " and ".join(map(str, clash))
    why = "exclude each other" if len(clash) > 1 else "holds for no request"
    return error("P227", rule.origin, f"{said} {why}: the rule can never match", "leave one out" if clash[1:] else "")


def _ambiguous(of: Case) -> Iterator[Finding]:
    every = [(rule, box, _parted(rule)) for rule, box in zip(of.rules, of.boxes, strict=True)]
    try:
        for _, equals in itertools.groupby(every, key=lambda entry: entry[0].priority):
            for (first, box, parted), (second, other, parted_too) in itertools.combinations(equals, 2):
                of.steps.spend(1)
                met, space = None, of.space
                if meets(box, other):
                    met = space.meet(box, other, space.known)
                if met is None and (both := parted & parted_too) and _may_share(first, second, both):
                    # What they want together of one text or set may be no point of a space with those of each alone.
                    of.steps.spend(STEPS_OF_A_SPACE)
                    conditions = (*first.conditions, *second.conditions)
                    space = Space([conditions], of.orchestrator.name)
                    met = space.meet(space.box(conditions), space.known)
                if met is not None:
                    yield _shared(of, first, second, space.request(met))
    except TooLargeError:
        of.unproven.append("that no two rules share priority and requests")


def _shared(of: Case, first: Rule, second: Rule, witness: Request) -> Finding:
    said = f"rules {first.name}, {second.name} share priority {first.priority} and {request_text(witness)}"
    return Finding(error("P421", second.origin, said, "another priority"), of.gateway.name, witness)


def _may_share(first: Rule, second: Rule, parted: set[Facet]) -> bool:
    """Whether no two prefixes of `parted` exclude each other."""
    prefixes = [(_prefix(first, facet), _prefix(second, facet)) for facet in parted]
    return all(one.startswith(other) or other.startswith(one) for one, other in prefixes)


def _parted(rule: Rule) -> set[Facet]:
    """The texts and sets of which it wants parts, and not a whole text, which a space has."""
    whole = {facet_of(c) for c in rule.conditions if c.type is not FieldType.SET and c.operator in WHOLE}
    return {facet_of(c) for c in rule.conditions if c.type in (FieldType.TEXT, FieldType.SET)} - whole


def _prefix(rule: Rule, facet: Facet) -> str:
    asked = (str(c.values[0]) for c in rule.conditions if facet_of(c) == facet and c.operator is Operator.PREFIX)
    return max(asked, key=len, default="")
