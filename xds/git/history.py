"""Whether a branch goes on from the newest of it that was good, and what a rollback makes of that."""

from __future__ import annotations

from dataclasses import replace

from xds.git.memory import Memory
from xds.git.program import GitError
from xds.git.reader import Refusal
from xds.git.repository import Repository
from xds.observe.commits import SHOWN


async def rewritten(repository: Repository, memory: Memory, head: str) -> Refusal | None:
    """Raises GitError where the clone cannot say."""
    # After a rollback what is served is older than what the branch has to have.
    before = memory.judged or memory.served
    if not before or await repository.descends(head, before):
        return None
    stands, short = "is" if before == memory.served else "was", head[:SHOWN]
    return Refusal(
        f"{before[:SHOWN]}, which {stands} served, is not in its history: the branch has been rewritten",
        f"push what it was before; where it is meant: turnout rollback {short}, turnout rollback --release",
    )


async def pinned(
    repository: Repository, memory: Memory, head: str, commit: str, signers: tuple[str, ...] | None
) -> Memory:
    """What comes after a release is judged as before, by the newest of the branch: not by what it was once, nor by what
    is not of it. `head` is empty where nobody knows it, `signers` are those that `commit` names."""
    found, earlier = replace(memory, served=commit, pinned=commit), await _has(repository, memory.judged, commit)
    if earlier and commit == head:
        return replace(found, judged=commit)  # the branch was set back to it, and that is meant
    if earlier or not await _has(repository, head, commit):
        return found
    return replace(found, judged=commit, signers=signers)


async def _has(repository: Repository, commit: str, base: str) -> bool:
    """In its history; nor does what cannot be read have it."""
    try:
        return bool(commit) and await repository.descends(commit, base)
    except GitError:
        return False
