"""The command `turnout rollback`: what it asks the server, and how it waits for the Envoys."""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from compiler import report
from xds.admin.overview import overview
from xds.client import LOOKING, Answer, NotAnsweredError, ask, authorization
from xds.observe.commits import SHOWN

BETWEEN = 0.25
"""Seconds between two looks at how the Envoys stand."""
NAMED = 20
"""Envoys that are named of those that have not confirmed."""
GONE = "its streams have ended; it is sent the commit when it is back"

_COMMIT = re.compile(r"[0-9a-f]{7,64}\Z", re.IGNORECASE)

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Confirmed:
    """How far a commit has come."""

    served: bool = False
    waiting: Mapping[str, str] | None = None
    """Envoys that have not confirmed, each with what it waits for; `None` while nothing is known."""
    envoys: frozenset[str] = frozenset()
    """All that have been seen since before the command, but for those that were turned away."""
    departed: Mapping[str, str] = field(default_factory=dict)
    """Those that had left before it and have not come back, each with the moment."""

    @property
    def over(self) -> bool:
        return self.served and self.waiting is not None and not self.waiting


def wrong_use(options: argparse.Namespace) -> str | None:
    """What no server needs to be asked about."""
    if options.release and options.commit is not None:
        return "either a SHA or --release"
    if options.commit is not None and not _COMMIT.match(options.commit):
        return f"{options.commit!r} is no commit: seven to 64 digits of its SHA"
    return None


def run(options: argparse.Namespace) -> int:
    """Exit status: 0 every Envoy has confirmed, 1 not so. Raises OSError when the token's file cannot be read."""
    try:
        headers = authorization(options.token_file)
        before = _before(options, headers)
        answer = _answer(options, headers)
    except (ValueError, NotAnsweredError) as problem:
        print(f"turnout: {problem}", file=sys.stderr)
        return 1
    found = answer.document
    if answer.status != 200 or not {"commit", "remote"} & found.keys():
        print("\n".join(_refused(answer)), file=sys.stderr)
        return 1
    if "remote" in found:
        print("\n".join(_stands(found)))
        return 0
    print(_turned(found), flush=True)
    confirmed = _confirmed(options, headers, found["commit"], before)
    if not confirmed.over:
        print("\n".join(_unconfirmed(confirmed, options.timeout)), file=sys.stderr)
    if confirmed.departed:
        print("\n".join(_not_asked(confirmed.departed)), file=sys.stderr)
    return 0 if confirmed.over and not found["problem"] else 1


def after(confirmed: Confirmed, status: Document, commit: str) -> Confirmed:
    """`status` is the answer of `/status`. Whoever was there once is waited for."""
    stand = {envoy["node"]: "" if envoy["synced"] else envoy["state"] for envoy in overview(status)["envoys"]}
    turned_away = {_node(found["client"]): f"turned away: {found['reason']}" for found in status["turned_away"]}
    envoys = confirmed.envoys | stand.keys()
    waiting = {node: why for node in envoys if (why := stand.get(node, GONE))} | turned_away
    known = envoys | turned_away.keys()
    departed = {found["node"]: found["left_at"] for found in status.get("departed", ()) if found["node"] not in known}
    served = status["policy"]["commit"] == commit[:SHOWN]
    return Confirmed(served, dict(sorted(waiting.items())), envoys, departed)


def _node(client: str) -> str:
    """Of a client that was turned away, which is told with what its certificate proves."""
    return client.partition(" (")[0]


def _answer(options: argparse.Namespace, headers: Mapping[str, str]) -> Answer:
    """Raises NotAnsweredError."""
    if options.release:
        return ask(options.admin, "/rollback", method="DELETE", headers=headers, timeout=LOOKING)
    if options.commit is None:
        return ask(options.admin, "/rollback", headers=headers)
    asked = json.dumps({"commit": options.commit}).encode()
    return ask(options.admin, "/rollback", asked, headers=headers, timeout=LOOKING)


