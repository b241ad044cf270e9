"""Where a change moves the requests of a profile."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from compiler.diff.effect import Effect, answered, effect, lost, of_kind
from compiler.diff.listing import Listing
from compiler.diff.profile import Recorded
from compiler.diff.request_class import RequestClass
from compiler.diff.stations import chooses
from compiler.evaluate import Chosen, Decision, Look, carrier_of, evaluate, gateway_asked, reads_bodies
from compiler.fleet import Backend, Carrier, Fleet, Gateway, LengthUnit, MirrorShare
from compiler.request import MODEL_NAME_HEADER, MalformedRequestError, Request, joined, path_name, read_request

NOBODY = "nobody"


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
    lose: float
    """Answered before, and by nobody after; of a split the share of it."""
    gain: float
    unanswered: float
    """By nobody, before and after."""
    malformed: int
    """Answered 400 before any route is asked."""
    aspects: Mapping[str, int]
    """`timeouts`, `retries`, `limits`, …: requests for which they differ."""
    by_class: Mapping[int, int]
    """Requests by the number of their class."""


def weighed(before: Fleet, after: Fleet, profile: Iterable[Recorded], classes: Iterable[RequestClass]) -> Weighed:
    tally = _Tally(_Side(before), _Side(after), Listing(before, after), _Numbered(classes))
    for recorded in profile:
        tally.add(recorded)
    moves = (Move(*pair, round(requests, 6)) for pair, requests in tally.moves.items())
    return Weighed(
        requests=tally.counts["requests"],
        changed=tally.counts["changed"],
        moves=tuple(sorted(moves, key=lambda move: (-move.requests, move.source, move.target))),
        lose=_count(tally.lose),
        gain=_count(tally.gain),
        unanswered=_count(tally.unanswered),
        malformed=tally.counts["malformed"],
        aspects=dict(sorted(tally.aspects.items())),
        by_class=dict(sorted(tally.by_class.items())),
    )


def _count(requests: float) -> float:
    """A whole number where it is one."""
    exact = round(float(requests), 6)
    return int(exact) if exact.is_integer() else exact


class _Numbered:
    """Classes, found by the names that they are for: a fleet has as many as it has models."""

    def __init__(self, classes: Iterable[RequestClass]) -> None:
        self._named: dict[str, list[tuple[int, RequestClass]]] = {}
        self._others: list[tuple[int, RequestClass]] = []
        for number, each in enumerate(classes):
            if each.naming.unknown or each.naming.unnamed or not each.naming.names:
                self._others.append((number, each))
            else:
                for name in each.naming.names:
                    self._named.setdefault(name, []).append((number, each))

    def of(self, request: Request) -> int | None:
        """The number of the class that has `request`."""
        names = {request.model, path_name(request.path), joined(request.headers, MODEL_NAME_HEADER)} - {None}
        likely = (entry for name in names for entry in self._named.get(name or "", ()))
        return next((n for n, each in itertools.chain(likely, self._others) if each.matches(request)), None)


@dataclass(slots=True)
class _Side:
    fleet: Fleet
    named: dict[tuple[str, str, bool, Look], Effect] = field(default_factory=dict)
    """By gateway, by the name of who is asked, whether a stream is, and by what is known of instances: nothing else of
    such a request decides."""
    decided: dict[object, Effect] = field(default_factory=dict)
    """By what was decided: many requests come to few decisions, and words for one take longer than to come to it."""

    def gateway(self, host: str) -> Gateway | None:
        return gateway_asked(self.fleet, host, None)

    def unit(self, host: str) -> LengthUnit:
        gateway = self.gateway(host)
        return gateway.length_unit if gateway else LengthUnit.CHARACTERS

    def carrier(self, host: str) -> Carrier | None:
        gateway = self.gateway(host)
        return None if gateway is None else carrier_of(gateway, host)

    def asked(self, request: Request, host: str, look: Look) -> Effect:
        """As `turnout explain` asks."""
        gateway, name = self.gateway(host), request.model
        if gateway is None or name is None or chooses(gateway, name) or not reads_bodies(gateway, host):
            return self._effect(request, gateway, look)
        key = gateway.name, name, request.stream, look
        if key not in self.named:
            self.named[key] = self._effect(request, gateway, look)
        return self.named[key]

    def _effect(self, request: Request, gateway: Gateway | None, look: Look) -> Effect:
        decision = evaluate(self.fleet, request, gateway)
        key = _key(decision), request.stream, look
        if key not in self.decided:
            self.decided[key] = of_kind(effect(decision, look), request.stream)
        return self.decided[key]


def _key(of: Decision) -> object:
    """Equal for decisions of one fleet that do the same, whatever was asked on the way. Of what the fleet keeps, the
    identity: models are long to compare."""
    targets = tuple((*_who(t), t.share, tuple(map(_who, t.hops)), tuple(map(_who, t.instead_of))) for t in of.targets)
    mirrors = tuple((*_who(mirror), mirror.weight, mirror.percent) for mirror in of.mirrors)
    settings = id(of.fault), id(of.retries), id(of.timeouts)
    return of.stage, of.gateway, of.rule, of.origin, of.refusal, of.carrier, targets, mirrors, settings


def _who(of: Chosen | Backend | MirrorShare) -> tuple[int, int]:
    return id(of.model), id(of.version)


def _read(recorded: Recorded, unit: LengthUnit, reads_body: bool) -> Request:
    """Raises MalformedRequestError."""
    request = read_request(recorded.sent, unit, reads_body=reads_body)
    if recorded.prompt_length is not None and reads_body:
        request = replace(request, prompt_length=recorded.prompt_length)
    return request


@dataclass(slots=True)
class _Tally:
    before: _Side
    after: _Side
    listing: Listing
    classes: _Numbered
    counts: Counter[str] = field(default_factory=Counter)
    lose: float = 0
    gain: float = 0
    unanswered: float = 0
    moves: dict[tuple[str, str], float] = field(default_factory=dict)
    aspects: Counter[str] = field(default_factory=Counter)
    by_class: Counter[int] = field(default_factory=Counter)

    def add(self, recorded: Recorded) -> None:
        self.counts["requests"] += recorded.count
        recorded = recorded if recorded.sent.host else self._with_host(recorded)
        host = recorded.sent.host
        # Where only one side reads bodies the other leaves them out by itself.
        reads_body = any(reads_bodies(side.gateway(host), host) for side in (self.before, self.after))
        try:
            unit, unit_then = self.before.unit(host), self.after.unit(host)
            request = _read(recorded, unit, reads_body)
            request_then = request if unit is unit_then else _read(recorded, unit_then, reads_body)
        except MalformedRequestError:
            self.counts["malformed"] += recorded.count
            return
        look, look_then = self.listing.looks(self.before.carrier(host), self.after.carrier(host))
        before, after = self.before.asked(request, host, look), self.after.asked(request_then, host, look_then)
        self.lose += lost(before, after) * recorded.count
        self.gain += lost(after, before) * recorded.count
        self.unanswered += (1 - max(answered(before), answered(after))) * recorded.count
        if before == after:
            return
        self.counts["changed"] += recorded.count
        for aspect in _aspects(before, after):
            self.aspects[aspect] += recorded.count
        for pair, share in moved(_shares(before), _shares(after)).items():
            self.moves[pair] = self.moves.get(pair, 0) + share * recorded.count
        number = self.classes.of(request)
        if number is not None:
            self.by_class[number] += recorded.count

    def _with_host(self, recorded: Recorded) -> Recorded:
        """One that names none is meant for the gateway where something can be chosen, as `turnout explain` has it."""
        gateway = self.after.gateway("")
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


def _shares(effect: Effect) -> dict[str, float]:
    if effect["error"]:
        return {NOBODY: 1}
    shares: dict[str, float] = {}
    for target in effect["targets"]:
        by = target["answeredBy"]
        name = NOBODY if by is None else f"{by['model']} {by['version']}"
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
    if before["targets"] and after["targets"] and _owners(before) != _owners(after):
        yield "rights"


def _owners(effect: Effect) -> dict[str, str]:
    return {target["model"]: target["tenant"] for target in effect["targets"] if target["tenant"] is not None}


def _of_targets(before: Effect, what: str, after: Effect) -> bool:
    """Whether a target that stays has another `what`."""
    one, other = ({(t["model"], t["version"]): t[what] for t in effect["targets"]} for effect in (before, after))
    return any(one[key] != other[key] for key in one.keys() & other.keys())
