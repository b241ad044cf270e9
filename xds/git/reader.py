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
from xds.git.repository import NoPoliciesError, Repository
from xds.git.signatures import Signed, Signers
from xds.observe.commits import SHOWN
from xds.observe.compiling import compiled, policies_read, policies_refused, repository_lost
from xds.observe.events import PoliciesRead
from xds.stages import Stages

log = logging.getLogger(__name__)

MENDED = "a commit after it that can be served"
"""What to do about what is a commit's own fault."""


@dataclass(frozen=True, slots=True)
class Refusal:
    why: str
    hint: str = ""
    """Where another commit is no help."""


NO_SIGNERS = Refusal(
    "Platform has signedCommits, and this server no --allowed-signers to know them by",
    "start the server with --allowed-signers, or push a commit without signedCommits",
)


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
    refusal: Refusal | None = None
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
        found = await self._found(commit, judge)
        if isinstance(found, Refusal):
            return self._refused(commit, found, since)
        signed, plan, folder = found
        read, made = await self._compiled(commit, folder, plan, since)
        allowed = None if read.fleet is None else read.fleet.platform.allowed_signers
        wrong = self._wrong_signer(signed, allowed) if judge.itself or self._signers is None else None
        if wrong is not None:
            return self._refused(commit, wrong, since)
        if made is not None and read.fleet is not None:
            self._good = Good(commit, made, plan.blobs)
        await asyncio.to_thread(self._tidy)
        return Outcome(read, signed.by, allowed)

    def _refused(self, commit: str, refusal: Refusal, since: float) -> Outcome:
        return Outcome(self.refused(commit, refusal, since), refusal=refusal)

    def refused(self, commit: str, refusal: Refusal, since: float) -> PoliciesRead:
        stays = "" if self._good is None else self._good.commit[:SHOWN]
        hint = refusal.hint or MENDED
        return policies_refused(self._path, commit[:SHOWN], refusal.why, hint, stays, since, self._colour)

    def lost(self, remote: str, problem: str, since: float) -> PoliciesRead:
        """Nothing of the repository has been read yet."""
        return repository_lost(self._path, remote, problem, since, self._colour)

    async def _found(self, commit: str, judge: Judge) -> tuple[Signed, Plan, Path] | Refusal:
        """Or why it must not be served."""
        try:
            return await self._checked(commit, judge)
        except NoPoliciesError as problem:
            return Refusal(str(problem))
        except GitError as problem:
            return Refusal(str(problem), problem.hint)
        except OSError as problem:
            why = f"it cannot be written to the disk: {problem.strerror or problem}"
            return Refusal(why, "make room in the server's --state, or give it the right to write there")
        except Exception:
            log.exception("commit cannot be read commit=%s", commit)
            return Refusal("a fault of turnout; the log says where")

    async def _checked(self, commit: str, judge: Judge) -> tuple[Signed, Plan, Path] | Refusal:
        """Raises GitError, OSError."""
        await self._repository.check(commit)
        signed = Signed()
        if self._signers is not None:
            signed = await self._signers.verified(self._repository.folder, commit)
        if signed.problem:
            return Refusal(signed.problem)
        if (wrong := self._wrong_signer(signed, judge.signers)) is not None:
            return wrong
        plan = planned(await self._repository.entries(commit, self._path), self._path)
        if plan.problem:
            return Refusal(plan.problem)
        contents = await self._repository.contents(plan.blobs.values())
        if out := leading_out({link.path: contents[link.blob] for link in plan.links}):
            return Refusal(out)
        if out := left_out(plan, contents):
            return Refusal(out)
        folder = self._trees / commit / self._name
        await asyncio.to_thread(write, plan, contents, folder)
        return signed, plan, folder

    def _wrong_signer(self, signed: Signed, allowed: tuple[str, ...] | None) -> Refusal | None:
        if allowed is None:
            return None
        if self._signers is None:
            return NO_SIGNERS
        known = {signed.by, signed.by.rpartition("<")[2].removesuffix(">")}  # OpenPGP's are `Ada <ada@example.com>`
        named = known & set(allowed)
        return None if named else Refusal(f"{signed.by} has signed it, whom Platform's allowedSigners do not name")

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
