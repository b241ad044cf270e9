"""A branch as a stream of compiled policies: the first at once, then one after each commit that is found.

It is looked for at intervals, and at once when somebody knocks. A commit that must not be served is told as policies
that are broken, so what was served before stays. What is pinned stays, whatever the branch does.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from compiler.diagnostics import Severity
from xds.git.bell import Answer, Bell, Command, Turned, TurnRefused
from xds.git.memory import Memory, load, save
from xds.git.program import GitError
from xds.git.reader import MENDED, Judge, Reader
from xds.git.repository import Repository
from xds.git.standing import Standing
from xds.observe.commits import SHOWN
from xds.observe.events import PoliciesRead

POLL = 30.0
"""Seconds between two looks at the branch."""
JITTER = 0.2
"""Of an interval, more or less: replicas do not all come at once."""
FIRST_AGAIN, LAST_AGAIN = 1.0, 60.0
"""Seconds until a repository that cannot be read is tried again: at first, and at most; twice as long each time."""

log = logging.getLogger(__name__)


class Following:
    def __init__(self, repository: Repository, reader: Reader, folder: Path, path: str, poll: float = POLL) -> None:
        """`folder` holds what must survive a restart; `path` is that of the policies in the repository."""
        self._repository, self._reader, self._path, self._poll = repository, reader, path, poll
        self._file = folder / "followed.json"
        self._remote = str(repository.remote)
        self._memory = Memory()
        self.standing = Standing(self._remote)
        self._bell = Bell()
        self._done = ""
        """The head that there is nothing more to do about."""
        self._last: PoliciesRead | None = None
        self._failed = 0
        """How often in a row the branch could not be read."""

    async def prepare(self) -> None:
        """Raises OSError where the clone cannot be made, GitError where there is no git."""
        await self._repository.prepare()

    def knock(self) -> None:
        """There may be something new."""
        self._bell.knock()

    async def pin(self, commit: str) -> Answer:
        """Serves that commit, and no other, until `release`."""
        return await self._bell.command(commit)

    async def release(self) -> Answer:
        return await self._bell.command("")

    async def policies(self) -> AsyncIterator[PoliciesRead]:
        """Never ends. To be called after `prepare`."""
        self._memory = await asyncio.to_thread(load, self._file, self._remote)
        self._stand(served=self._memory.served, pinned=self._memory.pinned)
        log.info("following remote=%s path=%s served=%s", self._remote, self._path, self._memory.served[:SHOWN])
        async for read in self._first():
            yield self._telling(read)
        while True:
            await self._bell.rings(self._interval)
            while (command := self._bell.next_command()) is not None:
                turned = await self._carried_out(command)
                if turned is not None:
                    yield self._telling(turned)
            since = self._bell.heard()
            await self._fetch()
            found = await self._next(since)
            if found is not None and not self._is_told(found):
                yield self._telling(found)

    async def _first(self) -> AsyncIterator[PoliciesRead]:
        """What is wanted, or, where that is not to be had, what was good before: the clone is still there."""
        since = time.time()
        await self._fetch()
        found = await self._next(since)
        before = self._memory.served
        if (found is None or found.fleet is None) and before:
            refused = self.standing
            kept = await self._read(before, since)
            if kept.fleet is not None:
                yield kept
                if found is None:
                    return
                self._stand(refused=refused.refused, reason=refused.reason)
        yield found or self._reader.lost(self._remote, self.standing.problem or "there was no time yet", since)

    @property
    def _interval(self) -> float:
        """Seconds until it is time to look."""
        seconds = min(FIRST_AGAIN * 2 ** min(self._failed - 1, 10), LAST_AGAIN) if self._failed else self._poll
        return seconds * random.uniform(1 - JITTER, 1 + JITTER)

    async def _fetch(self) -> bool:
        """Whether the branch could be read. A command does not wait for it."""
        fetching = asyncio.create_task(self._repository.fetch())
        commanded = asyncio.create_task(self._bell.commanded())
        try:
            await asyncio.wait({fetching, commanded}, return_when=asyncio.FIRST_COMPLETED)
            if not fetching.done():
                return False
            head = fetching.result()
        except GitError as problem:
            self._lost(str(problem))
            return False
        finally:
            for task in (fetching, commanded):
                task.cancel()
            await asyncio.wait({fetching, commanded})
        if self._failed:
            log.info("the branch can be read again remote=%s", self._remote)
        self._failed = 0
        self._stand(head=head, read_at=datetime.now(UTC), problem="")
        return True

    def _lost(self, problem: str) -> None:
        self._failed += 1
        if problem != self.standing.problem:
            log.error("the branch cannot be read remote=%s problem=%s", self._remote, problem)
        self._stand(problem=problem)

    async def _next(self, since: float) -> PoliciesRead | None:
        """Of the commit that is wanted; None where nothing is to be done about it."""
        wanted = self._memory.pinned or self.standing.head
        if not wanted or wanted == self._done:
            return None
        # After a rollback what is served is older than what the branch has to have.
        before = self._memory.judged or self._memory.served
        try:
            rewritten = not self._memory.pinned and before and not await self._repository.descends(wanted, before)
        except GitError as problem:
            return self._refused(wanted, str(problem), since)
        if rewritten:
            stands = "is" if before == self._memory.served else "was"
            why = f"{before[:SHOWN]}, which {stands} served, is not in its history: the branch has been rewritten"
            self._done = wanted
            short = wanted[:SHOWN]
            meant = f"push what it was before; where it is meant: turnout rollback {short}, turnout rollback --release"
            return self._refused(wanted, why, since, meant)
        return await self._read(wanted, since)

    def _refused(self, commit: str, why: str, since: float, hint: str = MENDED) -> PoliciesRead:
        self._stand(refused=commit, reason=why)
        return self._reader.refused(commit, why, since, hint)

    async def _read(self, commit: str, since: float) -> PoliciesRead:
        found = await self._reader.read(commit, since, self._judge(commit))
        if found.read.fleet is not None:
            # What was served before is read again at a restart; after a rollback it is not the newest of the branch.
            again = commit in (self._memory.pinned, self._memory.served) and bool(self._memory.judged)
            of_branch = {} if again else {"judged": commit, "signers": found.signers}
            self._accepted(commit, found.signed_by, **of_branch)
        else:
            self._stand(refused=commit, reason=found.refusal or _first_error(found.read))
            # What git, the disk or a signature has said may be otherwise the next time; policies are what they are.
            self._done = "" if found.refusal else commit
        return found.read

    def _judge(self, commit: str) -> Judge:
        """What is served says who may have signed what comes; at first, what comes says it itself."""
        if not self._memory.served:
            return Judge(itself=True)
        known = commit in (self._memory.served, self._memory.judged)
        return Judge() if known else Judge(self._memory.signers)

    def _accepted(self, commit: str, signed_by: str, **more: str | tuple[str, ...] | None) -> str:
        """As `_remember`, with `more` of the memory."""
        self._done = commit
        self._stand(served=commit, signed_by=signed_by, refused="", reason="")
        return self._remember(replace(self._memory, served=commit, **more))  # type: ignore[arg-type]

    def _remember(self, memory: Memory) -> str:
        """Why it cannot be kept; it holds all the same until a restart."""
        self._memory = memory
        try:
            save(self._file, self._remote, memory)
        except OSError as problem:
            log.error("what is followed cannot be kept problem=%s", problem.strerror or problem)
            return str(problem.strerror or problem)
        return ""

    async def _carried_out(self, command: Command) -> PoliciesRead | None:
        if command.commit:
            answer, read = await self._pinned(command.commit)
        else:
            answer, read = await self._released()
        command.answered(answer)
        return read

    async def _pinned(self, name: str) -> tuple[Answer, PoliciesRead | None]:
        since = time.time()
        try:
            commit = await self._repository.commit(name)
            if commit is None and await self._fetch():
                commit = await self._repository.commit(name)
        except GitError as problem:
            return TurnRefused(str(problem)), None
        if commit is None:
            hint = "seven digits of a commit or more, of the branch or of what it was before"
            return TurnRefused(f"no commit {name[:64]!r} of {self._remote} is known here", hint), None
        # Who rolls back has the token: every key of the server's file will do, as it did when the commit was new.
        found = await self._reader.read(commit, since, Judge())
        if found.read.fleet is None:
            why = found.refusal or _first_error(found.read)
            return TurnRefused(f"commit {commit[:SHOWN]} cannot be served: {why}", "another one"), None
        # What comes after a release is judged as before: by the newest of the branch, not by what it was once.
        earlier = await self._descends(self._memory.judged, commit)
        more: dict[str, Any] = {} if earlier else {"judged": commit, "signers": found.signers}
        if earlier and commit == self.standing.head:
            more = {"judged": commit}  # the branch was set back to it, and that is meant
        self._stand(pinned=commit)
        unkept = self._accepted(commit, found.signed_by, pinned=commit, **more)
        log.warning("rolled back until it is released commit=%s", commit[:SHOWN])
        said = unkept and f"a restart ends it, as it cannot be kept: {unkept}"
        return Turned(commit, pinned=True, problem=said), found.read

    async def _released(self) -> tuple[Answer, PoliciesRead | None]:
        if not self._memory.pinned:
            return TurnRefused(f"nothing is pinned: {self._stands}"), None
        self._stand(pinned="")
        self._remember(replace(self._memory, pinned=""))
        log.info("released remote=%s", self._remote)
        since = time.time()
        if not await self._fetch() and not self.standing.head:
            return Turned(self._memory.served, pinned=False, problem=self.standing.problem), None
        read = await self._next(since)
        return Turned(self._memory.served, pinned=False, problem=self.standing.reason or self.standing.problem), read

    @property
    def _stands(self) -> str:
        """How the branch does, where it is followed."""
        standing = self.standing
        if standing.refused:
            stays = f"{standing.served[:SHOWN]} stays" if standing.served else "nothing is served"
            return f"commit {standing.refused[:SHOWN]} is refused: {standing.reason}; {stays}"
        if standing.problem:
            return f"the branch cannot be read: {standing.problem}"
        return "the branch is served as it is"

    async def _descends(self, commit: str, base: str) -> bool:
        try:
            return bool(commit) and await self._repository.descends(commit, base)
        except GitError:
            return False

    def _stand(self, **changes: str | datetime) -> None:
        self.standing = replace(self.standing, **changes)  # type: ignore[arg-type]

    def _is_told(self, read: PoliciesRead) -> bool:
        last = self._last
        same = last is not None and last.commit == read.commit and last.diagnostics == read.diagnostics
        return read.fleet is None and same

    def _telling(self, read: PoliciesRead) -> PoliciesRead:
        self._last = read
        if read.fleet is None and self.standing.refused:
            stays = self._memory.served[:SHOWN] or "nothing"
            said = "commit refused commit=%s serving=%s reason=%s"
            log.error(said, self.standing.refused[:SHOWN], stays, self.standing.reason)
        return read


def _first_error(read: PoliciesRead) -> str:
    errors = [found for found in read.diagnostics if found.severity is Severity.ERROR]
    more = f", and {len(errors) - 1} more errors" if len(errors) > 1 else ""
    return f"{errors[0].position}: {errors[0].code} {errors[0].message}{more}"
