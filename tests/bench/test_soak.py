"""The soak test itself: it is quick enough here to be tried, and what it judges is judged right."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from bench.soak import Sample, growths

ROOT = Path(__file__).parents[2]
MIB = 2.0**20


def life(number: int, *memory: float, files: float = 20, tasks: float = 30) -> list[Sample]:
    """With as many files and tasks at its end."""
    last = len(memory) - 1
    return [
        Sample(60.0 * at, number, mib * MIB, files if at == last else 20, tasks if at == last else 30)
        for at, mib in enumerate(memory)
    ]


def test_memory_that_grows_while_a_server_gets_warm_is_no_leak() -> None:
    assert list(growths(life(0, 50, 90, 92, 93, 94))) == []


def test_memory_that_goes_on_growing_is_one() -> None:
    (found,) = growths([*life(0, 50, 500), *life(1, 80, 90, 100, 110, 120, 130)])
    assert found.startswith("the last server's memory grew from 100 to 130 MiB in 3.0 min")


def test_files_and_tasks_that_are_left_are_told_of_every_server() -> None:
    found = list(growths([*life(0, 90, 90, files=25), *life(1, 90, 90, tasks=40)]))
    assert found == ["server 1: open files grew from 20 to 25", "server 2: tasks grew from 30 to 40"]


def test_a_short_one_with_two_envoys_finds_nothing() -> None:
    command = [sys.executable, "-m", "bench.soak", "--minutes", "0.05", "--envoys", "2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "failed 0" in done.stdout
