"""What git says of the objects of a commit, as values."""

from __future__ import annotations

import os
from collections.abc import Iterator

from xds.git.checkout import Entry
from xds.git.program import GitError


def entry(line: bytes) -> Entry:
    """`100644 blob 0c5d…    1234<tab>path`, or `-` for a size of what is no blob."""
    told, _, path = line.partition(b"\t")
    mode, _, name, size = told.decode().split()
    return Entry(os.fsdecode(path), mode, name, 0 if size == "-" else int(size))


def blobs(said: bytes) -> Iterator[bytes]:
    """Raises GitError for one that is missing."""
    at = 0
    while at < len(said):
        end = said.index(b"\n", at)
        name, kind, *size = said[at:end].decode().split()
        if kind != "blob" or not size:
            raise GitError(f"object {name} is {kind}")
        first, at = end + 1, end + 2 + int(size[0])
        yield said[first : at - 1]
