"""Policies as git-sync keeps them beside the server: a link that is switched from one commit's folder to the next."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import compiler.source
from tests.features.served import asynchronous, model, served


class Checkouts:
    """`current` leads to the folder of a commit, named by its hash, as git-sync's contract says.

    https://github.com/kubernetes/git-sync#what-it-produces-and-why---the-contract
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        (root / ".worktrees").mkdir(parents=True)

    @property
    def policies(self) -> Path:
        return self._root / "current" / "policies"

    def publish(self, commit: str, *models: str) -> None:
        tree = self._root / ".worktrees" / commit / "policies"
        tree.mkdir(parents=True)
        for name in models:
            (tree / f"{name}.yaml").write_text(model(name))
        fresh = self._root / "fresh"
        fresh.symlink_to(f".worktrees/{commit}")
        fresh.replace(self._root / "current")

    def remove(self, commit: str) -> None:
        shutil.rmtree(self._root / ".worktrees" / commit)


@asynchronous
async def test_the_next_commit_is_served_and_the_folder_of_the_last_one_may_go(tmp_path: Path) -> None:
    git = Checkouts(tmp_path)
    git.publish("1" * 40, "chat", "embed")
    async with served(git.policies) as server:
        first = await server.until(lambda s: s["policy"]["state"] == "ok")
        assert [each["name"] for each in first["models"]] == ["chat", "embed"]
        for before, after, names in (("1", "2", ["chat", "new"]), ("2", "3", ["new"])):
            git.publish(after * 40, *names)
            git.remove(before * 40)
            await server.until(lambda s, names=names: [each["name"] for each in s["models"]] == names)
        found = await server.status()
        assert (found["policy"]["state"], found["policy"]["diagnostics"]) == ("ok", first["policy"]["diagnostics"])
        assert await server.metric('turnout_policy_reloads_total{result="failed"}') == 0


@asynchronous
async def test_a_server_that_is_there_before_the_first_commit_serves_it_when_it_comes(tmp_path: Path) -> None:
    git = Checkouts(tmp_path)
    async with served(git.policies) as server:
        await server.until(lambda s: s["policy"]["state"] == "broken")
        assert (await server.get("/readyz"))[0] == 503
        git.publish("1" * 40, "chat")
        await server.until(lambda s: s["policy"]["state"] == "ok")
        assert (await server.get("/readyz"))[0] == 200


def test_a_switch_within_a_look_gives_one_commit_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git = Checkouts(tmp_path)
    git.publish("1" * 40, "chat", "embed")
    read, switched = compiler.source._read, False

    def switching(*arguments: Any) -> bytes | None:
        nonlocal switched
        if not switched:
            switched = True
            git.publish("2" * 40, "chat", "new")
        return read(*arguments)

    monkeypatch.setattr(compiler.source, "_read", switching)
    sources = compiler.source.load_sources(git.policies)
    assert (sources.diagnostics, [file.name for file in sources.files]) == (
        (),
        ["policies/chat.yaml", "policies/embed.yaml"],
    )
    assert [file.name for file in compiler.source.load_sources(git.policies, sources).files] == [
        "policies/chat.yaml",
        "policies/new.yaml",
    ]
