"""Runs a measuring tool that lives outside of this repository, as it stands but for two things it takes for granted.

    python -m bench.tool TOOLS/xds_floor.py OPTIONS…

The floor asks the server it copies for a runtime layer `rt` and waits until it gets one; ours has another name, and
says of `rt` only that there is none. The swarm reads processor time and memory through psutil, of which it needs so
little that /proc will do.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace

from xds.translate.runtime import LAYER

TEXTS: Mapping[str, str] = {'ask(RTDS, ["rt"])': f'ask(RTDS, ["{LAYER}"])'}
"""What is read in place of what."""


class Process:
    """The part of psutil's that the swarm uses."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._proc = Path("/proc", str(pid))

    def children(self, recursive: bool = False) -> list[Process]:
        found: list[Process] = []
        for listed in self._proc.glob("task/*/children"):
            for child in map(Process, map(int, listed.read_text().split())):
                found += [child, *(child.children(recursive) if recursive else [])]
        return found

    def memory_info(self) -> SimpleNamespace:
        pages = int((self._proc / "statm").read_text().split()[1])
        return SimpleNamespace(rss=pages * os.sysconf("SC_PAGE_SIZE"))


def main() -> None:
    tool = Path(sys.argv[1])
    text = tool.read_text()
    for theirs, ours in TEXTS.items():
        text = text.replace(theirs, ours)
    psutil = ModuleType("psutil")
    vars(psutil).update(Process=Process)
    sys.modules["psutil"] = psutil
    sys.argv = sys.argv[1:]
    exec(compile(text, tool, "exec", dont_inherit=True), {"__name__": "__main__", "__doc__": tool.name})


if __name__ == "__main__":
    main()
