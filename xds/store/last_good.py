"""What was served last of policies without errors, and the contents it is kept as.

The resources are kept and the policies too. The policies give back the fleet: live weights, explanations, groups that
nobody has asked for yet. The resources are there when a newer compiler no longer takes those policies.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Any, NamedTuple

from compiler.diagnostics import Position
from compiler.kept import Kept
from xds.snapshot import NOTHING, Resource, ResourceSet, ResourceType, Snapshot, digest

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class LastGood:
    digest: str
    """Of the policies."""
    environment: str
    since: datetime
    """When it began to be served."""
    files: tuple[tuple[str, str], ...]
    """The policies: name and text of each file."""
    groups: Mapping[str, Snapshot]
    """At the placement that policy gives, with what was live."""
    listeners: Mapping[str, tuple[str, ...]]
    """Of each group, in policy's order, in which they are given ports."""
    served_as: Mapping[str, str]
    """Of groups that are served another one's snapshot, that one."""
    commit: str = ""
    """That the policies were read at, where git knew."""


class Contents:
    """What last goods are kept as. Of one after the other, only what has changed is made anew."""

    def __init__(self) -> None:
        self._kept = Kept()

    def of(self, good: LastGood) -> tuple[Document, dict[str, bytes]]:
        """What says which contents there are, and these by their hashes."""
        contents: dict[str, bytes] = {}
        kept = Kept(self._kept)
        manifest = {
            "digest": good.digest,
            "commit": good.commit,
            "environment": good.environment,
            "files": _added(_listing(kept.rows(_file, good.files)), contents),
            "groups": {
                name: {type_.label: _added(_set(found[type_], kept), contents) for type_ in ResourceType}
                for name, found in sorted(good.groups.items())
            },
            "listeners": {name: list(order) for name, order in sorted(good.listeners.items())},
            "served_as": dict(sorted(good.served_as.items())),
        }
        self._kept = kept.closed()
        return manifest, contents


class _Row(NamedTuple):
    """One of a listing."""

    text: bytes
    contents: tuple[tuple[str, bytes], ...]
    """That it names, by their hashes."""


class _Listing(NamedTuple):
    name: str
    contents: Mapping[str, bytes]
    """Itself, and all that it names."""


def _file(name: str, text: str) -> _Row:
    part = _part(text.encode())
    return _Row(_json([name, part[0]]), (part,))


def _set(resources: ResourceSet, kept: Kept) -> _Listing:
    """By the identity of the set: of two equal ones, the resources may stand at different lines of policy."""
    return kept.by("set", (resources,), lambda: _listing(kept.each(_row, tuple(resources.values()), using=(kept,))), ())


def _row(resource: Resource, kept: Kept) -> _Row:
    """Most parts of a route table are those of the table before."""
    parts = kept.each(_part, resource.parts)
    place = resource.origin.file, resource.origin.line, resource.origin.column
    return _Row(_json([resource.name, resource.version, [name for name, _ in parts], *place]), parts)


def _part(content: bytes) -> tuple[str, bytes]:
    return digest(content), content


def _listing(rows: Sequence[_Row]) -> _Listing:
    listing = b"[" + b",".join([row.text for row in rows]) + b"]"
    name = digest(listing)
    return _Listing(name, dict(chain([(name, listing)], chain.from_iterable([row.contents for row in rows]))))


def _added(listing: _Listing, contents: dict[str, bytes]) -> str:
    contents.update(listing.contents)
    return listing.name


def last_good(manifest: Document, since: datetime, contents: Mapping[str, bytes]) -> LastGood:
    """What `Contents` has taken apart. Raises LookupError, TypeError or ValueError where that is not all there."""
    listings = {listing for group in manifest["groups"].values() for listing in group.values()}
    sets = {listing: _resources(json.loads(contents[listing]), contents) for listing in listings}
    # Of a type that there was not yet when it was kept, there was nothing.
    groups = {
        name: Snapshot({type_: sets[group[type_.label]] if type_.label in group else NOTHING for type_ in ResourceType})
        for name, group in manifest["groups"].items()
    }
    return LastGood(
        manifest["digest"],
        manifest["environment"],
        since,
        tuple((name, contents[text].decode()) for name, text in json.loads(contents[manifest["files"]])),
        groups,
        {name: tuple(order) for name, order in manifest["listeners"].items()},
        manifest["served_as"],
        manifest.get("commit", ""),  # what an earlier version kept has none
    )


def _resources(listing: Iterable[list[Any]], contents: Mapping[str, bytes]) -> ResourceSet:
    return ResourceSet(
        Resource(name, version, tuple(contents[part] for part in parts), Position(*place))
        for name, version, parts, *place in listing
    )


def _json(found: object) -> bytes:
    return json.dumps(found, separators=(",", ":")).encode()
