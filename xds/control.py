"""The one task that owns the current fleet: events in, snapshots out."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum

from compiler.diagnostics import Diagnostic, Severity
from compiler.fleet import Fleet
from xds.admin.metrics import Metrics
from xds.cache import Prepared, Snapshots
from xds.observe.events import PoliciesRead, fault

AGAIN = 1.0
"""Seconds until policies that could not be translated are tried again."""

log = logging.getLogger(__name__)


SHOWN = 5
"""Names that one line of the log tells."""


class Health(StrEnum):
    LOADING = "loading"
    OK = "ok"
    BROKEN = "broken"
    """The policies as they are now cannot be served; the last that could are."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What is served, and what was made of the last edit."""

    health: Health = Health.LOADING
    digest: str = ""
    """Of the policies that are served; empty while there are none."""
    loaded_at: datetime | None = None
    """When they began to be served."""
    diagnostics: tuple[Diagnostic, ...] = ()
    """Of the last edit."""


class Control:
    def __init__(self, snapshots: Snapshots, publish: Callable[[float], None], metrics: Metrics) -> None:
        """`publish` is told when the change was saved, in seconds since 1970, after `snapshots` have it."""
        self.policy = Policy()
        self._snapshots, self._publish, self._metrics = snapshots, publish, metrics

    async def run(self, events: AsyncIterator[PoliciesRead]) -> None:
        again: asyncio.Task[None] | None = None
        try:
            async for event in events:
                if again is not None:
                    again.cancel()
                again = await self._take(event)
        finally:
            if again is not None:
                again.cancel()

    async def _take(self, event: PoliciesRead) -> asyncio.Task[None] | None:
        """The task that tries again what failed through no fault of the policies."""
        if event.fleet is None:
            self._broken(event, event.diagnostics)
            return None
        try:
            prepared = await self._prepared(event.fleet)
        except Exception:
            log.exception("translation failed digest=%s", event.digest)
            self._broken(event, (*event.diagnostics, fault(event.folder, "the translation for Envoy")))
            return asyncio.create_task(self._take_again(event, event.fleet))
        self._metrics.compiled(event.seconds, ok=True)
        self._serve(prepared, event)
        return None

    async def _take_again(self, event: PoliciesRead, fleet: Fleet) -> None:
        while True:
            await asyncio.sleep(AGAIN)
            with suppress(Exception):  # it has been said
                prepared = await self._prepared(fleet)
                break
        self._serve(prepared, event)

    async def _prepared(self, fleet: Fleet) -> Prepared:
        return await asyncio.to_thread(self._snapshots.prepared, fleet)

    def _broken(self, event: PoliciesRead, diagnostics: tuple[Diagnostic, ...]) -> None:
        self._metrics.compiled(event.seconds, ok=False)
        self.policy = replace(self.policy, health=Health.BROKEN, diagnostics=diagnostics)
        errors, stays = _count(diagnostics, Severity.ERROR), self.policy.digest or "nothing"
        log.error("policy broken errors=%d serving=%s", errors, stays)

    def _serve(self, prepared: Prepared, event: PoliciesRead) -> None:
        if self._snapshots.fleet is None:
            # What a fleet is made of stays, and to look through all of it for garbage takes up to a second.
            gc.freeze()
        self._snapshots.replace(prepared)
        self.policy = Policy(Health.OK, event.digest, datetime.now(UTC), event.diagnostics)
        self._metrics.serving(event.digest)
        self._publish(event.saved_at)
        models, gateways = len(prepared.fleet.models), len(prepared.fleet.gateways)
        found = f"models={models} gateways={gateways} warnings={_count(event.diagnostics, Severity.WARNING)}"
        log.info("policy loaded digest=%s %s compile_ms=%.0f", event.digest, found, event.seconds * 1000)
        if bare := without_instances(prepared.fleet):
            shown = ", ".join(bare[:SHOWN]) + (", …" if len(bare) > SHOWN else "")
            log.warning("no endpoints, so requests are answered 503: versions=%d (%s)", len(bare), shown)


def without_instances(fleet: Fleet) -> list[str]:
    """Versions that get requests and have nobody to answer them: a missing `endpoints`, or a save cut short."""
    return [
        f"{model.name} {version.name}"
        for model in fleet.models
        for version in model.versions
        if version.weight and not version.endpoints
    ]


def _count(diagnostics: Iterable[Diagnostic], severity: Severity) -> int:
    return sum(found.severity is severity for found in diagnostics)
