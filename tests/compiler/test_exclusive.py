"""Runs of the compiler that write to one folder, at the same time."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from compiler import exclusive
from compiler.render import STAGING, rendered_files, write
from tests.compiler.test_render import made, tree

ROOT = Path(__file__).parents[2]
LAST = 9


def variant(name: str, number: int) -> dict[str, bytes]:
    """In each turn another text, and one file more and one less."""
    return rendered_files([made(f"{name}-{number}-{at}", file=f"models/{at + number % 2}.yaml") for at in range(30)])


def write_often(folder: str, name: str, *environments: str) -> None:
    for number in range(LAST + 1):
        files = variant(name, number)
        many = {f"{environment}/{file}": data for environment in environments for file, data in files.items()}
        write(many or files, Path(folder))


def test_runs_that_meet_leave_what_one_of_them_renders(tmp_path: Path) -> None:
    """Two write all environments, two one of them each, from nothing on."""
    script = "import sys\nfrom tests.compiler.test_exclusive import write_often\nwrite_often(*sys.argv[1:])\n"
    folder = tmp_path / "rendered"
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", script, *arguments],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for arguments in (
            (str(folder), "first", "prod", "staging"),
            (str(folder), "second", "prod", "staging"),
            (str(folder / "prod"), "third"),
            (str(folder / "staging"), "fourth"),
        )
    ]
    said = [run.communicate()[1] for run in runs]
    assert (said, [run.returncode for run in runs]) == ([""] * 4, [0] * 4)
    assert {path.name for path in folder.iterdir()} == {"prod", "staging"}
    assert tree(folder / "prod") in [variant(name, LAST) for name in ("first", "second", "third")]
    assert tree(folder / "staging") in [variant(name, LAST) for name in ("first", "second", "fourth")]


def test_a_run_waits_for_the_one_that_is_at_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, files = tmp_path / "rendered", rendered_files([made("a")])
    write(rendered_files([made("b")]), folder)
    before = tree(folder)
    waited: list[dict[str, bytes]] = []
    with ExitStack() as other:
        other.enter_context(exclusive.alone(folder))

        def ends(_: float) -> None:
            waited.append(tree(folder))
            other.close()

        monkeypatch.setattr(time, "sleep", ends)
        write(files, folder)
    assert waited == [before]
    assert tree(folder) == files


def test_a_run_that_stands_still_is_told_and_nothing_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "rendered"
    write(rendered_files([made("b")]), folder)
    before = tree(folder)
    monkeypatch.setattr(exclusive, "PATIENCE", 0.0)
    with exclusive.alone(folder), pytest.raises(BlockingIOError, match="another compile is at work"):
        write(rendered_files([made("a")]), folder)
    assert tree(folder) == before


def test_a_file_system_without_locks_is_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.EBADF, "Bad file descriptor")

    monkeypatch.setattr(fcntl, "flock", refused)
    files = rendered_files([made("a")])
    write(files, tmp_path)
    assert tree(tmp_path) == files


def test_a_failure_removes_no_file_that_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even where another run, on a file system without locks, has taken the staging folder away."""
    write(rendered_files([made("a")]), tmp_path)
    before = tree(tmp_path)
    real = Path.replace

    def taken_away(path: Path, target: Path) -> Path:
        moved = real(path, target)
        shutil.rmtree(tmp_path / STAGING)
        return moved

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", taken_away)
        with pytest.raises(FileNotFoundError):
            write(rendered_files([made("b")]), tmp_path)
    assert tree(tmp_path).keys() == before.keys()
