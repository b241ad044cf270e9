"""Recorded requests, and where a change moves them.

A profile is JSONL, a request a line, as `turnout explain` takes it: `{"method", "path", "host", "headers", "tier",
"capability", "body", "prompt_length", "count"}`, each optional.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from compiler.diff.classes import RequestClass
from compiler.diff.effect import Effect, effect, of_kind
from compiler.evaluate import Decision, evaluate, gateway_asked
from compiler.fleet import Fleet, LengthUnit
from compiler.request import TIER_HEADER, MalformedRequestError, Request, Sent, read_request

MOST_PROBLEMS = 20
KEYS = ("method", "path", "host", "headers", "tier", "capability", "body", "prompt_length", "count")
NOBODY = "nobody"


class ProfileError(ValueError):
    """Lines that are no requests; `args` are one text a line, each with the line's number."""


@dataclass(frozen=True, slots=True)
class Recorded:
    sent: Sent
    prompt_length: int | None
    """In place of the body's, in the gateway's unit: so that a recording need not have prompts."""
    count: int


@dataclass(frozen=True, slots=True)
class Move:
    """Requests that get another answerer; a split counts by its shares."""

    source: str
    """`llama-70b 1.0`, or `nobody`."""
    target: str
    requests: float


@dataclass(frozen=True, slots=True)
class Weighed:
    """What a change does to the requests of a profile."""

    requests: int
    changed: int
    """In anything at all."""
    moves: tuple[Move, ...]
    """Those of most requests first."""
    lose: int
    """Answered before, and by nobody after."""
    gain: int
    unanswered: int
    """By nobody, before and after."""
    malformed: int
    """Answered 400 before any route is asked."""
    aspects: Mapping[str, int]
    """`timeouts`, `retries`, `limits`, …: requests for which they differ."""
    by_class: Mapping[int, int]
    """Requests by the number of their class."""


def read_profile(lines: Iterable[str], name: str) -> tuple[Recorded, ...]:
    """Raises ProfileError for lines that are no requests: a share of the others would be a share of something else."""
    counted: dict[str, int] = {}
    parsed: dict[str, tuple[Sent, int | None]] = {}
    problems: list[str] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            document = _document(line)
            count = _whole(document, "count", 1)
            key = json.dumps({**document, "count": 1}, sort_keys=True)
            if key not in parsed:
                parsed[key] = (
                    _sent(document),
                    _whole(document, "prompt_length", 0) if "prompt_length" in document else None,
                )
            counted[key] = counted.get(key, 0) + count
        except ValueError as problem:
            problems.append(f"{name}:{number}: {problem}")
    if not problems and not parsed:
        problems.append(f"{name}: no requests: one JSON object a line")
    if problems:
        rest = len(problems) - MOST_PROBLEMS
        more = (f"{name}: and {rest:,} more such lines",) if rest > 0 else ()
        raise ProfileError(*problems[:MOST_PROBLEMS], *more)
    return tuple(Recorded(*parsed[key], count) for key, count in counted.items())


def weighed(before: Fleet, after: Fleet, profile: Iterable[Recorded], classes: Iterable[RequestClass]) -> Weighed:
    tally = _Tally(before, after, tuple(classes))
    for recorded in profile:
        tally.add(recorded)
    moves = (Move(*pair, round(requests, 6)) for pair, requests in tally.moves.items())
    return Weighed(
        requests=tally.counts["requests"],
        changed=tally.counts["changed"],
        moves=tuple(sorted(moves, key=lambda move: (-move.requests, move.source, move.target))),
        lose=tally.counts["lose"],
        gain=tally.counts["gain"],
        unanswered=tally.counts["unanswered"],
        malformed=tally.counts["malformed"],
        aspects=dict(sorted(tally.aspects.items())),
        by_class=dict(sorted(tally.by_class.items())),
    )


