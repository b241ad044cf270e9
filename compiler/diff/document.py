"""A change for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from compiler.diff.changes import Changes
from compiler.diff.effect import Effect, of_kind
from compiler.diff.gpus import costs
from compiler.diff.leaves import Leaf
from compiler.diff.request_class import RequestClass
from compiler.diff.stations import Station
from compiler.diff.summary import headline
from compiler.diff.weighing import Weighed
from compiler.diff.words import differences, title
from compiler.emit.object import place
from compiler.request import TIER_HEADER, Request


def as_json(changes: Changes, base: str, head: str) -> str:
    """Its keys are an interface, told in docs/diff.md."""
    return json.dumps(document(changes, base, head), indent=2, ensure_ascii=False) + "\n"


def error_json(lines: Iterable[str]) -> str:
    """In place of a change: there was no looking at it."""
    return json.dumps({"error": "\n".join(lines)}, indent=2, ensure_ascii=False) + "\n"


def document(changes: Changes, base: str, head: str) -> dict[str, Any]:
    return {
        "base": base,
        "head": head,
        "changed": changes.any,
        "summary": headline(changes),
        "profile": None if changes.weighed is None else _profile(changes.weighed),
        "classes": [_class(each, n, changes.weighed) for n, each in enumerate(changes.classes.found)],
        "leftOut": changes.classes.left_out,
        "settings": [
            {"kind": s.kind, "name": s.name, "change": str(s.change), "fields": [_field(leaf) for leaf in s.leaves]}
            for s in changes.settings
        ],
        "instances": {
            "before": [asdict(of) for of in changes.instances_before],
            "after": [asdict(of) for of in changes.instances_after],
        },
        "gpus": [
            {"product": of.product, "costUnits": of.units, "before": asdict(of.before), "after": asdict(of.after)}
            for of in changes.gpus
        ],
        "costUnits": dict(zip(("before", "after"), map(asdict, costs(changes.gpus)), strict=True)),
        "objects": [
            {
                "object": change.key,
                "file": change.file,
                "change": str(change.change),
                "fields": [_field(leaf) for leaf in change.leaves],
            }
            for change in changes.objects
        ],
        "steps": [{**asdict(step), "by": str(step.by)} for step in changes.steps],
    }


def _profile(weighed: Weighed) -> dict[str, Any]:
    return {
        "requests": weighed.requests,
        "changed": weighed.changed,
        "moves": [{"from": m.source, "to": m.target, "requests": m.requests} for m in weighed.moves],
        "loseRoute": weighed.lose,
        "gainRoute": weighed.gain,
        "unanswered": weighed.unanswered,
        "malformed": weighed.malformed,
        "changes": dict(weighed.aspects),
    }


def _class(each: RequestClass, number: int, weighed: Weighed | None) -> dict[str, Any]:
    naming = each.naming
    return {
        "title": title(each),
        "hosts": list(each.place.hosts),
        "models": None if naming.everything else {
            "named": [] if naming.unknown else list(naming.names),
            "unnamed": naming.unnamed,
            "unknown": naming.unknown,
            "namedIn": str(naming.by),
        },
        "when": [str(condition) for condition in each.conditions],
        "unless": [[str(condition) for condition in of.conditions] for of in each.above if not of.within],
        "stream": each.stream,
        "before": _side(each.before, each.stream),
        "after": _side(each.after, each.stream),
        "differences": [asdict(difference) for difference in differences(each)],
        "example": None if each.witness is None else _request(each.witness),
        "requests": None if weighed is None else weighed.by_class.get(number, 0),
    }  # fmt: skip


def _side(station: Station, stream: bool | None) -> dict[str, Any]:
    effect: Effect = station.effect if stream is None else of_kind(station.effect, stream)
    return {
        "stage": str(station.stage),
        "name": station.name,
        "capabilities": None if station.within is None else sorted(station.within),
        **effect,
        "origin": None if station.origin is None else place(station.origin),
    }


def _request(request: Request) -> dict[str, Any]:
    """As a line of a profile would have it, less what is as always."""
    plain = Request()
    headers = {name: value for name, value in request.headers.items() if name != TIER_HEADER}
    body = {
        key: value
        for key, value in (
            ("model", request.model),
            ("max_tokens", request.max_tokens),
            ("metadata", dict(request.metadata)),
            ("stream", request.stream),
        )
        if value
    }
    given = {
        "host": request.host,
        "method": request.method if request.method != plain.method else None,
        "path": request.path if request.path != plain.path else None,
        "headers": headers,
        "tier": request.headers.get(TIER_HEADER),
        "capability": sorted(request.capabilities),
        "body": body,
    }
    kept = {key: value for key, value in given.items() if value}
    return kept if request.prompt_length is None else {**kept, "prompt_length": request.prompt_length}


def _field(leaf: Leaf) -> dict[str, Any]:
    return {"path": "/" + "/".join(leaf.path), "before": leaf.before, "after": leaf.after}
