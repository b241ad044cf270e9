"""What a run started is ended with it, and a thing waited for in vain is explained."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from demo.processes import NotReadyError, Process, Processes, free_port, poll

STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
)
WITH_A_CHILD = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"


def alive(pid: int) -> bool:
    """A zombie is not."""
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def children(process: Process) -> list[int]:
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(pid) for pid in listed.read_text().split()] if listed.exists() else []


def test_leaving_the_block_on_an_error_ends_everything(tmp_path: Path) -> None:
    started: list[Process] = []

    def fail_at_work() -> None:
        with Processes(tmp_path) as processes:
            started.append(processes.start("sleeper", [sys.executable, "-c", "import time; time.sleep(60)"]))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_at_work()
    assert not started[0].alive


def test_a_process_that_will_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("demo.processes.TERM_TIMEOUT", 0.2)
    with Processes(tmp_path) as processes:
        stubborn = processes.start("stubborn", [sys.executable, "-c", STUBBORN])
        stubborn.wait_until(lambda: "deaf" in stubborn.last_words(), 20, "getting deaf")
    assert not stubborn.alive


def test_children_of_a_process_end_with_it(tmp_path: Path) -> None:
    with Processes(tmp_path) as processes:
        parent = processes.start("parent", [sys.executable, "-c", WITH_A_CHILD])
        parent.wait_until(lambda: bool(children(parent)), 20, "having a child")
        (child,) = children(parent)
    assert poll(lambda: not alive(child), 5)


def test_waiting_for_a_process_that_has_ended_tells_its_last_words(tmp_path: Path) -> None:
    with Processes(tmp_path) as processes:
        broken = processes.start("broken", [sys.executable, "-c", "raise SystemExit('no such port')"])
        with pytest.raises(
            NotReadyError, match=r"serving did not happen \(it ended with 1\)\n  broken \| no such port"
        ):
            broken.wait_until(lambda: False, 20, "serving")


def test_no_port_is_given_twice() -> None:
    ports = [free_port() for _ in range(50)]
    assert len(set(ports)) == 50
    assert all(10_000 <= port < 32_768 for port in ports)
