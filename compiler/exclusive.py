"""One run at a time writes to a folder."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PATIENCE = 30.0
"""Seconds to wait for another run, which writes for less than that unless it has been stopped."""

_PAUSE = 0.02
_NO_LOCKS = (errno.EBADF, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""A file system that locks no folders; NFS asks for one that is open for writing, which no folder can be."""


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """No other run is in here for `directory`, for the folder that it lies in, or for one in it; makes what it lies in.

    The kernel takes the locks back from a run that is killed, and they leave no file. Raises BlockingIOError where
    another run is not done in time.
    """
    directory = directory.resolve()
    place = next(folder for folder in (*directory.parents, directory) if folder.exists())
    with ExitStack() as locks:
        # From the outside in, so that no two wait for each other. What a new folder lies in is locked in its place.
        for folder in dict.fromkeys((place, directory.parent, directory)):
            if folder != directory:
                folder.mkdir(parents=True, exist_ok=True)
            if folder.exists():
                locks.enter_context(_locked(folder))
        yield


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _lock(descriptor, directory)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, directory: Path) -> None:
    late = time.monotonic() + PATIENCE
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= late:
                raise BlockingIOError(errno.EAGAIN, "another compile is at work", str(directory)) from None
        except OSError as problem:
            if problem.errno in _NO_LOCKS:
                return None
            raise
        time.sleep(_PAUSE)
