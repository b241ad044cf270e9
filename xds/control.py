"""The one task that owns the current fleet and what is live beside it: events in, snapshots out."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum

from compiler.diagnostics import Diagnostic, Severity
from xds.admin.metrics import Metrics
from xds.cache import Prepared, Snapshots
from xds.clock import Clock, WallClock
from xds.live.command import Problem, Refusal, Refused, setting, taking_back
from xds.live.shares import Before
from xds.live.state import GRACE, NOTHING_LIVE, Change, LiveState, Step, expire, follow_policy, live_weights
from xds.observe.events import Answer, PoliciesRead, WeightsSet, WeightsTakenBack
from xds.store import Forgetful, Store
from xds.translating import Translated, follow

log = logging.getLogger(__name__)


YOUNG = 10_000
"""Objects that are made until those are looked through for garbage: Python's own 700 are less than one change."""
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


@dataclass(frozen=True, slots=True)
class _Due:
    """It is time for something that was to end."""


_Event = PoliciesRead | Translated | WeightsSet | WeightsTakenBack | _Due


class Control:
    def __init__(
        self,
        snapshots: Snapshots,
        publish: Callable[[float], None],
        metrics: Metrics,
        store: Store | None = None,
        clock: Clock | None = None,
    ) -> None:
        """`publish` is told when the change was saved, in seconds since 1970, after `snapshots` have it. Live state is
        kept in `store`, by default not beyond this process."""
        self.policy = Policy()
        self.live = NOTHING_LIVE
        self._snapshots, self._publish, self._metrics = snapshots, publish, metrics
        self._store, self._clock = store or Forgetful(), clock or WallClock()
        self._events: asyncio.Queue[_Event] = asyncio.Queue()
        self._before: tuple[Before, ...] = ()
        """What Envoys may still have of the time before the last edits, the oldest first."""
        self._timer: asyncio.Task[None] | None = None

    @property
    def forgets(self) -> bool:
        """Whether live state ends with this process."""
        return not self._store.lasts

    async def run(self, policies: AsyncIterator[PoliciesRead]) -> None:
        """Takes one event after the other, for ever."""
        self.live = await asyncio.to_thread(self._store.load)
        async with asyncio.TaskGroup() as tasks:
            # Beside the events, so that no command waits for a translation.
            tasks.create_task(follow(policies, self._snapshots.prepared, self._events.put_nowait))
            self._wind(tasks)
            try:
                while True:
                    await self._take(await self._events.get())
                    self._wind(tasks)
            finally:
                if self._timer is not None:
                    self._timer.cancel()

    async def set_weights(self, asked: object) -> Answer:
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._events.put_nowait(WeightsSet(asked, answer))
        return await answer

    async def take_weights_back(self, model: str) -> Answer:
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._events.put_nowait(WeightsTakenBack(model, answer))
        return await answer

    async def _take(self, event: _Event) -> None:
        match event:
            case PoliciesRead():
                self._broken(event)
            case Translated():
                await self._serve(event.prepared, event.read, told=event.again)
            case WeightsSet():
                _tell(event.answer, await self._set(event.asked))
            case WeightsTakenBack():
                _tell(event.answer, await self._taken_back(event.model))
            case _Due():
                await self._ended()

    def _broken(self, read: PoliciesRead) -> None:
        self._metrics.compiled(read.seconds, ok=False)
        self.policy = replace(self.policy, health=Health.BROKEN, diagnostics=read.diagnostics)
        errors, stays = _count(read.diagnostics, Severity.ERROR), self.policy.digest or "nothing"
        log.error("policy broken errors=%d serving=%s", errors, stays)

    async def _serve(self, prepared: Prepared, read: PoliciesRead, *, told: bool) -> None:
        """With live weights from the first snapshot on: there is no moment with policy's alone."""
        if not told:
            self._metrics.compiled(read.seconds, ok=True)
        now, old, live_before = self._clock.now(), self._snapshots.fleet, self.live
        if old is None:
            # What a fleet is made of stays, and to look through all of it for garbage takes up to a second. What a
            # change makes of it later is as large as the fleet, and mostly freed by itself.
            gc.freeze()
            gc.set_threshold(YOUNG, *gc.get_threshold()[1:])
        over = expire(self.live, now)
        step = follow_policy(over.state, prepared.fleet, now)
        self.live = step.state
        if old is not None and live_before.overrides:
            self._before = (*self._before, Before(old, live_before, now + GRACE))
        self._snapshots.replace(prepared, self.live, self._before)
        self.policy = Policy(Health.OK, read.digest, datetime.now(UTC), read.diagnostics)
        self._metrics.serving(read.digest, prepared.facts.weights)
        self._publish(read.saved_at)
        models, gateways = len(prepared.fleet.models), len(prepared.fleet.gateways)
        found = f"models={models} gateways={gateways} warnings={_count(read.diagnostics, Severity.WARNING)}"
        log.info("policy loaded digest=%s %s compile_ms=%.0f", read.digest, found, read.seconds * 1000)
        if bare := prepared.facts.without_instances:
            shown = ", ".join(bare[:SHOWN]) + (", …" if len(bare) > SHOWN else "")
            log.warning("no endpoints, so requests are answered 503: versions=%d (%s)", len(bare), shown)
        await self._keep(live_before, (*over.changes, *step.changes))

    # Live weights: decided in `xds.live`, kept, then served.

    async def _set(self, asked: object) -> Answer:
        fleet = self._snapshots.fleet
        if fleet is None:
            return Refused(Refusal.NOT_NOW, (Problem("no policy has been loaded yet"),))
        decided = setting(asked, fleet, self.live, self._clock.now())
        if isinstance(decided, Refused):
            return decided
        try:
            await asyncio.to_thread(self._store.save, decided.step.state)
        except OSError as problem:
            return Refused(Refusal.NOT_NOW, (Problem(f"it cannot be kept: {problem.strerror or problem}"),))
        self._go_live(decided.step)
        if self.forgets:
            return replace(decided, warnings=(*decided.warnings, "a restart ends it: the server has no --state"))
        return decided

    async def _taken_back(self, model: str) -> Answer:
        """Also when that cannot be kept: whoever takes back wants it gone."""
        decided = taking_back(model, self.live)
        if isinstance(decided, Refused):
            return decided
        self._go_live(decided.step)
        try:
            await asyncio.to_thread(self._store.save, self.live)
        except OSError as problem:
            kept = f"a restart before {decided.override.until:%H:%M:%S} UTC brings it back, as it cannot be deleted"
            return replace(decided, warnings=(f"{kept}: {problem.strerror or problem}",))
        return decided

    async def _ended(self) -> None:
        before, now = self.live, self._clock.now()
        step = expire(before, now)
        self._before = tuple(once for once in self._before if once.until > now)
        self._go_live(step)
        await self._keep(before, ())

    def _go_live(self, step: Step) -> None:
        self.live = step.state
        if self._snapshots.replace_layers(self.live, self._before):
            self._publish(self._clock.now().timestamp())
        self._tell_of(step.changes)

    def _tell_of(self, changes: Iterable[Change]) -> None:
        models = () if self._snapshots.fleet is None else self._snapshots.fleet.models
        in_force = self.live.in_force
        overridden = [model for model in models if model.name in in_force]
        self._metrics.live({model.name: dict(live_weights(self.live, model)) for model in overridden})
        for change in changes:
            override = change.override
            shown = ",".join(f"{version}={weight}" for version, weight in override.weights.items())
            until = override.until.isoformat(timespec="seconds")
            said = (change.what, change.model, shown, until, change.reason)
            log.info("live weights %s model=%s weights=%s until=%s reason=%r", *said)

    async def _keep(self, before: LiveState, changes: Iterable[Change]) -> None:
        """What has ended by itself; nobody waits for an answer."""
        self._tell_of(changes)
        if self.live is before:
            return
        try:
            await asyncio.to_thread(self._store.save, self.live)
        except OSError as problem:
            log.error("live state cannot be kept problem=%s", problem)

    def _wind(self, tasks: asyncio.TaskGroup) -> None:
        """Sets the timer to what ends next."""
        if self._timer is not None:
            self._timer.cancel()
        ends = [once.until for once in self._before]
        ends += [end for end in [self.live.next_end] if end is not None]
        self._timer = tasks.create_task(self._ring(min(ends))) if ends else None

    async def _ring(self, moment: datetime) -> None:
        await self._clock.until(moment)
        self._events.put_nowait(_Due())


def _tell(answer: asyncio.Future[Answer], said: Answer) -> None:
    if not answer.done():  # else whoever asked has gone
        answer.set_result(said)


def _count(diagnostics: Iterable[Diagnostic], severity: Severity) -> int:
    return sum(found.severity is severity for found in diagnostics)
