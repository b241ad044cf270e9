"""A branch as a stream of compiled policies: the first at once, then one after each commit that is found.

It is looked for at intervals, and at once when somebody knocks. A commit that must not be served is told as policies
that are broken, so what was served before stays. What is pinned stays, whatever the branch does.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from compiler.diagnostics import Severity
from xds.git.bell import Answer, Bell, Command, Turned, TurnRefused
from xds.git.branch import POLL, SILENT, Branch
from xds.git.history import pinned, rewritten
from xds.git.memory import Memory, load, save
from xds.git.program import GitError
from xds.git.reader import Judge, Outcome, Reader, Refusal
from xds.git.repository import Repository
from xds.git.standing import Standing
from xds.observe.commits import SHOWN
from xds.observe.events import PoliciesRead

log = logging.getLogger(__name__)


class Following:
    def __init__(self, repository: Repository, reader: Reader, folder: Path, path: str, poll: float = POLL) -> None:
        """`folder` holds what must survive a restart; `path` is that of the policies in the repository."""
        self._repository, self._reader, self._path = repository, reader, path
        self._file = folder / "followed.json"
        self._remote = str(repository.remote)
        self._memory = Memory()
        self._standing = Standing(self._remote)
        self._bell = Bell()
        self._branch = Branch(repository, self._bell, poll)
        self._done = ""
        """The head that there is nothing more to do about."""
        self._last: PoliciesRead | None = None

    @property
    def standing(self) -> Standing:
        branch = self._branch
        return replace(self._standing, head=branch.head, read_at=branch.read_at, problem=branch.problem)

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
        async with aclosing(self._first()) as first:
            async for read in first:
                yield self._telling(read)
        while True:
            await self._bell.rings(self._branch.interval)
            while (command := self._bell.next_command()) is not None:
                turned = await self._carried_out(command)
                if turned is not None:
                    yield self._telling(turned)
            since = self._bell.heard()
            await self._branch.read()
            found = await self._next(since)
            if found is not None and not self._is_told(found):
                yield self._telling(found)

    async def _first(self) -> AsyncGenerator[PoliciesRead, None]:
        """What was good before, out of the clone, as that waits for nobody; then what the branch has."""
        kept = None
        if (before := self._memory.pinned or self._memory.served) and self._repository.is_cloned:
            kept = await self._read(before, time.time())
            yield kept  # also where it cannot be served: then the last good is, until there is better
        is_served = kept is not None and kept.fleet is not None
        since, asked = time.time(), datetime.now(UTC)
        reading = asyncio.create_task(self._branch.read())
        try:
            await asyncio.wait({reading}, timeout=SILENT)
            if not reading.done():
                self._branch.unanswered(asked)
                if not is_served:
                    yield self._lost(since)
            await reading
        finally:
            reading.cancel()
            await asyncio.wait({reading})
        found = await self._next(since)
        if found is None and not is_served:
            found = kept if kept is not None and self._done else self._lost(since)
        if found is not None and not self._is_told(found):
            yield found

    def _lost(self, since: float) -> PoliciesRead:
        return self._reader.lost(self._remote, self._branch.problem or "there was no time yet", since)

    async def _next(self, since: float) -> PoliciesRead | None:
        """Of the commit that is wanted; None where nothing is to be done about it."""
        wanted = self._memory.pinned or self._branch.head
        if not wanted or wanted == self._done:
            return None
        try:
            refusal = None if self._memory.pinned else await rewritten(self._repository, self._memory, wanted)
        except GitError as problem:
            return self._refused(wanted, Refusal(str(problem), problem.hint), since)
        if refusal is not None:
            self._done = wanted
            return self._refused(wanted, refusal, since)
        return await self._read(wanted, since)

    def _refused(self, commit: str, refusal: Refusal, since: float) -> PoliciesRead:
        self._stand(refused=commit, reason=refusal.why)
        return self._reader.refused(commit, refusal, since)

    async def _read(self, commit: str, since: float) -> PoliciesRead:
        found = await self._reader.read(commit, since, self._judge(commit))
        if found.read.fleet is not None:
            # What was served before is read again at a restart; after a rollback it is not the newest of the branch.
            again = commit in (self._memory.pinned, self._memory.served) and bool(self._memory.judged)
            memory = replace(self._memory, served=commit)
            memory = memory if again else replace(memory, judged=commit, signers=found.signers)
            self._accepted(memory, found.signed_by)
        else:
            self._stand(refused=commit, reason=_why(found))
            # What git, the disk or a signature has said may be otherwise the next time; policies are what they are.
            self._done = "" if found.refusal else commit
        return found.read

    def _judge(self, commit: str) -> Judge:
        """What is served says who may have signed what comes; at first, what comes says it itself."""
        if not self._memory.served:
            return Judge(itself=True)
        known = commit in (self._memory.served, self._memory.judged)
        return Judge() if known else Judge(self._memory.signers)

    def _accepted(self, memory: Memory, signed_by: str) -> str:
        """As `_remember`."""
        self._done = memory.served
        self._stand(served=memory.served, pinned=memory.pinned, signed_by=signed_by, refused="", reason="")
        return self._remember(memory)

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
            if commit is None and await self._branch.read(hurried=True):
                commit = await self._repository.commit(name)
        except GitError as problem:
            return TurnRefused(str(problem), problem.hint), None
        if commit is None:
            hint = "seven digits of a commit or more, of the branch or of what it was before"
            unread = self._branch.problem and f"; the branch cannot be read: {self._branch.problem}"
            return TurnRefused(f"no commit {name[:64]!r} of {self._remote} is known here{unread}", hint), None
        # Who rolls back has the token: every key of the server's file will do, as it did when the commit was new.
        found = await self._reader.read(commit, since, Judge())
        if found.read.fleet is None:
            hint = (found.refusal and found.refusal.hint) or "another one"
            return TurnRefused(f"commit {commit[:SHOWN]} cannot be served: {_why(found)}", hint), None
        memory = await pinned(self._repository, self._memory, self._branch.head, commit, found.signers)
        unkept = self._accepted(memory, found.signed_by)
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
        # What it was when it was read last is what was rolled back from, and may have been mended since.
        await self._branch.read(hurried=True)
        read = await self._next(since) if self._branch.head else None
        unread = self._branch.problem and f"the branch cannot be read: {self._branch.problem}"
        return Turned(self._memory.served, pinned=False, problem=self._standing.reason or unread), read

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

    def _stand(self, **changes: Any) -> None:
        self._standing = replace(self._standing, **changes)

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


def _why(found: Outcome) -> str:
    """It is not served."""
    if found.refusal is not None:
        return found.refusal.why
    errors = [each for each in found.read.diagnostics if each.severity is Severity.ERROR]
    more = f", and {len(errors) - 1} more errors" if len(errors) > 1 else ""
    return f"{errors[0].position}: {errors[0].code} {errors[0].message}{more}"
