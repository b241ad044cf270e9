"""What the README says of commands and their answers is what they do."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.features.test_serve import turnout_serve, until_it_says
from tests.test_diff_command import git

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)


def commands() -> list[str]:
    """Every `turnout` command of the README, without comments and redirections, but for `serve`, which does not end,
    and `status`, which asks it."""
    lines = (
        line.split("#")[0].split(">")[0].strip()
        for kind, block in BLOCKS
        if kind == "sh"
        for line in block.splitlines()
    )
    return [line for line in lines if line.startswith("turnout ") and line not in ("turnout serve", "turnout status")]


def run(arguments: list[str], where: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "xds.cli", *arguments]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    return subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for folder in ("policies", "rendered"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    git(tmp_path, "init", "--quiet", "--initial-branch", "main")
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--quiet", "--message", "policies")
    return tmp_path


@pytest.mark.parametrize("command", commands())
def test_a_command_of_the_readme_runs(command: str, repository: Path) -> None:
    done = run(shlex.split(command)[1:], repository)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_server_of_the_readme_is_served_and_its_status_is_told(repository: Path) -> None:
    command = [sys.executable, "-m", "xds.cli", "serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    with subprocess.Popen(command, cwd=repository, env=environment, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            said = "".join(_until_loaded(server.stderr))
            admin = re.search(r"admin=(\S+)", said)
            assert admin, said
            done = run(["status", "--admin", admin[1]], repository)
        finally:
            server.kill()
    assert done.returncode == 0, done.stdout + done.stderr


def _until_loaded(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        yield line
        if "policy loaded" in line:
            return


def test_the_mistake_in_the_readme_is_answered_as_it_says(repository: Path) -> None:
    file = repository / "policies" / "models.yaml"
    file.write_text(file.read_text().replace('{name: "1.1", weight: 10,', '{name: "1.1", weight: 20,'))
    shown = next(block for kind, block in BLOCKS if "P202" in block)
    assert shown in run(["check"], repository).stdout


def test_the_live_weights_of_the_readme_are_accepted(repository: Path) -> None:
    (command,) = re.findall(r"`(turnout weights [^`]+)`", README)
    token = repository / "token"
    token.write_text("for-tests-only")
    token.chmod(0o600)
    with turnout_serve(repository / "policies", "--admin-token-file", str(token)) as process:
        admin = until_it_says(process, r"admin=(http://127\.0\.0\.1:\d+)")[1]
        until_it_says(process, "policy loaded")
        done = run([*shlex.split(command)[1:], "--admin", admin, "--token-file", str(token)], repository)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "live 1.0=100 1.1=0" in done.stdout


def test_the_files_that_the_readme_names_exist() -> None:
    named = set(re.findall(r"`((?:compiler|xds|docs|bench|policies|demo)/[\w./-]*)`", README))
    assert len(named) > 20
    assert not [name for name in named if not (ROOT / name).exists()]


def test_make_help_names_every_command_of_the_readme() -> None:
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    targets = set(re.findall(r"^make (\w+)", "\n".join(block for kind, block in BLOCKS if kind == "sh"), re.MULTILINE))
    assert targets <= set(re.findall(r"^make (\w+)", listed, re.MULTILINE))
