"""The workflow that comments on a pull request, command by command, in a clone like the one it gets.

Only `gh` and pip are others than on GitHub: one writes down what it is asked, the other looks whether it could.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.test_diff_command import git, put

ROOT = Path(__file__).parent.parent
GOLDEN = ROOT / "tests" / "golden" / "diff"
COMMENT = GOLDEN / "comment.md"
WORKFLOW = ROOT / ".github" / "workflows" / "policy.yaml"
HOOKS = ROOT / ".pre-commit-hooks.yaml"
OURS = '.[] | select(.user.login == "github-actions[bot]" and (.body | startswith("<!-- turnout diff -->"))) | .id'

GH = f"""#!{sys.executable}
import json, os, pathlib, sys
words = sys.argv[1:]
comments = pathlib.Path(os.environ["COMMENTS"])
with open(os.environ["ASKED"], "a") as asked:
    asked.write(json.dumps(words) + "\\n")
there = json.loads(comments.read_text())
assert os.environ["GH_TOKEN"] == "a token" and words[0] == "api"
if "--jq" in words:
    assert words[words.index("--jq") + 1] == {OURS!r}
    for comment in there:
        if comment["user"] == "github-actions[bot]" and comment["body"].startswith("<!-- turnout diff -->"):
            print(comment["id"])
else:
    body = pathlib.Path(words[words.index("--field") + 1].removeprefix("body=@")).read_text()
    if "PATCH" in words:
        next(c for c in there if str(c["id"]) == words[4].rsplit("/", 1)[1])["body"] = body
    else:
        there.append({{"id": 100 + len(there), "user": "github-actions[bot]", "body": body}})
    comments.write_text(json.dumps(there))
