"""What can be known of a fleet before the merge. To add a proof: a module, and a line here."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from compiler.diagnostics import Diagnostic
from compiler.fleet import Fleet
from compiler.kept import Kept
from compiler.prove import (
    capabilities,
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

PROOFS: tuple[Callable[[Fleet, Kept], Iterator[Diagnostic]], ...] = (
    resilience.findings,
    requests.findings,
    rules.findings,
    capabilities.findings,
    mirrors.findings,
    memory.findings,
    pools.findings,
    tenants.findings,
    rollouts.findings,
    loopback.findings,
)


def prove(fleet: Fleet, kept: Kept | None = None) -> list[Diagnostic]:
    kept = kept or Kept()
    return [finding for proof in PROOFS for finding in proof(fleet, kept)]
