"""What the demo says: numbered steps, and on a terminal colours and one live line."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from typing import TextIO

BAR = 30
"""Characters of a full progress bar."""


class Display:
    def __init__(self, stream: TextIO = sys.stdout) -> None:
        self._stream = stream
        self._live = stream.isatty() and os.environ.get("TERM") != "dumb"
        self._colour = self._live and not os.environ.get("NO_COLOR")
        self._steps = 0

    def step(self, title: str) -> None:
        self._steps += 1
        self._line(f"\n{self._styled('1', f'{self._steps}  {title}')}")

    def say(self, text: str) -> None:
        self._line(f"   {text}")

    def good(self, text: str) -> None:
        self._line(f"   {self._styled('32', '✓')} {text}")

    def bad(self, text: str) -> None:
        self._line(f"   {self._styled('31', '✗')} {text}")

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Columns as wide as they need be; the first to the left, the others to the right."""
        widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
        for row in (header, *rows):
            cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
            text = "  ".join((row[0].ljust(widths[0]), *cells))
            self.say(self._styled("2", text) if row is header else text)

    def progress(self, total: int, what: str) -> Callable[[int], None]:
        """A function to tell how many of `total` are done; it shows a bar on a terminal and else says nothing."""

        def show(done: int) -> None:
            filled = round(BAR * done / total)
            self.live(f"{'█' * filled}{'░' * (BAR - filled)} {done:,} of {total:,} {what}")

        return show

    def live(self, text: str) -> None:
        """Show `text` until the next line is written; only on a terminal."""
        if self._live:
            room = shutil.get_terminal_size().columns - 4
            self._stream.write(f"\r\x1b[2K   {text[:room]}")
            self._stream.flush()

    def _line(self, text: str) -> None:
        clear = "\r\x1b[2K" if self._live else ""
        print(f"{clear}{text}", file=self._stream, flush=True)

    def _styled(self, style: str, text: str) -> str:
        return f"\x1b[{style}m{text}\x1b[0m" if self._colour else text
