"""The system's git, as a process that asks nobody anything, runs no hook, and ends in time."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from asyncio.subprocess import PIPE
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

MOST = 64 << 20
"""Bytes of an answer."""
MOST_SAID = 4096
"""Bytes of what it says of a problem: the end."""
OF_ANOTHER = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES")
"""Variables that a hook is run with, and whatever it starts: they are about another repository."""
SETTINGS = (
    *("-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false"),
    # Nothing goes on in the background that nobody waits for.
    *("-c", "gc.auto=0", "-c", "maintenance.auto=false"),
    # It runs what the URL says, as a command.
    *("-c", "protocol.ext.allow=never"),
    # A server that has gone quiet: bytes a second, and seconds.
    *("-c", "http.lowSpeedLimit=1", "-c", "http.lowSpeedTime=20"),
)
OWN_SETTINGS = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
"""For what is about objects alone: no setting of a user or of the machine has a say in whom to believe."""

_SECRET = re.compile(r"(?<=://)(?:[^/\s]+|[^/@\s:]+:(?!\d*/)[^@\s]*)(?=@)")
"""User and password, also of those who have not written `@` and `/` in a password as `%40` and `%2F`."""


_QUERY = re.compile(r"(://[^\s?'\"]*\?)[^\s'\"]+")
"""Behind a URL's path, where some servers take a token."""


AGAIN = "it is read again at the next look; a clone that is damaged is made anew"
"""What is to be done about most that git cannot do: nothing that a commit could."""


class GitError(Exception):
    """What git could not do, in its own words, without secrets."""

    def __init__(self, why: str, hint: str = AGAIN) -> None:
        super().__init__(why)
        self.hint = hint


async def git(
    folder: Path,
    *words: str,
    seconds: float,
    given: bytes = b"",
    most: int = MOST,
    environment: Mapping[str, str] = OWN_SETTINGS,
) -> bytes:
    """What it answers in `folder`. Raises GitError when it fails, or takes longer than `seconds`."""
    said, problem, code = await tried(folder, *words, seconds=seconds, given=given, most=most, environment=environment)
    if code:
        raise GitError(reason(problem) or f"git {_verb(words)} ended with {code}")
    return said


async def tried(
    folder: Path,
    *words: str,
    seconds: float,
    given: bytes = b"",
    most: int = MOST,
    environment: Mapping[str, str] = OWN_SETTINGS,
    largest: int = 0,
) -> tuple[bytes, str, int]:
    """Its answer, what it says beside it, and its exit status. `largest` is how many bytes a file may have that it
    writes, without end where it is 0. Raises GitError when it cannot run, or takes longer."""
    command = (*_limited(largest), "git", *SETTINGS, "-C", os.fspath(folder), *words)
    try:
        # In a session of its own there is no terminal that ssh could ask, and all that it starts ends with it.
        process = await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=_environment(environment), start_new_session=True
        )
    except OSError as problem:
        raise GitError(f"git cannot be run: {problem.strerror}") from None
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with asyncio.timeout(seconds):
            said, problems, _ = await asyncio.gather(
                _read(process.stdout, most), _end(process.stderr), _give(process.stdin, given)
            )
            return said, problems.decode(errors="replace"), await process.wait()
    except TimeoutError:
        raise GitError(f"git {_verb(words)} has taken more than {seconds:.0f} s") from None
    except _TooMuchError:
        raise GitError(f"git {_verb(words)} answers with more than {most >> 20:,} MiB") from None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


def _limited(largest: int) -> tuple[str, ...]:
    """What runs the words behind it under that limit, which holds for all that they start. Without the trap they would
    end by a signal, and could not say why."""
    if not largest:
        return ()
    return ("sh", "-c", f"trap '' XFSZ; ulimit -f {largest // 512}; exec \"$@\"", "sh")


def reason(problem: str) -> str:
    """What says most: the first line that is fatal, or an error, that before it, in which ssh says why, and the one
    that it announces."""
    lines = [line.strip() for line in without_secrets(problem).splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith(("warning:", "hint:"))] or lines
    worst = next((n for head in ("fatal: ", "error: ") for n, line in enumerate(lines) if line.startswith(head)), 0)
    last = worst + 1 + (bool(lines) and lines[worst].endswith(":"))
    said = (line.removeprefix("fatal: ").removeprefix("error: ") for line in lines[max(0, worst - 1) : last])
    return "; ".join(line.rstrip(".:") for line in said)


def without_secrets(text: str) -> str:
    """Of a URL, or of a text with URLs, without user, password and query: a token stands in any of them."""
    return _QUERY.sub(r"\1***", _SECRET.sub("***", text))


def _verb(words: tuple[str, ...]) -> str:
    """What it is asked to do, behind its settings."""
    return next(word for number, word in enumerate(words) if word != "-c" and words[number - 1 : number] != ("-c",))


class _TooMuchError(Exception):
    pass


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    found = {name: value for name, value in os.environ.items() if name not in OF_ANOTHER}
    return {**found, "GIT_TERMINAL_PROMPT": "0", "GIT_NO_REPLACE_OBJECTS": "1", "LC_ALL": "C", **more}


async def _read(stream: asyncio.StreamReader, most: int) -> bytes:
    found = bytearray()
    while part := await stream.read(1 << 16):
        found += part
        if len(found) > most:
            raise _TooMuchError
    return bytes(found)


async def _end(stream: asyncio.StreamReader) -> bytes:
    found = b""
    while part := await stream.read(1 << 16):
        found = (found + part)[-MOST_SAID:]
    return found


async def _give(stream: asyncio.StreamWriter, given: bytes) -> None:
    with suppress(ConnectionError):  # it has ended before, and says why
        stream.write(given)
        await stream.drain()
    stream.close()
