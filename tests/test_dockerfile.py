"""The control server's image, as far as it can be tested without building it: sources, packages, command."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from xds.cli import _parser

ROOT = Path(__file__).parents[1]
LINES = [line for line in (ROOT / "Dockerfile").read_text().replace("\\\n", "").splitlines() if line and line[0] != "#"]


def instructions(name: str) -> list[str]:
    return [line.partition(" ")[2] for line in LINES if line.startswith(f"{name} ")]


def copied() -> dict[str, str]:
    """Target by source."""
    return dict(instruction.split() for instruction in instructions("COPY"))


def test_everything_that_is_copied_is_there_and_let_in() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[0] == "*"
    for source in copied():
        assert (ROOT / source).exists(), source
        assert f"!{source}" in ignored
    assert {line.removeprefix("!") for line in ignored if line.startswith("!")} == set(copied())


def test_it_holds_the_locked_packages_and_no_others() -> None:
    (run,) = instructions("RUN")
    assert run == "pip install --require-hashes -r requirements.lock"
    # What is there already is not fetched: this says that the lock is whole, each package with its hashes.
    done = subprocess.run(
        [sys.executable, "-m", *run.split(), "--dry-run", "--no-index", "--quiet"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_its_command_serves_from_what_is_copied_alone(tmp_path: Path) -> None:
    for source, target in copied().items():
        at = ROOT / source
        ignored = shutil.ignore_patterns("__pycache__")
        if at.is_dir():
            shutil.copytree(at, tmp_path / target, ignore=ignored)
        else:
            shutil.copy2(at, tmp_path / target)
    (entry,), (command,) = (list(map(json.loads, instructions(name))) for name in ("ENTRYPOINT", "CMD"))
    assert _parser().parse_args(command).command.__name__ == "serve"
    # Only the lock's packages are beside it in the image; here, not the project that is installed for development.
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    program = [sys.executable, *entry[1:]]
    done = subprocess.run(
        [*program, command[0], "--help"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert all(option.partition("=")[0] in done.stdout for option in command if option.startswith("--"))
    where = "import compiler, xds.serve; print(compiler.__file__, xds.serve.__file__)"
    found = subprocess.run(
        [program[0], "-c", where], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert all(Path(file).is_relative_to(tmp_path) for file in found.stdout.split())


def test_it_runs_as_the_user_whom_its_pod_names() -> None:
    (user,) = instructions("USER")
    rendered = yaml.safe_load_all((ROOT / "rendered" / "platform" / "control-server.yaml").read_text())
    pods = [each["spec"]["template"]["spec"] for each in rendered if each["kind"] == "Deployment"]
    assert [f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}" for pod in pods] == [user]
