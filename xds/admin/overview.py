"""What `turnout status` says: how the policy and each Envoy stand, out of the document of `/status`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from compiler import report
from compiler.diagnostics import Diagnostic, Position, Severity, error
from compiler.explain import override_text
from compiler.source import Sources
from xds.blame import at, held_back
from xds.observe.commits import SHOWN
from xds.snapshot import HeldBack, ResourceType

Document = dict[str, Any]

MANY = 30
"""Envoys of which each has a line, unless more are asked for; of more, those that are not in sync."""
NAMED = 3
"""Envoys that the line of one refusal names."""


def overview(status: Document) -> Document:
    """The answer of `turnout status --format json`. Its keys are an interface; see docs/xds.md."""
    envoys = [_envoy(status["policy"], streams) for streams in _by_node(status["envoys"])]
    return {
        "ok": status["policy"]["state"] == "ok"
        and all(envoy["synced"] for envoy in envoys)
        and not status["turned_away"]
        and not status["held_back"]
        and not any(found["problem"] for found in status["certificates"])
        and not (status.get("kept") or {}).get("problem")
        and not (status.get("git") or {}).get("problem"),
        "policy": status["policy"],
        "git": status.get("git"),
        "kept": status.get("kept"),
        "overrides": status["overrides"],
        "groups": [_group(name, envoys) for name in sorted({envoy["group"] for envoy in envoys})],
        "envoys": envoys,
        "turned_away": status["turned_away"],
        "held_back": status["held_back"],
        "certificates": status["certificates"],
    }


def as_json(document: Document) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def as_text(document: Document, *, everyone: bool, colour: bool) -> str:
    """`everyone`: a line for each Envoy, however many there are."""
    envoys = document["envoys"]
    many = len(envoys) > MANY and not everyone
    parts = [_policy(document["policy"], colour), _git(document["git"]), _kept(document["kept"])]
    parts.append("".join(f"{report.printable(override_text(live))}\n" for live in document["overrides"]))
    if len(envoys) > MANY:
        parts.append(_table(_GROUP_COLUMNS, [_group_row(group) for group in document["groups"]]))
    listed = [envoy for envoy in envoys if not many or not envoy["synced"]]
    if listed:
        parts.append(_table(_ENVOY_COLUMNS, [_envoy_row(envoy) for envoy in listed]))
    if not envoys:
        parts.append("no Envoy is connected\n")
    parts.append("".join(_turned_away(client) for client in document["turned_away"]))
    parts.append("".join(_certificate(found) for found in document["certificates"] if found["problem"]))
    commit = document["policy"]["commit"]
    held = [_held_back(held, commit) for held in document["held_back"]]
    parts.append(_blocks([*held, *_refusals(envoys, commit)], colour))
    return "\n".join(part for part in parts if part)


def _by_node(streams: Iterable[Document]) -> Iterator[list[Document]]:
    """The streams of each Envoy. Of two of one service the later counts: the one before it may be dead."""
    found: dict[str, dict[str, Document]] = {}
    for stream in streams:
        found.setdefault(stream["node"], {})[stream["service"]] = stream
    return (list(services.values()) for services in found.values())


def _envoy(policy: Document, streams: Sequence[Document]) -> Document:
    last = streams[-1]
    types = {name: found for stream in streams for name, found in stream["types"].items()}
    synced = all(stream["synced"] for stream in streams)
    return {
        "node": last["node"],
        "group": last["group"],
        "zone": last["zone"],
        "streams": [{"service": stream["service"], "variant": stream["variant"]} for stream in streams],
        "synced": synced,
        "state": "synced" if synced else _state(policy, types),
        "refused": [{"type": name, **refused} for name, found in types.items() for refused in found["refused"]],
    }


def _state(policy: Document, types: Document) -> str:
    """What keeps it from being in sync, in words."""
    refused = {name: len(found["refused"]) for name, found in types.items() if found["refused"]}
    unanswered = [name for name, found in types.items() if found["outstanding"]]
    unsent = [
        name
        for name, found in types.items()
        if found["sent"] != found["wanted"] and name not in refused and name not in unanswered
    ]
    said = []
    if refused:
        said.append("refuses " + ", ".join(f"{n} {name}{'s' if n > 1 else ''}" for name, n in refused.items()))
    if unanswered:
        said.append("has not answered yet: " + ", ".join(unanswered))
    if not policy["digest"]:
        said.append("waits for a policy that can be served")
    elif types and all(found["wanted"] is None for found in types.values()):
        said.append("its group is not in the policy")
    elif unsent:
        said.append("is to be sent: " + ", ".join(unsent))
    return "; ".join(said) or "waits for its other types"


def _turned_away(client: Document) -> str:
    times = f", {client['times']:,} times" if client["times"] > 1 else ""
    return report.printable(f"turned away{times}, last at {client['last_at']}: {client['reason']}") + "\n"


def _certificate(found: Document) -> str:
    kept = f"certificate of {found['of']} kept, it expires at {found['expires_at']}: {found['problem']}"
    return report.printable(kept) + "\n"


def _group(name: str, envoys: Iterable[Document]) -> Document:
    own = [envoy for envoy in envoys if envoy["group"] == name]
    refusing = sum(bool(envoy["refused"]) for envoy in own)
    synced = sum(envoy["synced"] for envoy in own)
    waiting = sum(not envoy["synced"] and not envoy["refused"] for envoy in own)
    return {"group": name, "envoys": len(own), "synced": synced, "refusing": refusing, "waiting": waiting}


def _policy(policy: Document, colour: bool) -> str:
    commit = f" of commit {policy['commit']}" if policy["commit"] else ""
    served = "serving nothing yet"
    if policy["digest"]:
        served = f"serving {policy['digest']}{commit} since {policy['loaded_at']}"
    diagnostics = [_diagnostic(found) for found in policy["diagnostics"]]
    counts = f", {report.summary(diagnostics)}" if diagnostics else ""
    return f"policy {policy['state']}{counts}, {served}\n" + _last_good(policy) + _blocks(diagnostics, colour)


def _last_good(policy: Document) -> str:
    found = policy.get("last_good")
    if found is None:
        return ""
    parts = "" if found["fleet"] else "; its resources alone: nothing live can be set, nothing explained"
    return report.printable(f"that is the last good, from the disk, as of {found['since']}{parts}") + "\n"


def _git(git: Document | None) -> str:
    """What keeps the branch that is followed from being served."""
    if git is None:
        return ""
    said = []
    if git["pinned"]:
        said.append(f"pinned to {git['pinned'][:SHOWN]}, while {git['remote']} is at {git['head'][:SHOWN] or '?'}")
    elif git["refused"]:
        said.append(f"{git['remote']} is at {git['refused'][:SHOWN]}, which is refused: {git['reason']}")
    if git["problem"]:
        said.append(f"{git['remote']} cannot be read: {git['problem']}")
    return "".join(report.printable(line) + "\n" for line in said)


def _kept(kept: Document | None) -> str:
    if kept is None or not kept["problem"]:
        return ""
    stays = f"that of {kept['digest']}" if kept["digest"] else "nothing"
    return report.printable(f"not kept on the disk, which has {stays}: {kept['problem']}") + "\n"


def _diagnostic(found: Document) -> Diagnostic:
    place = Position(found["file"], found["line"], found["column"])
    return Diagnostic(found["code"], Severity(found["severity"]), place, found["message"], found["hint"])


def _blocks(diagnostics: Iterable[Diagnostic], colour: bool) -> str:
    """As the compiler prints them, but without the lines: the server's files may be elsewhere."""
    return report.text(diagnostics, Sources(()), Path("policies"), colour)


