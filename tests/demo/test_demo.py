"""The whole story, as `make demo` tells it, and an end to it at any time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from demo.processes import ROOT, poll

DEMO = (sys.executable, "-m", "demo")


def children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in listed.read_text().split()] if listed.exists() else []


def alive(pid: int) -> bool:
    """A zombie is not."""
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_demo_that_is_ended_leaves_nothing_behind(number: signal.Signals, status: int, tmp_path: Path) -> None:
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    demo = subprocess.Popen(
        DEMO, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        assert poll(lambda: len(children(demo.pid)) >= 4 or demo.poll() is not None, 60)
        started = children(demo.pid)
        demo.send_signal(number)
        said, _ = demo.communicate(timeout=30)
    finally:
        demo.kill()
    assert demo.returncode == status, said
    assert "Traceback" not in said
    assert poll(lambda: not any(map(alive, started)), 5)
    assert not list(tmp_path.iterdir())


def test_the_demo_keeps_all_its_promises() -> None:
    run = subprocess.run(DEMO, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "All of it happened" in run.stdout
