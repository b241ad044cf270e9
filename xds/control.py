"""The one task that owns the current fleet: events in, snapshots out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum

from compiler.diagnostics import Diagnostic
from compiler.fleet import Fleet
from xds.admin.metrics import Metrics
from xds.cache import Snapshots
from xds.observe.events import PoliciesRead

log = logging.getLogger(__name__)


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
        async for event in events:
            served = event.fleet is not None and await self._serve(event.fleet, event)
            self._metrics.compiled(event.seconds, ok=served)
            if not served:
                self.policy = replace(self.policy, health=Health.BROKEN, diagnostics=event.diagnostics)
                stays = self.policy.digest or "nothing"
                log.error("policy broken errors=%d serving=%s", len(event.diagnostics), stays)

    async def _serve(self, fleet: Fleet, event: PoliciesRead) -> bool:
        try:
            prepared = await asyncio.to_thread(self._snapshots.prepared, fleet)
        except Exception:
            log.exception("translation failed digest=%s", event.digest)
            return False
        self._snapshots.replace(prepared)
        self.policy = Policy(Health.OK, event.digest, datetime.now(UTC), event.diagnostics)
        self._metrics.serving(event.digest)
        self._publish(event.saved_at)
        found = f"models={len(fleet.models)} gateways={len(fleet.gateways)} warnings={len(event.diagnostics)}"
        log.info("policy loaded digest=%s %s compile_ms=%.0f", event.digest, found, event.seconds * 1000)
        return True
