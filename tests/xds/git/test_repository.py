"""The clone of a repository that is followed: what damages it, what would fill the disk, what has gathered in it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.features.served import asynchronous, model
from tests.git_repository import Origin, run
from xds.git import repository
from xds.git.program import GitError
from xds.git.remote import HEAD, Remote
from xds.git.repository import Repository

CHAT = {"policies/chat.yaml": model("chat")}


@pytest.fixture
def origin(tmp_path: Path) -> Origin:
    return Origin(tmp_path / "origin")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    return tmp_path / "state" / "clone.git"


async def started(origin: Origin, clone: Path) -> Repository:
    found = Repository(clone, Remote(origin.url, origin.branch))
    await found.prepare()
    return found


def emptied_reference(clone: Path) -> None:
    (clone / HEAD).write_bytes(b"")


def emptied_commit(clone: Path) -> None:
    """As git before this version left them: each object in a file of its own."""
    head = (clone / HEAD).read_text().strip()
    for pack in (*clone.glob("objects/pack/*.pack"), *clone.glob("objects/pack/*.idx")):
        pack.unlink()
    loose = clone / "objects" / head[:2] / head[2:]
    loose.parent.mkdir(exist_ok=True)
    loose.write_bytes(b"")


def cut_pack(clone: Path) -> None:
    for pack in clone.glob("objects/pack/*.pack"):
        pack.chmod(0o600)
        pack.write_bytes(pack.read_bytes()[:40])


def lost_index(clone: Path) -> None:
    for index in clone.glob("objects/pack/*.idx"):
        index.unlink()


def lost_folder(clone: Path) -> None:
    shutil.rmtree(clone)


@pytest.mark.parametrize("restarted", [True, False])
@pytest.mark.parametrize("damage", [emptied_reference, emptied_commit, cut_pack, lost_index, lost_folder])
@asynchronous
async def test_a_clone_that_a_power_cut_has_damaged_is_made_anew(
    origin: Origin, clone: Path, damage: Callable[[Path], None], restarted: bool
) -> None:
    first = origin.pushed(CHAT)
    found = await started(origin, clone)
    assert await found.fetch() == first
    damage(clone)
    second = origin.pushed({"policies/embed.yaml": model("embed")})
    if restarted:
        found = await started(origin, clone)
    with suppress(GitError):  # some damage git gets over by itself
        await found.fetch()
    assert await found.fetch() == second
    assert {entry.path for entry in await found.entries(second, "policies")} == {"chat.yaml", "embed.yaml"}
    assert await found.descends(second, first)
    assert [folder.name for folder in clone.parent.iterdir()] == [clone.name]


@asynchronous
async def test_what_cannot_be_read_of_a_damaged_clone_is_not_taken_for_a_folder_that_is_missing(
    origin: Origin, clone: Path
) -> None:
    """Nothing new has to be fetched, so nothing else would find it."""
    head = origin.pushed(CHAT)
    found = await started(origin, clone)
    await found.fetch()
    emptied_commit(clone)
    with pytest.raises(GitError, match=r"corrupt|empty"):
        await found.check(head)
    assert await found.fetch() == head
    assert [entry.path for entry in await found.entries(head, "policies")] == ["chat.yaml"]


@asynchronous
async def test_what_the_clone_has_never_had_is_in_no_history_and_no_damage(origin: Origin, clone: Path) -> None:
    head = origin.pushed(CHAT)
    found = await started(origin, clone)
    await found.fetch()
    assert not await found.descends(head, "0" * 39 + "1")
    assert not found._doubted


@asynchronous
async def test_a_damaged_clone_stays_until_there_is_another(origin: Origin, clone: Path) -> None:
    first = origin.pushed(CHAT)
    found = await started(origin, clone)
    await found.fetch()
    lost_index(clone)
    away = origin.bare.rename(origin.bare.with_name("away"))
    for _ in range(3):
        with pytest.raises(GitError, match="does not appear to be a git repository"):
            await found.fetch()
    assert list(clone.glob("objects/pack/*.pack"))
    away.rename(origin.bare)
    assert await found.fetch() == first
    assert await found.commit(first[:7]) == first


@asynchronous
async def test_a_clone_is_looked_through_once_in_a_while_and_not_after_every_failure(
    origin: Origin, clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin.pushed(CHAT)
    found = await started(origin, clone)
    await found.fetch()
    looks = []

    async def look(_: Repository) -> bool:
        looks.append(1)
        return True

    monkeypatch.setattr(Repository, "_is_whole", look)
    shutil.rmtree(origin.bare)
    for _ in range(4):
        with pytest.raises(GitError):
            await found.fetch()
    assert len(looks) == 1


@asynchronous
async def test_a_push_that_is_huge_is_not_fetched_and_leaves_nothing_behind(
    origin: Origin, clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repository, "MOST_FETCHED", 1 << 20)
    first = origin.pushed({**CHAT, "history.txt": "".join(chr(33 + n * n % 89) for n in range(3 << 20))})
    found = await started(origin, clone)
    assert await found.fetch() == first
    before = size(clone)
    run("sh", "-c", "head -c 3000000 /dev/urandom > large", at=origin.tree)
    origin.pushed()
    for _ in range(2):
        with pytest.raises(GitError, match=r"^what is new has more than 1 MiB, which is the limit$"):
            await found.fetch()
    monkeypatch.setattr(repository, "MOST_FETCHED", 1 << 30)
    with pytest.raises(GitError, match=r"^what is new has more than"):  # nothing is fetched while the branch stays
        await found.fetch()
    origin.git("rm", "--quiet", "large")
    origin.git("reset", "--quiet", "--soft", first)
    last = origin.commit({"policies/embed.yaml": model("embed")})
    origin.push("--force")
    assert await found.fetch() == last
    assert size(clone) < before + (64 << 10)


@asynchronous
async def test_packs_are_put_together_and_nothing_is_lost(
    origin: Origin, clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repository, "MOST_PACKS", 3)
    found = await started(origin, clone)
    commits = []
    for number in range(12):
        commits.append(origin.pushed({f"policies/m{number}.yaml": model(f"m{number}")}))
        await found.fetch()
        assert len(list(clone.glob("objects/pack/*.pack"))) <= 3
    origin.git("reset", "--quiet", "--hard", commits[0])
    origin.commit({"policies/other.yaml": model("other")})
    origin.push("--force")
    await found.fetch()
    for commit in commits:  # those that the branch no longer has, too: somebody may roll back to one
        assert await found.commit(commit) == commit
    assert run("git", "fsck", "--no-dangling", at=clone) == ""


def size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
