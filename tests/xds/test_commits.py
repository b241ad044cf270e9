"""The commit of a policy folder, as git knows it."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest

from tests.features.served import asynchronous
from xds.observe import commits as module
from xds.observe.commits import commit, commits, stamp


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=test", "-c", "user.email=test@example.com", "-c", "init.defaultBranch=main")
    run = subprocess.run(["git", "-C", folder, *who, *arguments], check=True, capture_output=True, text=True)
    return run.stdout.strip()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of policies, in a repository that has other files, too."""
    made = tmp_path / "repository" / "policies"
    made.mkdir(parents=True)
    (made / "models.yaml").write_text("a")
    (made.parent / "README").write_text("a")
    git(made, "init", "-q", made.parent)
    git(made.parent, "add", ".")
    git(made, "commit", "-qm", "first")
    return made


def known(folder: Path) -> str:
    return asyncio.run(commit(folder))


def test_it_is_that_of_the_work_tree_and_dirty_when_the_policies_are(folder: Path) -> None:
    head = git(folder, "rev-parse", "HEAD")[:12]
    assert known(folder) == head
    (folder.parent / "README").write_text("b")
    assert known(folder) == head
    (folder / "models.yaml").write_text("b")
    assert known(folder) == f"{head}-dirty"
    git(folder, "commit", "-qam", "second")
    assert known(folder) == git(folder, "rev-parse", "HEAD")[:12] != head
    (folder / "new.yaml").write_text("b")
    assert known(folder).endswith("-dirty")


def test_in_a_work_tree_beside_the_first_one_it_is_known_too(folder: Path, tmp_path: Path) -> None:
    git(folder, "worktree", "add", "-q", str(tmp_path / "beside"), "-b", "other")
    beside = tmp_path / "beside" / "policies"
    assert known(beside) == known(folder)
    before = stamp(beside)
    (beside / "models.yaml").write_text("b")
    git(beside, "commit", "-qam", "second")
    assert stamp(beside) != before
    assert known(beside) != known(folder)


def test_where_git_knows_nothing_there_is_none(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert known(tmp_path) == ""
    assert known(tmp_path / "nowhere") == ""
    git(tmp_path, "init", "-q", "empty")
    assert known(tmp_path / "empty") == ""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert known(folder) == ""


def test_a_git_that_does_not_answer_is_not_waited_for(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "bin" / "git"
    slow.parent.mkdir()
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow.parent}:/usr/bin:/bin")
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    assert known(folder) == ""


@asynchronous
async def test_it_is_told_when_what_was_edited_is_committed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK", 0.01)
    told = commits(folder, lambda: "")
    (folder / "models.yaml").write_text("b")
    first = asyncio.ensure_future(anext(told))
    await asyncio.sleep(0)
    git(folder, "commit", "-qam", "second")
    while await first != git(folder, "rev-parse", "HEAD")[:12]:
        first = asyncio.ensure_future(anext(told))


@asynchronous
async def test_an_answer_that_came_too_late_is_asked_for_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though nothing has happened in the work tree since."""
    monkeypatch.setattr(module, "LOOK", 0.01)
    said = iter(["", "", "0c5d91ab44e0"])

    async def commit(_: Path) -> str:
        return next(said)

    monkeypatch.setattr(module, "commit", commit)
    assert await anext(commits(folder, lambda: "of-yesterday")) == "0c5d91ab44e0"
