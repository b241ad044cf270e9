"""A commit made a fleet: verified, planned, written to a folder of its own, compiled; or refused, with the reason."""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from compiler.pipeline import Compiled
from xds.git.checkout import Plan, leading_out, left_out, planned, write
from xds.git.program import GitError
from xds.git.repository import Repository
from xds.git.signatures import Signed, Signers
from xds.observe.commits import SHOWN
from xds.observe.compiling import compiled, policies_read, policies_refused, repository_lost
from xds.observe.events import PoliciesRead
from xds.stages import Stages

log = logging.getLogger(__name__)

MENDED = "a commit after it that can be served"
"""What to do about most that is refused."""


@dataclass(frozen=True, slots=True)
class Good:
    """What the last good commit has come to."""

    commit: str
    compiled: Compiled
    blobs: Mapping[str, str]
    """Of its policy files, by path."""


@dataclass(frozen=True, slots=True)
class Judge:
    """Whose signature counts, of those that the server's file has."""

    signers: tuple[str, ...] | None = None
    """By name; None is all, and where the server has no file nobody need have signed."""
    itself: bool = False
    """The commit's own Platform says it: there is none before it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    read: PoliciesRead
    signed_by: str = ""
    """Empty where nobody need have signed."""
    signers: tuple[str, ...] | None = None
    """Who may sign what comes after it."""
    refusal: str = ""
    """Why it was not even compiled; that may be otherwise the next time."""


class Reader:
    def __init__(
        self,
        repository: Repository,
        path: str,
        trees: Path,
        signers: Signers | None,
        environment: str = "",
        colour: bool = False,
    ) -> None:
        """`path` is that of the policy folder in the repository, `.` for all of it. `trees` is nobody else's."""
        self._repository, self._path, self._trees, self._signers = repository, path, trees, signers
        self._environment, self._colour = environment, colour
        self._good: Good | None = None

    async def read(self, commit: str, since: float, judge: Judge) -> Outcome:
        """`since` is when it was heard of, in seconds since 1970."""
        try:
            found = await self._checked(commit, judge)
        except GitError as problem:
            found = str(problem)
        except OSError as problem:
            found = f"it cannot be written to the disk: {problem.strerror or problem}"
        except Exception:
            log.exception("commit cannot be read commit=%s", commit)
            found = "a fault of turnout; the log says where"
        if isinstance(found, str):
            return self._refusal(commit, found, since)
        signed, plan, folder = found
        read, made = await self._compiled(commit, folder, plan, since)
        allowed = None if read.fleet is None else read.fleet.platform.allowed_signers
        if (judge.itself or self._signers is None) and (wrong := self._wrong_signer(signed, allowed)):
            return self._refusal(commit, wrong, since)
        if made is not None and read.fleet is not None:
            self._good = Good(commit, made, plan.blobs)
        await asyncio.to_thread(self._tidy)
        return Outcome(read, signed.by, allowed)

    def _refusal(self, commit: str, why: str, since: float) -> Outcome:
        return Outcome(self.refused(commit, why, since), refusal=why)

    def refused(self, commit: str, why: str, since: float, hint: str = MENDED) -> PoliciesRead:
        stays = "" if self._good is None else self._good.commit[:SHOWN]
        return policies_refused(self._path, commit[:SHOWN], why, hint, stays, since, self._colour)

    def lost(self, remote: str, problem: str, since: float) -> PoliciesRead:
        """Nothing of the repository has been read yet."""
        return repository_lost(self._path, remote, problem, since, self._colour)

    async def _checked(self, commit: str, judge: Judge) -> tuple[Signed, Plan, Path] | str:
        """Or why it must not be served. Raises GitError, OSError."""
        await self._repository.check(commit)
        signed = await self._signed(commit, judge)
        if signed.problem:
            return signed.problem
        plan = planned(await self._repository.entries(commit, self._path), self._path)
        if plan.problem:
            return plan.problem
        contents = await self._repository.contents(plan.blobs.values())
        if out := leading_out({link.path: contents[link.blob] for link in plan.links}):
            return out
        if out := left_out(plan, contents):
            return out
        folder = self._trees / commit / self._name
        await asyncio.to_thread(write, plan, contents, folder)
        return signed, plan, folder

    async def _signed(self, commit: str, judge: Judge) -> Signed:
        """Raises GitError."""
        signed = Signed()
        if self._signers is not None:
            signed = await self._signers.verified(self._repository.folder, commit)
        return signed if signed.problem else Signed(signed.by, self._wrong_signer(signed, judge.signers))

    def _wrong_signer(self, signed: Signed, allowed: tuple[str, ...] | None) -> str:
        if allowed is None:
            return ""
        if self._signers is None:
            return "Platform has signedCommits, and this server no --allowed-signers to know them by"
        known = {signed.by, signed.by.rpartition("<")[2].removesuffix(">")}  # OpenPGP's are `Ada <ada@example.com>`
        return "" if known & set(allowed) else f"{signed.by} has signed it, whom Platform's allowedSigners do not name"

    async def _compiled(
        self, commit: str, folder: Path, plan: Plan, since: float
    ) -> tuple[PoliciesRead, Compiled | None]:
        before = self._good
        began, stages = time.monotonic(), Stages(time.time)
        made = await asyncio.to_thread(compiled, folder, before.compiled if before else None, self._environment, stages)
        made = None if made is None else _as_in_repository(made, folder, self._path)
        read = policies_read(
            folder,
            made,
            saved_at=since,
            seconds=time.monotonic() - began,
            stages=stages,
            commit=commit[:SHOWN],
            changed=_changed(before.blobs if before else {}, plan.blobs),
            colour=self._colour,
            environment=self._environment,
            shown=Path(self._path) if self._path != "." else Path("policies"),
        )
        return read, made

    def _tidy(self) -> None:
        """All folders but that of what is good."""
        kept = "" if self._good is None else self._good.commit
        with suppress(OSError):
            for folder in self._trees.iterdir():
                if folder.name != kept:
                    shutil.rmtree(folder, ignore_errors=True)

    @property
    def _name(self) -> str:
        """Of the policy folder, which is what places in it begin with."""
        return "policies" if self._path == "." else Path(self._path).name


def _as_in_repository(made: Compiled, folder: Path, path: str) -> Compiled:
    """Where the policies are in the repository is known to those who push, and where they were written to is not."""
    found = (replace(d, message=d.message.replace(str(folder), path)) for d in made.diagnostics)
    return replace(made, diagnostics=tuple(found))


def _changed(before: Mapping[str, str], now: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(sorted({path for path, _ in before.items() ^ now.items()}))
