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
from xds.keeping import Keeping, Kept, Serving
from xds.live.command import Problem, Refusal, Refused, setting, taking_back
from xds.live.shares import Before
from xds.live.state import GRACE, NOTHING_LIVE, Change, LiveState, Step, expire, follow_policy, live_weights
from xds.observe.events import Answer, CommitRead, PoliciesRead, WeightsSet, WeightsTakenBack, policy_change
from xds.pace import Pace
from xds.spans import Trace, broken, untraced
from xds.stages import Cause, Stage
from xds.store import Forgetful, Store
from xds.translating import Translated, follow

log = logging.getLogger(__name__)


PATIENCE = 10.0
"""Seconds for which policies may not have been read, as from a disk that hangs, until the last good is served."""
LIVE_APART = 0.5
"""Seconds between two pushes of live weights, at least: a burst of commands is few of them, the last one included."""
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
    last_good: LastGood | None = None
    """Set while what is served is what a server before this one has kept."""
    commit: str = ""
    """That the policies which are served were read at; empty where git does not know."""


@dataclass(frozen=True, slots=True)
class LastGood:
    since: datetime
    """When it began to be served."""
    reason: str
    """Why it is."""
    fleet: bool
    """Whether there is a fleet: else there are only the resources that Envoys of the server before had."""


@dataclass(frozen=True, slots=True)
class _Due:
    """It is time for something that was to end."""


@dataclass(frozen=True, slots=True)
class _Late:
    """Policies should have been read by now."""


@dataclass(frozen=True, slots=True)
class _LiveDue:
    """What is live is to be served."""


_Event = PoliciesRead | CommitRead | Translated | WeightsSet | WeightsTakenBack | _Due | _Late | _LiveDue