"""
PYTHON = f"""#!{sys.executable}
import pathlib, sys
assert sys.argv[1:4] == ["-m", "pip", "install"], sys.argv
files = [sys.argv[n + 1] for n, word in enumerate(sys.argv) if word == "--requirement"]
assert all(pathlib.Path(file).read_text() for file in files)
assert files or pathlib.Path(sys.argv[-1], "pyproject.toml").read_text()
"""


def workflow() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(WORKFLOW.read_text())
    return document


def steps() -> dict[str, dict[str, Any]]:
    """Those with commands, by name."""
    return {step["name"]: step for step in workflow()["jobs"]["policy"]["steps"] if "run" in step}


CHECK, RENDERED, DIFF, POST = list(steps())[1:]


@dataclass(frozen=True, slots=True)
class Runner:
    """A machine of GitHub's with the merge of a pull request checked out."""

    folder: Path

    def run(self, name: str) -> subprocess.CompletedProcess[str]:
        """One step, as its shell runs it: `bash --noprofile --norc -eo pipefail {0}`."""
        step = steps()[name]
        script = self.folder / "script.sh"
        script.write_text(step["run"])
        known = {"github.token": "a token", "github.event.pull_request.number": "7"}
        given = {k: re.sub(r"\$\{\{ (.*?) \}\}", lambda of: known[of[1]], v) for k, v in step.get("env", {}).items()}
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)]
        return subprocess.run(
            command,
            cwd=self.folder / "clone",
            env=self.environment | given,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "PYTHONPATH": str(ROOT),
            "RUNNER_TEMP": str(self.folder),
            "GITHUB_STEP_SUMMARY": str(self.folder / "summary.md"),
            "GITHUB_REPOSITORY": "platform/policies",
            "GITHUB_BASE_REF": "main",
            "COMMENTS": str(self.folder / "comments.json"),
            "ASKED": str(self.folder / "asked.jsonl"),
        }

    @property
    def comments(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads((self.folder / "comments.json").read_text())
        return found

    @property
    def asked(self) -> list[list[str]]:
        return [json.loads(line) for line in (self.folder / "asked.jsonl").read_text().splitlines()]


def program(file: Path, text: str) -> None:
    file.write_text(text)
    file.chmod(0o755)


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    """For a pull request that removes a model, and after which `main` has moved on."""
    (tmp_path / "bin").mkdir()
    program(tmp_path / "bin" / "gh", GH)
    program(tmp_path / "bin" / "python", PYTHON)
    program(tmp_path / "bin" / "turnout", f'#!/bin/sh\nexec {sys.executable} -m xds.cli "$@"\n')
    others = {"id": 3, "user": "somebody", "body": "<!-- turnout diff --> I was here first"}
    (tmp_path / "comments.json").write_text(json.dumps([others]))
    origin = tmp_path / "origin"
    origin.mkdir()
    git(origin, "init", "--quiet", "--initial-branch", "main")
    put(GOLDEN / "before", origin / "policies")
    for name in ("requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, origin / name)
    compile_and_commit(origin, "what is there")
    git(origin, "checkout", "--quiet", "-b", "remove-codellama")
    put(GOLDEN / "model-removed" / "after", origin / "policies")
    compile_and_commit(origin, "remove codellama-7b")
    git(origin, "checkout", "--quiet", "--detach", "main")
    git(origin, "merge", "--quiet", "--no-ff", "--message", "merge", "remove-codellama")
    git(origin, "update-ref", "refs/pull/7/merge", "HEAD")
    git(origin, "checkout", "--quiet", "main")
    put(GOLDEN / "zone-lost" / "after", origin / "policies")
    compile_and_commit(origin, "another change, since")
    clone(origin, tmp_path / "clone")
    return Runner(tmp_path)


def compile_and_commit(folder: Path, message: str) -> None:
    command = [sys.executable, "-m", "xds.cli", "compile"]
    subprocess.run(command, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True, capture_output=True)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", message)


def clone(origin: Path, folder: Path) -> None:
    """As actions/checkout makes it of a pull request."""
    (checkout,) = (
        s for s in workflow()["jobs"]["policy"]["steps"] if s.get("uses", "").startswith("actions/checkout@")
    )
    depth = checkout["with"]["fetch-depth"]
    folder.mkdir()
    git(folder, "init", "--quiet")
    merge = "refs/remotes/pull/7/merge"
    git(folder, "fetch", "--quiet", "--no-tags", f"--depth={depth}", f"file://{origin}", f"+refs/pull/7/merge:{merge}")
    git(folder, "checkout", "--quiet", "--force", merge)


def test_a_pull_request_gets_one_comment_that_says_what_it_does(runner: Runner) -> None:
    """`UPDATE_GOLDEN=1` writes the comment that is made now; look at it rendered."""
    for name in steps():
        run = runner.run(name)
        assert run.returncode == 0, run.stdout + run.stderr
    others, ours = runner.comments
    assert others["body"] == "<!-- turnout diff --> I was here first"
    if os.environ.get("UPDATE_GOLDEN"):
        COMMENT.write_text(ours["body"], encoding="utf-8")
    assert ours["body"] == COMMENT.read_text(encoding="utf-8")
    assert (runner.folder / "summary.md").read_text() == ours["body"]


def test_the_next_push_changes_the_comment_that_is_there(runner: Runner) -> None:
    for name in (DIFF, POST, DIFF, POST):
        assert runner.run(name).returncode == 0
    assert [comment["id"] for comment in runner.comments] == [3, 101]
    methods = [words[words.index("--method") + 1] for words in runner.asked if "--method" in words]
    assert methods == ["POST", "PATCH"]


def test_what_went_into_the_base_branch_since_is_not_told(runner: Runner) -> None:
    runner.run(DIFF)
    assert "gpu-b" not in (runner.folder / "turnout.md").read_text()


def test_broken_policies_are_annotated_and_the_comment_says_that_they_are(runner: Runner) -> None:
    models = runner.folder / "clone" / "policies" / "models.yaml"
    models.write_text(models.read_text().replace("weight: 100", "weight: 80"))
    checked = runner.run(CHECK)
    assert checked.returncode == 1
    assert "::error file=policies/models.yaml,line=18,col=29,title=P202::" in checked.stdout
    assert runner.run(RENDERED).returncode == 1
    assert runner.run(DIFF).returncode == 0
    assert runner.run(POST).returncode == 0
    assert "Not known: policies have errors" in runner.comments[-1]["body"]
    assert "policies/models.yaml:18:29: P202" in runner.comments[-1]["body"]


def test_recorded_requests_in_the_repository_weigh_the_change(runner: Runner) -> None:
    shutil.copy(GOLDEN / "requests.jsonl", runner.folder / "clone" / "traffic.jsonl")
    for name in (DIFF, POST):
        assert runner.run(name).returncode == 0
    assert "of 1,000 recorded requests move from codellama-7b to llama-7b" in runner.comments[-1]["body"]


def test_a_profile_that_is_none_is_no_empty_comment(runner: Runner) -> None:
    (runner.folder / "clone" / "traffic.jsonl").write_text("not a request\n")
    run = runner.run(DIFF)
    assert run.returncode != 0
    assert "traffic.jsonl:1: not JSON" in run.stderr


def test_a_fault_of_the_command_is_no_comment(runner: Runner) -> None:
    program(runner.folder / "bin" / "turnout", "#!/bin/sh\nexit 70\n")
    assert runner.run(DIFF).returncode != 0


def test_a_forgotten_compile_is_a_diff_and_fails(runner: Runner) -> None:
    file = runner.folder / "clone" / "rendered" / "models" / "llama-7b.yaml"
    file.write_text(file.read_text().replace("replicas: 2", "replicas: 3"))
    run = runner.run(RENDERED)
    assert run.returncode == 1
    assert "+  replicas: 2" in run.stdout


def test_nothing_that_a_stranger_writes_is_run_or_can_write() -> None:
    document = workflow()
    # `on` is a boolean for YAML 1.1, which PyYAML reads.
    assert list(document[True]) == ["pull_request"]  # type: ignore[index]
    assert document["permissions"] == {"contents": "read"}
    job = document["jobs"]["policy"]
    assert job["permissions"] == {"contents": "read", "pull-requests": "write"}
    assert document["defaults"]["run"]["shell"] == "bash"
    for step in job["steps"]:
        assert "${{" not in step.get("run", "")
        assert re.search(r"@[0-9a-f]{40}\Z", step.get("uses", "a@" + "0" * 40))
        assert ("GH_TOKEN" in step.get("env", {})) == (step.get("name") == POST)
    assert "github.event.pull_request.head.repo.full_name == github.repository" in steps()[POST]["if"]
    assert all("!cancelled()" in steps()[name]["if"] for name in (DIFF, POST))


def hooks() -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = yaml.safe_load(HOOKS.read_text())
    return listed


@pytest.mark.parametrize("hook", hooks(), ids=lambda hook: hook["id"])
def test_a_hook_passes_on_good_policies_and_fails_on_broken_ones(hook: dict[str, Any], tmp_path: Path) -> None:
    put(GOLDEN / "before", tmp_path / "policies")
    command = [sys.executable, "-m", "xds.cli", *shlex.split(hook["entry"])[1:]]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False).returncode == 0
    assert (tmp_path / "rendered").exists() == (hook["id"] == "turnout-compile")
    models = tmp_path / "policies" / "models.yaml"
    models.write_text(models.read_text().replace("weight: 100", "weight: 80"))
    assert subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False).returncode == 1


def test_hooks_run_at_every_commit_and_are_the_same_here() -> None:
    for hook in hooks():
        assert hook["language"] == "python"
        assert hook["pass_filenames"] is False
        # A commit that only deletes policies has no file to run for.
        assert hook["always_run"] is True
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [hook["id"] for hook in local["hooks"]] == [hook["id"] for hook in hooks()]
    entries = [
        (h["entry"].removeprefix(".venv/bin/"), of["entry"]) for h, of in zip(local["hooks"], hooks(), strict=True)
    ]
    assert all(here == there for here, there in entries)
    assert all(hook["always_run"] is True and "files" not in hook for hook in local["hooks"])
