"""What `turnout serve --git` may be told, and what it makes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from xds.cli import _parser
from xds.git.memory import Memory, load, save
from xds.git.remote import Remote
from xds.git.settings import git_options, wrong_use

STATE = ("--state", "state")
URL = "https://ada:s3cret@git.example.com/policy.git"


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        ((), None),
        (("policies", "--git-path", "x"), "--git-path is of --git"),
        (("--allowed-signers", "x"), "--allowed-signers is of --git"),
        (("--git", URL), "--git needs --state: the clone is kept there, and what was served"),
        (("--git", URL, *STATE, "policies"), "either POLICIES or --git"),
        (("--git=--upload-pack=x", *STATE), "--git '--upload-pack=x' is no URL of a repository"),
        (("--git", "#main", *STATE), "--git '' is no URL of a repository"),
        (("--git", f"{URL}#", *STATE), "--git: '' is no branch"),
        (("--git", f"{URL}#a:b", *STATE), "--git: 'a:b' is no branch"),
        (("--git", f"{URL}#a..b", *STATE), "--git: 'a..b' is no branch"),
        (("--git", f"{URL}#-x", *STATE), "--git: '-x' is no branch"),
        (("--git", f"{URL}#release/1.0", *STATE), None),
        (("--git", URL, *STATE, "--git-path", "../x"), "--git-path '../x' is no folder in a repository"),
        (("--git", URL, *STATE, "--git-path", "/x"), "--git-path '/x' is no folder in a repository"),
        (("--git", URL, *STATE, "--git-path", ""), "--git-path '' is no folder in a repository"),
        (("--git", URL, *STATE, "--git-path", "a/b/"), None),
        (("--git", URL, *STATE, "--git-poll", "0s"), "--git-poll: between 1s and 1h"),
        (("--git", URL, *STATE, "--git-poll", "5m"), None),
    ],
)
def test_what_does_not_go_together_is_wrong_use(words: tuple[str, ...], wrong: str | None) -> None:
    assert wrong_use(_parser().parse_args(["serve", *words])) == wrong


def test_a_url_is_told_without_its_password() -> None:
    found = git_options(_parser().parse_args(["serve", "--git", f"{URL}#main", *STATE, "--git-path", "a/./b/"]))
    assert found is not None
    assert (found.remote, found.path, found.poll) == (Remote(URL, "main"), "a/b", 30.0)
    assert str(found.remote) == "https://***@git.example.com/policy.git#main"
    assert "s3cret" not in repr(found.remote)
    assert str(Remote("https://git.example.com/a.git?token=s3cret", "main")) == "https://git.example.com/a.git?***#main"


def test_a_path_is_from_where_the_server_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policy.git").mkdir()
    found = git_options(_parser().parse_args(["serve", "--git", "policy.git#main", *STATE]))
    assert found is not None
    assert found.remote == Remote(str(tmp_path / "policy.git"), "main")


def test_what_was_followed_is_that_of_the_same_remote(tmp_path: Path) -> None:
    file, kept = tmp_path / "git" / "followed.json", Memory("a" * 40, "b" * 40, "c" * 40, ("ada@example.com",))
    assert load(file, "here") == Memory()
    save(file, "here", kept)
    assert load(file, "here") == kept
    assert load(file, "there") == Memory()
    for broken in ("", "[]", "{", '{"version": 1, "remote": "here"}', file.read_text().replace("1", "2", 1)):
        file.write_text(broken)
        assert load(file, "here") == Memory()
