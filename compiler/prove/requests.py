"""Whether requests that a model is meant for can reach it whole."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.diagnostics import Diagnostic, warning
from compiler.fleet import Condition, Field, Fleet, Operator, longest_context, longest_of
from compiler.kept import Kept
from compiler.quantity import bytes_text

BYTES_PER_TOKEN = 4
"""Of English text, the least that a prompt of a full context takes; a character of it is a byte."""


def findings(fleet: Fleet, kept: Kept) -> Iterator[Diagnostic]:
    yield from _bodies(fleet, kept)
    yield from _long_prompts(fleet)


def _bodies(fleet: Fleet, kept: Kept) -> Iterator[Diagnostic]:
    """Bodies over a gateway's limit get 413, so a limit under a model's context makes that context a promise."""
    longest = max(kept.stretches(longest_of, fleet.models), default=0)
    for gateway in fleet.gateways:
        if gateway.max_request_bytes >= BYTES_PER_TOKEN * longest:
            continue
        for name in gateway.models:
            tokens = longest_context(fleet.by_name[name])
            if gateway.max_request_bytes < BYTES_PER_TOKEN * tokens:
                limit = bytes_text(gateway.max_request_bytes)
                said = f"maxRequestBytes {limit} cannot hold {name}'s {tokens} tokens"
                yield warning("P415", gateway.origin, said, "leave maxRequestBytes out")


def _long_prompts(fleet: Fleet) -> Iterator[Diagnostic]:
    """A rule for prompts of which not even the shortest is sure to fit who is to answer it."""
    orchestrators = (gateway.orchestrator for gateway in fleet.gateways if gateway.orchestrator is not None)
    for rule in (rule for orchestrator in orchestrators for rule in orchestrator.rules):
        bounds = [(_least_over(c), c.origin) for c in rule.conditions if c.field is Field.PROMPT_LENGTH]
        length, place = max(bounds, default=(0, rule.origin))
        for target in rule.targets:
            tokens = longest_context(fleet.by_name[target.model])
            if target.weight and length > BYTES_PER_TOKEN * tokens:
                said = f"prompts over {length - 1} cannot fit {target.model}'s {tokens} tokens"
                yield warning("P419", place, said, "a model with a longer context")


def _least_over(condition: Condition) -> int:
    """The shortest prompt that meets a lower bound."""
    bound = condition.values[0]
    assert isinstance(bound, int)  # linking has refused others
    return {Operator.GT: bound + 1, Operator.GE: bound}.get(condition.operator, 0)