def _before(options: argparse.Namespace, headers: Mapping[str, str]) -> frozenset[str]:
    """The Envoys that are there: one that leaves while the commit is compiled has not confirmed it. Raises
    NotAnsweredError."""
    if not options.release and options.commit is None:
        return frozenset()
    return frozenset(
        envoy["node"] for envoy in ask(options.admin, "/status", headers=headers).document.get("envoys", ())
    )


def _confirmed(
    options: argparse.Namespace, headers: Mapping[str, str], commit: str, before: frozenset[str]
) -> Confirmed:
    """Once all have, or when the time is up."""
    found, until, told = Confirmed(envoys=before), time.monotonic() + options.timeout, ""
    while True:
        try:
            answer = ask(options.admin, "/status", headers=headers)
            if {"policy", "envoys"} <= answer.document.keys():
                if options.release and (newer := _newer(answer.document, commit)):
                    print(f"the branch is at {newer[:SHOWN]} by now", flush=True)
                    commit = newer
                found = after(found, answer.document, commit)
        except NotAnsweredError:
            found = Confirmed(envoys=found.envoys)
        if (said := _progress(found)) != told:
            print(said, flush=True)
        told = said
        if found.over or time.monotonic() >= until:
            return found
        time.sleep(BETWEEN)


def _newer(status: Document, commit: str) -> str:
    """What a branch that is followed has brought since that commit; empty where that is the newest."""
    git = status.get("git") or {"pinned": "", "served": commit}
    return "" if git["pinned"] or git["served"] == commit else str(git["served"])


def _progress(found: Confirmed) -> str:
    if not found.served or found.waiting is None:
        return "it is not served yet"
    if found.over:
        return f"confirmed by {_envoys(len(found.envoys))}" if found.envoys else "no Envoy is connected"
    every = found.envoys | found.waiting.keys()
    return f"confirmed by {len(every) - len(found.waiting):,} of {_envoys(len(every))}"


def _unconfirmed(found: Confirmed, seconds: float) -> Iterator[str]:
    if found.waiting is None:
        yield "turnout: the server has not answered; turnout status says how the Envoys stand"
        return
    if not found.served:
        yield f"turnout: the server does not serve it within {seconds:.0f} s; turnout status says why"
        return
    yield f"turnout: not confirmed within {seconds:.0f} s by {_envoys(len(found.waiting))}:"
    yield from _named(found.waiting.items())


def _not_asked(departed: Mapping[str, str]) -> Iterator[str]:
    yield f"warning: not asked, as it has left before: {_envoys(len(departed))}; where it runs, it serves what it had:"
    yield from _named((node, f"without a stream since {since}") for node, since in departed.items())


def _named(waiting: Iterable[tuple[str, str]]) -> Iterator[str]:
    every = list(waiting)
    yield from (report.printable(f"  {node}: {why}") for node, why in every[:NAMED])
    if len(every) > NAMED:
        yield f"  and {len(every) - NAMED:,} more: turnout status"


def _envoys(number: int) -> str:
    return "1 Envoy" if number == 1 else f"{number:,} Envoys"


def _turned(found: Document) -> str:
    commit = found["commit"][:SHOWN]
    if found["pinned"]:
        said = f"pinned to {commit}, until turnout rollback --release"
    else:
        said = f"released: serving {commit}" if found["problem"] else f"the branch again: {commit}"
    return said + (f"\nwarning: {found['problem']}" if found["problem"] else "")


def _stands(found: Document) -> Iterator[str]:
    yield f"{found['remote']} is at {found['head'][:SHOWN] or 'a commit that nobody knows yet'}"
    if found["pinned"]:
        yield f"pinned to {found['pinned'][:SHOWN]}, until turnout rollback --release"
    elif found["served"]:
        yield f"served: {found['served'][:SHOWN]}"
    if found["refused"]:
        yield f"refused: {found['refused'][:SHOWN]}: {found['reason']}"
    if found["problem"]:
        yield f"it cannot be read: {found['problem']}"


def _refused(answer: Answer) -> Iterator[str]:
    if answer.status == 404:
        yield "turnout: this server follows no repository: it has been started without --git"
        return
    for problem in answer.document.get("problems") or [{"message": answer.error}]:
        yield f"turnout: {problem['message']}"
        if problem.get("hint"):
            yield f"  = hint: {problem['hint']}"
