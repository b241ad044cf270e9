"""What was served last of policies without errors, and the contents it is kept as.

The resources are kept and the policies too. The policies give back the fleet: live weights, explanations, groups that
nobody has asked for yet. The resources are there when a newer compiler no longer takes those policies.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from compiler.diagnostics import Position
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


class Contents:
    """What last goods are kept as. Of one after the other, only what has changed is made anew."""

    def __init__(self) -> None:
        self._listings: dict[int, tuple[ResourceSet, str, bytes]] = {}
        """By the identity of the set: of two equal ones, the resources may stand at different lines of policy."""
        self._texts: dict[str, tuple[str, str, bytes]] = {}

    def of(self, good: LastGood) -> tuple[Document, dict[str, bytes]]:
        """What says which contents there are, and these by their hashes."""
        contents: dict[str, bytes] = {}
        listings, self._listings = self._listings, {}
        texts, self._texts = self._texts, {}
        files = [[name, self._text(name, text, texts, contents)] for name, text in good.files]
        manifest = {
            "digest": good.digest,
            "environment": good.environment,
            "files": _added(_json(files), contents),
            "groups": {
                name: {type_.label: self._listing(found[type_], listings, contents) for type_ in ResourceType}
                for name, found in sorted(good.groups.items())
            },
            "listeners": {name: list(order) for name, order in sorted(good.listeners.items())},
            "served_as": dict(sorted(good.served_as.items())),
        }
        return manifest, contents

    def _listing(
        self, resources: ResourceSet, before: dict[int, tuple[ResourceSet, str, bytes]], contents: dict[str, bytes]
    ) -> str:
        key = id(resources)
        if key not in self._listings:
            found = before.get(key)
            if found is None:
                listing = _json([[r.name, r.version, digest(r.body), *_place(r.origin)] for r in resources.values()])
                found = resources, digest(listing), listing
            self._listings[key] = found
            contents[found[1]] = found[2]
            contents.update((digest(resource.body), resource.body) for resource in resources.values())
        return self._listings[key][1]

    def _text(self, name: str, text: str, before: dict[str, tuple[str, str, bytes]], contents: dict[str, bytes]) -> str:
        found = before.get(name)
        if found is None or found[0] is not text:
            body = text.encode()
            found = text, digest(body), body
        self._texts[name] = found
        contents[found[1]] = found[2]
        return found[1]


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
    )


def _resources(listing: Iterable[list[Any]], contents: Mapping[str, bytes]) -> ResourceSet:
    return ResourceSet(
        Resource(name, version, contents[body], Position(*place)) for name, version, body, *place in listing
    )


def _place(origin: Position) -> tuple[str, int, int]:
    return origin.file, origin.line, origin.column


def _added(content: bytes, contents: dict[str, bytes]) -> str:
    name = digest(content)
    contents[name] = content
    return name


def _json(found: object) -> bytes:
    return json.dumps(found, separators=(",", ":")).encode()