class Control:
    def __init__(
        self,
        snapshots: Snapshots,
        publish: Callable[[Cause], None],
        metrics: Metrics,
        store: Store | None = None,
        clock: Clock | None = None,
        keeping: Keeping | None = None,
        trace: Callable[[Trace], None] = untraced,
    ) -> None:
        """`publish` is told of each change after `snapshots` have it, `trace` of those that come to nothing. Live state
        is kept in `store`, and what is served by `keeping`; by default not beyond this process."""
        self.policy = Policy()
        self.live = NOTHING_LIVE
        self._snapshots, self._publish, self._metrics = snapshots, publish, metrics
        self._store, self._clock, self._keeping = store or Forgetful(), clock or WallClock(), keeping
        self._events: asyncio.Queue[_Event] = asyncio.Queue()
        self._before: tuple[Before, ...] = ()
        """What Envoys may still have of the time before the last edits, the oldest first."""
        self._timer: asyncio.Task[None] | None = None
        self._trace = trace
        self._live_pace = Pace(lambda: self._events.put_nowait(_LiveDue()), LIVE_APART)
        self._live_since = 0.0
        """When the first command was given that is not served yet, in seconds since 1970."""

    @property
    def forgets(self) -> bool:
        """Whether live state ends with this process."""
        return not self._store.lasts

    @property
    def without_fleet(self) -> str:
        """Why there is no fleet to answer from, where there is none."""
        if self._snapshots.groups:
            return "only the resources of the last good snapshot are served, until there are good policies"
        return "no policy has been loaded yet"

    @property
    def kept(self) -> Kept | None:
        """`None` where nothing is to be kept."""
        return None if self._keeping is None else self._keeping.kept

    async def run(self, policies: AsyncIterator[PoliciesRead], commits: AsyncIterator[str] | None = None) -> None:
        """Takes one event after the other, for ever. `commits` are those of policies that stay as they are."""
        self.live = await asyncio.to_thread(self._store.load)
        async with asyncio.TaskGroup() as tasks:
            if self._keeping is not None:
                self._snapshots.good_before(await self._keeping.load())
                tasks.create_task(self._keeping.run(self._snapshots))
                tasks.create_task(self._tell_late())
            # Beside the events, so that no command waits for a translation.
            tasks.create_task(follow(policies, self._snapshots.prepared, self._events.put_nowait))
            if commits is not None:
                tasks.create_task(self._follow(commits))
            self._wind(tasks)
            try:
                while True:
                    await self._take(await self._events.get())
                    self._wind(tasks)
            finally:
                self._live_pace.stop()
                if self._timer is not None:
                    self._timer.cancel()

    async def _follow(self, commits: AsyncIterator[str]) -> None:
        async for commit in commits:
            self._events.put_nowait(CommitRead(commit))

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
                await self._broken(event)
            case CommitRead():
                self._committed(event.commit)
            case Translated():
                await self._serve(event.prepared, event.read, event.stage, told=event.again)
            case WeightsSet():
                _tell(event.answer, await self._set(event.asked))
            case WeightsTakenBack():
                _tell(event.answer, await self._taken_back(event.model))
            case _Due():
                await self._ended()
            case _Late():
                await self._fall_back(f"policies have not been read for {PATIENCE:.0f} s")
            case _LiveDue():
                self._serve_live()

    async def _broken(self, read: PoliciesRead) -> None:
        self._metrics.compiled(read.seconds, ok=False)
        await self._fall_back(next(_line(d) for d in read.diagnostics if d.severity is Severity.ERROR))
        self.policy = replace(self.policy, health=Health.BROKEN, diagnostics=read.diagnostics)
        self._metrics.stages(read.stages)
        errors, stays = _count(read.diagnostics, Severity.ERROR), self.policy.digest or "nothing"
        at = (read.commit,) if read.commit else ()
        log.error("policy broken errors=%d serving=%s" + " commit=%s" * len(at), errors, stays, *at)
        self._trace(broken(policy_change(read), self._clock.now().timestamp(), f"{errors} errors"))

    def _committed(self, commit: str) -> None:
        """Of the policies that are served. Those of an edit that is broken are at no commit that anybody waits for."""
        if self.policy.health is not Health.OK or self._snapshots.fleet is None:
            return
        self.policy = replace(self.policy, commit=commit)
        self._snapshots.committed(commit)
        self._metrics.serving(self.policy.digest, self._snapshots.facts.weights, commit)

    async def _serve(self, prepared: Prepared, read: PoliciesRead, translated: Stage, *, told: bool) -> None:
        if not told:
            self._metrics.compiled(read.seconds, ok=True)
            self._metrics.stages(read.stages)
        self._metrics.stages([translated])
        live_before, changes = self._replace(replace(prepared, commit=read.commit))
        since = datetime.now(UTC)
        self.policy = Policy(Health.OK, read.digest, since, read.diagnostics, commit=read.commit)
        self._metrics.serving(read.digest, prepared.facts.weights, read.commit)
        self._metrics.last_good(False)
        if self._keeping is not None:
            self._keeping.serving(Serving(read.digest, since, read.files, prepared.fleet))
        models, gateways = len(prepared.fleet.models), len(prepared.fleet.gateways)
        size = {"turnout.models": models, "turnout.gateways": gateways, "turnout.groups": len(self._snapshots.groups)}
        self._publish(policy_change(read, (translated,), size))
        event = "policy loaded digest=%s models=%d gateways=%d warnings=%d compile_ms=%.0f"
        counts = (models, gateways, _count(read.diagnostics, Severity.WARNING))
        at = (read.commit,) if read.commit else ()
        log.info(event + " commit=%s" * len(at), read.digest, *counts, read.seconds * 1000, *at)
        if bare := prepared.facts.without_instances:
            shown = ", ".join(bare[:SHOWN]) + (", …" if len(bare) > SHOWN else "")
            text = "no endpoints, so requests are answered 503 versions=%d first=%s"
            log.warning(text, len(bare), shown)
        await self._keep(live_before, changes)

    def _replace(self, prepared: Prepared) -> tuple[LiveState, tuple[Change, ...]]:
        """With live weights from the first snapshot on: there is no moment with policy's alone. Gives what was live
        before, and what has become of it."""
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
        return live_before, (*over.changes, *step.changes)

    async def _fall_back(self, reason: str) -> None:
        """To what a server before this one has kept, where nothing is served yet: nothing is answered from nothing."""
        if self._keeping is None or self._snapshots.groups:
            return
        last = await self._keeping.last_good(self._snapshots.prepared)
        if last is None:
            return
        live_before, changes, snapshots = self.live, tuple[Change, ...](), last.snapshots
        if isinstance(snapshots, Prepared):
            live_before, changes = self._replace(snapshots)
            self._metrics.serving(last.digest, snapshots.facts.weights, snapshots.commit)
        else:
            self._snapshots.restore(snapshots)
        now, fleet = datetime.now(UTC), self._snapshots.fleet is not None
        self.policy = replace(
            self.policy,
            digest=last.digest,
            commit=self._snapshots.commit,
            loaded_at=now,
            last_good=LastGood(last.since, reason, fleet),
        )
        self._metrics.last_good(True)
        self._publish(Cause("last good", now.timestamp(), attributes={"turnout.digest": last.digest}))
        since = last.since.isoformat(timespec="milliseconds")
        log.error("last good served digest=%s since=%s policies=%s reason=%s", last.digest, since, fleet, reason)
        await self._keep(live_before, changes)

    async def _tell_late(self) -> None:
        await asyncio.sleep(PATIENCE)
        self._events.put_nowait(_Late())

    # Live weights: decided in `xds.live`, kept, then served.

    async def _set(self, asked: object) -> Answer:
        fleet = self._snapshots.fleet
        if fleet is None:
            return Refused(Refusal.NOT_NOW, (Problem(self.without_fleet),))
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
        if self._snapshots.groups and self._snapshots.fleet is None:
            decided = replace(decided, warnings=(*decided.warnings, f"Envoys have it until then: {self.without_fleet}"))
        try:
            await asyncio.to_thread(self._store.save, self.live)
        except OSError as problem:
            kept = f"a restart before {decided.override.until:%H:%M:%S} UTC brings it back, as it cannot be deleted"
            return replace(decided, warnings=(*decided.warnings, f"{kept}: {problem.strerror or problem}"))
        return decided

    async def _ended(self) -> None:
        before, now = self.live, self._clock.now()
        step = expire(before, now)
        self._before = tuple(once for once in self._before if once.until > now)
        self._go_live(step)
        await self._keep(before, ())

    def _go_live(self, step: Step) -> None:
        self.live = step.state
        self._live_since = self._live_since or self._clock.now().timestamp()
        self._live_pace.ask()
        self._tell_of(step.changes)

    def _serve_live(self) -> None:
        since, self._live_since = self._live_since, 0.0
        if self._snapshots.replace_layers(self.live, self._before):
            attributes = {"turnout.live_models": len(self.live.in_force)}
            self._publish(Cause("live weights", since, attributes=attributes))

    def _tell_of(self, changes: Iterable[Change]) -> None:
        models = {} if self._snapshots.fleet is None else self._snapshots.fleet.by_name
        overridden = [models[name] for name in self.live.in_force if name in models]
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


def _line(found: Diagnostic) -> str:
    return f"{found.position}: {found.code} {found.message}"


def _count(diagnostics: Iterable[Diagnostic], severity: Severity) -> int:
    return sum(found.severity is severity for found in diagnostics)
