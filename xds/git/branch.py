"""The branch as it was read last, and when to look at it again."""

from __future__ import annotations

import asyncio
import logging
import random
from datetime import UTC, datetime

from xds.git.bell import Bell
from xds.git.program import GitError
from xds.git.repository import Repository

POLL = 30.0
"""Seconds between two looks."""
JITTER = 0.2
"""Of an interval, more or less: replicas do not all come at once."""
FIRST_AGAIN, LAST_AGAIN = 1.0, 60.0
"""Seconds until a repository that cannot be read is tried again: at first, and at most; twice as long each time."""
HURRIED = 10.0
"""Seconds that somebody who waits for an answer is kept waiting for the branch."""
SILENT = 5.0
"""Seconds until a first look that has no end yet is told as one."""

log = logging.getLogger(__name__)


class Branch:
    def __init__(self, repository: Repository, bell: Bell, poll: float) -> None:
        """Whoever rings the bell with a command waits for no look."""
        self._repository, self._bell, self._poll = repository, bell, poll
        self._remote = str(repository.remote)
        self._failed = 0
        """How often in a row it could not be read."""
        self.head = ""
        """Empty until it has been read."""
        self.read_at: datetime | None = None
        self.problem = ""
        """Why it cannot be read; empty where it can."""

    @property
    def interval(self) -> float:
        """Seconds until it is time to look."""
        seconds = min(FIRST_AGAIN * 2 ** min(self._failed - 1, 10), LAST_AGAIN) if self._failed else self._poll
        return seconds * random.uniform(1 - JITTER, 1 + JITTER)

    async def read(self, *, hurried: bool = False) -> bool:
        """Whether it could be read; in a hurry, whether it could within `HURRIED`."""
        fetching = asyncio.create_task(self._repository.fetch())
        commanded = asyncio.create_task(self._bell.commanded())
        try:
            timeout = HURRIED if hurried else None
            done, _ = await asyncio.wait({fetching, commanded}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                self._lost(f"no answer within {HURRIED:.0f} s")
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
        if self.problem:
            log.info("the branch can be read again remote=%s", self._remote)
        self._failed = 0
        self.head, self.read_at, self.problem = head, datetime.now(UTC), ""
        return True

    def unanswered(self, since: datetime) -> None:
        """It is still asked, for the first time."""
        self._tell(f"not read yet, asked since {since.isoformat(timespec='seconds')}")

    def _lost(self, problem: str) -> None:
        self._failed += 1
        self._tell(problem)

    def _tell(self, problem: str) -> None:
        if problem != self.problem:
            log.error("the branch cannot be read remote=%s problem=%s", self._remote, problem)
        self.problem = problem
