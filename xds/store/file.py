"""Live state in a file of a folder that is the server's own: readable for nobody else, and whole at any time."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from xds.live.document import document, live_state
from xds.live.state import NOTHING_LIVE, LiveState
from xds.store.whole import write_whole

NAME = "live.json"
ASIDE = f"{NAME}.broken"
"""Where a file is kept that cannot be read: somebody may want to know what was live."""
LOCK = ".lock"

log = logging.getLogger(__name__)


class StateFile:
    """In `folder`, which is made when it is not there. One server alone may have it."""

    lasts = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock: TextIO | None = None

    def prepare(self) -> None:
        """Raises OSError where nothing can be kept: better now than when somebody needs it. Also where another server
        has the folder; this one has it from now on, until it ends."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self._folder, prefix=f".{NAME}."):
            pass
        self._lock = (self._folder / LOCK).open("a")  # closed, and with that unlocked, when the process ends
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OSError(errno.EBUSY, "another server has it", str(self._folder)) from None
        except OSError as problem:  # not every file system can lock
            log.warning("state is not kept apart from other servers' folder=%s problem=%s", self._folder, problem)

    def load(self) -> LiveState:
        file = self._folder / NAME
        try:
            return live_state(json.loads(file.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return NOTHING_LIVE
        except (OSError, ValueError, RecursionError) as problem:  # ValueError: no UTF-8, no JSON, or no live state
            log.error("live state cannot be read, so nothing is live file=%s problem=%s", file, problem)
        with suppress(OSError):
            file.replace(self._folder / ASIDE)
            log.warning("kept aside file=%s", self._folder / ASIDE)
        return NOTHING_LIVE

    def save(self, state: LiveState) -> None:
        content = json.dumps(document(state), indent=2, ensure_ascii=False) + "\n"
        write_whole(self._folder / NAME, content.encode())