@dataclass(slots=True)
class _Tally:
    before: Fleet
    after: Fleet
    classes: tuple[RequestClass, ...]
    counts: Counter[str] = field(default_factory=Counter)
    moves: dict[tuple[str, str], float] = field(default_factory=dict)
    aspects: Counter[str] = field(default_factory=Counter)
    by_class: Counter[int] = field(default_factory=Counter)

    def add(self, recorded: Recorded) -> None:
        self.counts["requests"] += recorded.count
        recorded = recorded if recorded.sent.host else self._with_host(recorded)
        try:
            request, one = _asked(self.before, recorded)
            _, other = _asked(self.after, recorded)
        except MalformedRequestError:
            self.counts["malformed"] += recorded.count
            return
        before, after = (of_kind(effect(decision), request.stream) for decision in (one, other))
        nobody = bool(before["error"]), bool(after["error"])
        self.counts[{(0, 1): "lose", (1, 0): "gain", (1, 1): "unanswered", (0, 0): "answered"}[nobody]] += (
            recorded.count
        )
        if before == after:
            return
        self.counts["changed"] += recorded.count
        for aspect in _aspects(before, after):
            self.aspects[aspect] += recorded.count
        for pair, share in moved(_shares(before), _shares(after)).items():
            self.moves[pair] = self.moves.get(pair, 0) + share * recorded.count
        number = next((n for n, found in enumerate(self.classes) if found.matches(request)), None)
        if number is not None:
            self.by_class[number] += recorded.count

    def _with_host(self, recorded: Recorded) -> Recorded:
        """One that names none is meant for the gateway where something can be chosen, as `turnout explain` has it."""
        gateway = gateway_asked(self.after, "", None)
        pattern = gateway.hosts[0].name if gateway else "*"
        host = f"any{pattern[1:]}" if pattern.startswith("*.") else pattern
        sent = recorded.sent
        return replace(recorded, sent=replace(sent, headers=(*sent.headers, ("host", host))))


def moved(before: Mapping[str, float], after: Mapping[str, float]) -> dict[tuple[str, str], float]:
    """From whom to whom shares go: no more than must, and of several takers each gets its part from each giver."""
    gives = {name: share - after.get(name, 0) for name, share in before.items() if share > after.get(name, 0)}
    takes = {name: share - before.get(name, 0) for name, share in after.items() if share > before.get(name, 0)}
    total = sum(takes.values())
    return {(giver, taker): given * taken / total for giver, given in gives.items() for taker, taken in takes.items()}


def _asked(fleet: Fleet, recorded: Recorded) -> tuple[Request, Decision]:
    """As `turnout explain` asks. Raises MalformedRequestError."""
    gateway = gateway_asked(fleet, recorded.sent.host, None)
    request = read_request(recorded.sent, gateway.length_unit if gateway else LengthUnit.CHARACTERS)
    if recorded.prompt_length is not None:
        request = replace(request, prompt_length=recorded.prompt_length)
    return request, evaluate(fleet, request, gateway)


def _shares(effect: Effect) -> dict[str, float]:
    if effect["error"]:
        return {NOBODY: 1}
    shares: dict[str, float] = {}
    for target in effect["targets"]:
        name = f"{target['model']} {target['version']}"
        shares[name] = shares.get(name, 0) + target["share"]
    return shares or {"the gateway": 1}


def _aspects(before: Effect, after: Effect) -> Iterable[str]:
    for name in ("timeouts", "retries", "mirrors", "fault"):
        if before[name] != after[name] and before["targets"] and after["targets"]:
            yield name
    if _of_targets(before, "limits", after):
        yield "limits"
    if _of_targets(before, "fallback", after):
        yield "fallback"


def _of_targets(before: Effect, what: str, after: Effect) -> bool:
    """Whether a target that stays has another `what`."""
    one, other = ({(t["model"], t["version"]): t[what] for t in effect["targets"]} for effect in (before, after))
    return any(one[key] != other[key] for key in one.keys() & other.keys())


def _document(line: str) -> Mapping[str, Any]:
    try:
        document = json.loads(line)
    except (ValueError, RecursionError) as problem:
        raise ValueError(f"not JSON: {problem}") from None
    if not isinstance(document, dict):
        raise ValueError("not a JSON object")
    unknown = [key for key in document if key not in KEYS]
    if unknown:
        raise ValueError(f"unknown key '{unknown[0]}': one of {', '.join(KEYS)}")
    return document


def _sent(document: Mapping[str, Any]) -> Sent:
    headers = _mapping(document, "headers")
    given = [(name.lower(), text) for name, value in headers.items() for text in _texts(value, f"header {name}")]
    if "tier" in document:
        given.append((TIER_HEADER, _text(document, "tier", "")))
    asked = _texts(document.get("capability", []), "capability")
    if asked:
        given.append(("x-capability", ",".join(asked)))
    host = _text(document, "host", "")
    if host:
        given.append(("host", host))
    body = json.dumps(_mapping(document, "body")).encode()
    return Sent(_text(document, "method", "POST"), _text(document, "path", "/v1/chat/completions"), tuple(given), body)


def _mapping(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = document.get(key, {})
    if not isinstance(value, dict):
        raise ValueError(f"{key} is not an object")
    return value


def _text(document: Mapping[str, Any], key: str, default: str) -> str:
    value = document.get(key, default)
    if not isinstance(value, str):
        raise ValueError(f"{key} is not text")
    return value


def _texts(value: Any, what: str) -> list[str]:
    texts = value if isinstance(value, list) else [value]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{what} is not text")
    return texts


def _whole(document: Mapping[str, Any], key: str, least: int) -> int:
    value = document.get(key, 1)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{key} is no whole number from {least}")
    return value
