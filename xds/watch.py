"""`turnout compile --watch`: the rendered folder follows the policies, each edit at the cost of what it changes."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path

from compiler.kept import Kept
from compiler.pipeline import manifests
from compiler.render import write
from xds.observe.policies import policies


async def watch(root: Path, output: Path, colour: bool, environment: str = "") -> None:
    """Never ends. Raises OSError where `output` cannot be written."""
    kept, told = Kept(), ""
    # A server spares its Envoys pushes; here nobody is pushed to, and somebody waits for the files.
    async for read in policies(root, colour, environment, burst=0.0):
        began = time.monotonic()
        if read.report != told:  # warnings are read once
            print(read.report, end="", file=sys.stderr, flush=True)
        told = read.report
        if read.fleet is None:
            print(f"{output} stays as it was: the policies have errors", flush=True)
            continue
        making = Kept(kept)
        files = manifests(read.fleet, making, environment)
        kept = making.closed()
        done = _done(files, write(files, output))
        print(f"{output}: {done} in {(read.seconds + time.monotonic() - began) * 1000:.0f} ms", flush=True)


def _done(files: Mapping[str, bytes], written: tuple[str, ...]) -> str:
    if not written:
        return f"{len(files):,} files, none to write"
    named = f" ({written[0]})" if len(written) == 1 else ""
    return f"{len(written):,} of {len(files):,} files written{named}"
