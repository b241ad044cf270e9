"""Contents under their hashes, many in one file, so that a snapshot of a thousand models is no thousand files."""

from __future__ import annotations

from collections.abc import Mapping

from xds.snapshot import digest

HEAD = b"turnout pack 1\n"
LONGEST_LINE = 64


def pack(contents: Mapping[str, bytes]) -> bytes:
    """Each by the `digest` that it has."""
    parts = (part for name, body in contents.items() for part in (f"{name} {len(body)}\n".encode(), body))
    return b"".join((HEAD, *parts))


def unpack(packed: bytes) -> tuple[dict[str, bytes], str]:
    """Those that are whole, and what is wrong with the others; an empty text where nothing is."""
    found: dict[str, bytes] = {}
    if not packed.startswith(HEAD):
        return found, "no pack of this version"
    at, wrong = len(HEAD), ""
    while at < len(packed):
        end = packed.find(b"\n", at, at + LONGEST_LINE)
        name, _, size = packed[at:end].partition(b" ")
        if end < 0 or not size.isdigit() or len(packed) - end - 1 < int(size):
            return found, "cut short, or damaged"
        at = end + 1 + int(size)
        body = packed[end + 1 : at]
        if digest(body).encode() == name:
            found[name.decode()] = body
        else:
            wrong = "damaged"
    return found, wrong
