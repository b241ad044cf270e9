"""Which route of a table that an Envoy refused is to blame: the one that the table before did not have like that."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from compiler.diagnostics import Position
from xds.snapshot import Resource
from xds.soundness.tables import parts, routes_in

OF_MODELS = "model/"
"""What names of models' own routes begin with. An edit of a model changes the routes of those who choose it, too."""


@lru_cache(64)
def culprit(refused: Resource, good: Resource | None) -> tuple[str, Position] | None:
    """Its name and policy line; `None` where several may be, or none: of a resource that is no table, without the one
    before, or with other changes than of routes."""
    if not refused.lines or good is None or not good.parts:
        return None
    now, then = parts(refused).routes, parts(good).routes
    if _rest(parts(refused).frame) != _rest(parts(good).frame):
        return None
    lists = [(content, then.get(entry, b"")) for entry, content in now.items() if then.get(entry) != content]
    names = set().union(*(_changed(*pair) for pair in lists))
    suspected = {name for name in names if name.startswith(OF_MODELS)} or names
    lines = dict(refused.lines)
    return next(((name, lines[name]) for name in suspected if name in lines), None) if len(suspected) == 1 else None


def _rest(frame: Any) -> bytes:
    """What routes have no say in. The list of models that clients may ask for is another one with every new model."""
    rest = type(frame)()
    rest.CopyFrom(frame)
    rest.ClearField("max_direct_response_body_size_bytes")
    for host in rest.virtual_hosts:
        host.ClearField("matcher")
    return bytes(rest.SerializeToString(deterministic=True))


def _changed(content: bytes, before: bytes) -> Iterator[str]:
    """Names of routes. Two have one name, for requests that stream and for others."""
    known = {route.SerializeToString(deterministic=True) for route in routes_in(before)}
    for route in routes_in(content):
        if route.SerializeToString(deterministic=True) not in known:
            yield str(route.name).removesuffix("/stream")
