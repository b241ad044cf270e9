"""Processes started for a while: each with its own log, all ended when the block is left, however it is left."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).resolve().parent.parent
"""The repository: where commands run."""

TERM_TIMEOUT = 3.0
"""Seconds between asking a process to end and killing it."""

EPHEMERAL_FROM = 32_768
"""The first port that Linux gives to outgoing connections."""


class NotReadyError(Exception):
    """Something that was waited for did not happen; the text says what, and what the process last said."""


class Process:
    """A running program. Its signals go to it and to whatever it started itself."""

    def __init__(self, name: str, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self.command = tuple(command)
        self.log = log
        with log.open("ab") as output:
            # A session of its own: Ctrl-C reaches only us, and we end the others in order.
            self._popen = subprocess.Popen(
                self.command,
                cwd=ROOT,
                env=os.environ | environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def alive(self) -> bool:
        return self._popen.poll() is None

    def kill(self) -> None:
        """End it as a crash would: at once, without a word to its clients."""
        self.send(signal.SIGKILL)
        self._popen.wait()

    def send(self, number: signal.Signals) -> None:
        # A process that has been waited for gives its number back: the next one to get it would be a stranger.
        if self.alive:
            os.killpg(self.pid, number)

    def wait(self, timeout: float) -> bool:
        """Whether it ended within `timeout` seconds."""
        with suppress(subprocess.TimeoutExpired):
            self._popen.wait(timeout)
        return not self.alive

    def last_words(self, lines: int = 15) -> str:
        said = self.log.read_text(errors="replace").splitlines()[-lines:]
        return "\n".join(f"  {self.name} | {line}" for line in said)

    def wait_until(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        """Raises `NotReadyError` when `seconds` have passed, or as soon as the process has ended."""

        def over() -> bool:
            return condition() or not self.alive

        if not poll(over, seconds) or not condition():
            ended = "" if self.alive else f" (it ended with {self._popen.returncode})"
            raise NotReadyError(f"{self.name}: {what} did not happen{ended}\n{self.last_words()}")


class Processes:
    """Everything that one run started. Leaving the block ends all of it, the last started first.

    For the main thread: while something starts or ends, signals wait.
    """

    def __init__(self, logs: Path) -> None:
        """`logs` is the folder that each process's log goes to."""
        self.logs = logs
        self._started: list[Process] = []

    def start(self, name: str, command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> Process:
        """The log is `<name>.log`; a process started again under one name writes on in it."""
        with _uninterrupted():
            process = Process(name, [str(part) for part in command], self.logs / f"{name}.log", environment or {})
            self._started.append(process)
        return process

    def last_words(self) -> str:
        """Of all that have said something."""
        return "\n".join(filter(None, (process.last_words() for process in self._started)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with _uninterrupted():
            for process in reversed(self._started):
                process.send(signal.SIGTERM)
            deadline = time.monotonic() + TERM_TIMEOUT
            for process in self._started:
                if not process.wait(max(0.0, deadline - time.monotonic())):
                    process.kill()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Signals that end us wait until the block is left: in the middle of a start they would orphan what starts."""
    arrived: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    previous = {number: signal.signal(number, lambda number, _: arrived.append(number)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    for waiting in arrived:
        signal.raise_signal(waiting)


def poll(condition: Callable[[], bool], seconds: float) -> bool:
    """Ask every 20 ms whether `condition` holds; whether it did within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


_candidates = iter(random.sample(range(10_000, EPHEMERAL_FROM), EPHEMERAL_FROM - 10_000))


def free_port() -> int:
    """A port on which nobody listens, for a server that starts soon; never the same one twice.

    Below the range that outgoing connections take theirs from. From within it, a connection could occupy the port of a
    server that is down, or be one to itself: on loopback a health check of a dead port then succeeds now and then.
    """
    return next(port for port in _candidates if is_free(port))


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
