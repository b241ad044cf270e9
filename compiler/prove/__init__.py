"""What can be known of a fleet before the merge. To add a proof: a module, and a line here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from compiler.diagnostics import Diagnostic
from compiler.fleet import Fleet, Model
from compiler.kept import Kept
from compiler.prove import (
    capabilities,
    endpoints,
    loopback,
    memory,
    mirrors,
    pools,
    requests,
    resilience,
    rollouts,
    rules,
    tenants,
)

OF_EACH_MODEL: tuple[Callable[[Model], Iterable[Diagnostic]], ...] = (
    resilience.of_model,
    memory.of_model,
    pools.of_model,
)
"""Those for which nothing else matters."""

PROOFS: tuple[Callable[[Fleet, Kept], Iterator[Diagnostic]], ...] = (
    requests.findings,
    rules.findings,
    capabilities.findings,
    mirrors.findings,
    pools.findings,
    tenants.findings,
    rollouts.findings,
    loopback.findings,
    endpoints.findings,
)


def prove(fleet: Fleet, kept: Kept | None = None) -> list[Diagnostic]:
    kept = kept or Kept()
    of_models = kept.chained(_of_model, fleet.models)
    return [*of_models, *(finding for proof in PROOFS for finding in proof(fleet, kept))]


def _of_model(model: Model) -> tuple[Diagnostic, ...]:
    return tuple(finding for proof in OF_EACH_MODEL for finding in proof(model))
