"""The last good snapshot on the disk: contents by their hashes in packs, and a manifest that says which belong to it.

A change adds a pack with what is new and a manifest of some hundred bytes. Both are there whole or not at all. The
manifest before the newest stays with its packs, for the day on which the newest is damaged.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from xds.store.last_good import Contents, Document, LastGood, last_good
from xds.store.packs import pack, unpack
from xds.store.whole import write_whole

VERSION = 2
"""Of the form of manifests; another one is not read."""
MOST_PACKS = 16
"""From so many on all is put into a single one again."""
KEPT = 2
"""Manifests."""
_MANIFEST = re.compile(r"snapshot-(\d{8,})\.json")
_OURS = re.compile(r"snapshot-\d{8,}\.json|[0-9a-f]{32}\.pack|\.(snapshot-|[0-9a-f]{32}\.).*")
"""What is in the folder for no other reason than that we put it there, half-written files too."""

log = logging.getLogger(__name__)


class ServedFolder:
    """`folder` is made when there is something to keep. One server alone may write to it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._contents = Contents()
        self._packs: dict[str, frozenset[str]] = {}
        """Which contents are whole in each."""
        self._manifests: list[tuple[int, Document]] = []
        """Those that are whole, the newest first."""

    def load(self) -> LastGood | None:
        """The newest that is whole; what is damaged is logged. Raises OSError where the folder cannot be read."""
        self._packs, self._manifests, newest = {}, [], None
        read: dict[str, dict[str, bytes]] = {}
        for number, file in self._numbered():
            try:
                found = _manifest(file.read_bytes())
                good = self._read(found, read)
            except (OSError, LookupError, TypeError, ValueError, RecursionError) as problem:
                why = f"it names {problem}, which is not there" if isinstance(problem, LookupError) else problem
                log.error("a kept snapshot is not whole, so it is not served file=%s problem=%s", file, why)
                continue
            self._manifests.append((number, found))
            newest = newest or good
            if len(self._manifests) == KEPT:
                break
        return newest

    def save(self, good: LastGood) -> None:
        """Nothing is written where this is what the newest manifest says. Raises OSError when it cannot be kept; what
        was kept before is then still there."""
        manifest, contents = self._contents.of(good)
        there = {file.name for file in self._folder.iterdir()} if self._folder.exists() else set()
        self._packs = {name: held for name, held in self._packs.items() if name in there}
        self._manifests = [(number, found) for number, found in self._manifests if _name(number) in there]
        if self._manifests and self._manifests[0][1]["served"] == manifest:
            return
        used = self._added(contents)
        found = {"served": manifest, "since": good.since.isoformat(timespec="milliseconds"), "packs": used}
        number = next((number for number, _ in self._numbered()), 0) + 1
        write_whole(self._folder / _name(number), _checked(found))
        self._manifests = [(number, found), *self._manifests][:KEPT]
        self._collect()

    def _added(self, contents: dict[str, bytes]) -> list[str]:
        """The packs that have all of `contents`, after what none has is written into a new one."""
        used = [name for name, held in self._packs.items() if not held.isdisjoint(contents)]
        if len(used) >= MOST_PACKS:
            fresh, used = contents, []
        else:
            held = frozenset[str]().union(*(self._packs[name] for name in used))
            fresh = {name: content for name, content in contents.items() if name not in held}
        if not fresh:
            return used
        packed = pack(fresh)
        name = f"{hashlib.blake2b(packed, digest_size=16).hexdigest()}.pack"
        write_whole(self._folder / name, packed)
        self._packs[name] = frozenset(fresh)
        return [*used, name]

    def _collect(self) -> None:
        """Takes away what no manifest names. What cannot be taken away is tried again with the next."""
        kept = {_name(number) for number, _ in self._manifests}
        kept |= {name for _, manifest in self._manifests for name in manifest["packs"]}
        for file in self._folder.iterdir():
            if file.name not in kept and _OURS.fullmatch(file.name):
                self._packs.pop(file.name, None)
                with suppress(OSError):
                    file.unlink()

    def _numbered(self) -> Iterator[tuple[int, Path]]:
        """Manifests, whole or not, the newest first."""
        names = [file.name for file in self._folder.iterdir()] if self._folder.exists() else []
        numbers = (int(found[1]) for name in names if (found := _MANIFEST.fullmatch(name)))
        return ((number, self._folder / _name(number)) for number in sorted(numbers, reverse=True))

    def _read(self, manifest: Document, read: dict[str, dict[str, bytes]]) -> LastGood:
        """`read` are the packs that have been, for the next manifest, too."""
        for name in manifest["packs"]:
            if name not in read:
                read[name], wrong = unpack((self._folder / name).read_bytes())
                self._packs[name] = frozenset(read[name])
                if wrong:
                    log.error("kept contents are not whole file=%s problem=%s", self._folder / name, wrong)
        contents = {name: content for name_of_pack in manifest["packs"] for name, content in read[name_of_pack].items()}
        return last_good(manifest["served"], datetime.fromisoformat(manifest["since"]), contents)


def _name(number: int) -> str:
    return f"snapshot-{number:08}.json"


def _checked(manifest: Document) -> bytes:
    """With a checksum of all the rest."""
    text = json.dumps(manifest, sort_keys=True)
    return json.dumps({"version": VERSION, "checksum": _checksum(text), "manifest": manifest}, indent=1).encode()


def _manifest(content: bytes) -> Document:
    """Raises ValueError for what `_checked` has not written."""
    found = json.loads(content)
    if not isinstance(found, dict) or found.get("version") != VERSION:
        raise ValueError(f"no manifest of version {VERSION}")
    manifest = found.get("manifest")
    if not isinstance(manifest, dict) or _checksum(json.dumps(manifest, sort_keys=True)) != found.get("checksum"):
        raise ValueError("its checksum is another one: it is cut short, or damaged")
    return manifest


def _checksum(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