def _held_back(held: Document, commit: str) -> Diagnostic:
    type_, origin = ResourceType[held["type"].upper()], _position(held["origin"])
    return held_back(HeldBack(held["code"], type_, held["name"], held["breaks"], origin, held["kept"]), commit)


def _refusals(envoys: Iterable[Document], commit: str) -> list[Diagnostic]:
    """One for all Envoys that refuse the same for the same reason."""
    by_refusal: dict[tuple[str, ...], list[str]] = {}
    for envoy in envoys:
        for refused in envoy["refused"]:
            kept = "goes without it" if refused["kept"] is None else "keeps the version before"
            name = refused["route"] or refused["name"]
            key = (refused["origin"], refused["type"], name, refused["detail"] + at(commit), kept)
            by_refusal.setdefault(key, []).append(envoy["node"])
    return [_refusal(key, nodes) for key, nodes in by_refusal.items()]


def _refusal(key: tuple[str, ...], nodes: Sequence[str]) -> Diagnostic:
    origin, type_, name, detail, kept = key
    message = f"{_who(nodes)} refused {type_} '{name}': {detail}"
    each = "the Envoy" if len(nodes) == 1 else "each Envoy"
    return error("X101", _position(origin), message, f"{each} {kept}")


def _who(nodes: Sequence[str]) -> str:
    if len(nodes) == 1:
        return f"envoy {nodes[0]}"
    named = ", ".join(nodes[:NAMED])
    return f"envoys {named}" + (f" and {len(nodes) - NAMED} more" if len(nodes) > NAMED else "")


def _position(text: str) -> Position:
    """The place that `text` shows; see `Position.__str__`."""
    file, *numbers = text.rsplit(":", 2)
    if len(numbers) == 2 and all(number.isdigit() for number in numbers):
        return Position(file, int(numbers[0]), int(numbers[1]))
    return Position(text, 0, 0)


_GROUP_COLUMNS = ("GROUP", "ENVOYS", "SYNCED", "REFUSING", "WAITING")
_ENVOY_COLUMNS = ("ENVOY", "GROUP", "ZONE", "STREAMS", "STATE")


def _group_row(group: Document) -> tuple[str, ...]:
    numbers = (group["envoys"], group["synced"], group["refusing"], group["waiting"])
    return group["group"], *(f"{number:,}" for number in numbers)


def _envoy_row(envoy: Document) -> tuple[str, ...]:
    services = "+".join(stream["service"] for stream in envoy["streams"])
    variants = "+".join(sorted({stream["variant"] for stream in envoy["streams"]}))
    return envoy["node"], envoy["group"], envoy["zone"] or "-", f"{services} {variants}", envoy["state"]


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Columns as wide as what is in them. Names are the Envoys' own words."""
    lines = [head, *(tuple(report.printable(cell) for cell in row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() + "\n" for line in lines
    )
