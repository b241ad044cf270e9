"""Classes of requests for which a change decides otherwise: who took them, who takes them, and one that shows it.

A class is what two stations have in common, one of the fleet before and one of that after, less what the stations above
these take. Only where their effects differ is it looked for, so its cost follows the change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from compiler.diagnostics import BUILT_IN
from compiler.diff.capabilities import asked_sets
from compiler.diff.effect import of_kind
from compiler.diff.places import Place, places
from compiler.diff.stations import Station, of_host, stations
from compiler.fleet import Condition, Field, Fleet, Gateway, Operator
from compiler.prove.cover import Steps, TooLargeError, uncovered
from compiler.prove.points import METHOD, PATH
from compiler.prove.space import Box, Space, intersection
from compiler.request import MODELS_PATH, OPENAI_PATHS, Request

MOST_PAIRS = 2_000
"""Of stations of one orchestrator that are looked at; the others are counted."""

_STREAMS = Condition(Field.STREAM, "", Operator.EQ, (True,), BUILT_IN)
_BOTH_KINDS = (False, True)


@dataclass(frozen=True, slots=True)
class Naming:
    """How requests name a model."""

    names: tuple[str, ...] = ()
    """Those that do are meant; with `unknown` those that name something else."""
    unknown: bool = False
    unnamed: bool = False
    """Those that name nothing and could are meant too."""
    everything: bool = False

    def has(self, request: Request) -> bool:
        if self.everything:
            return True
        if request.method == "GET" and request.path == MODELS_PATH:
            return False
        if request.model is None:
            return self.unnamed and request.method == "POST" and request.path in OPENAI_PATHS
        return (request.model in self.names) is not self.unknown and bool(self.names or self.unknown)


@dataclass(frozen=True, slots=True)
class RequestClass:
    place: Place
    naming: Naming
    before: Station
    after: Station
    above: tuple[Station, ...]
    """Of both fleets: what these take is not of the class."""
    stream: bool | None
    """Of this kind alone; None: of both."""
    witness: Request | None
    """One of the class; None where a regular expression decides whether there is any."""

    def matches(self, request: Request) -> bool:
        return (
            self.stream in (None, request.stream)
            and self.place.has(request.host)
            and self.naming.has(request)
            and self.before.takes(request)
            and self.after.takes(request)
            and not any(station.takes(request) for station in self.above)
        )

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Of both stations, each once."""
        return tuple(
            {(c.asked, c.operator, c.values): c for s in (self.before, self.after) for c in s.conditions}.values()
        )


@dataclass(frozen=True, slots=True)
class Classes:
    found: tuple[RequestClass, ...]
    left_out: int
    """Pairs of rules of which it is not known whether a request meets both."""
    host_count: int
    """Places where requests come in, changed or not."""


def request_classes(before: Fleet, after: Fleet) -> Classes:
    everywhere = places(before, after)
    run = _Run(before, after)
    found = tuple(found for place in everywhere for found in run.at(place))
    return Classes(found, run.left_out, len(everywhere))


@dataclass(slots=True)
class _Run:
    before: Fleet
    after: Fleet
    left_out: int = 0
    steps: Steps = field(default_factory=Steps)

    def at(self, place: Place) -> Iterator[RequestClass]:
        if place.before is None or place.after is None:
            witness = Request(host=place.example)
            one, other = of_host(place.before), of_host(place.after)
            yield RequestClass(place, Naming(everything=True), one, other, (), None, witness)
            return
        for naming, name in _namings(self.before, place.before, self.after, place.after):
            yield from self._named(place, naming, name, place.before, place.after)

    def _named(
        self, place: Place, naming: Naming, name: str | None, before: Gateway, after: Gateway
    ) -> Iterator[RequestClass]:
        pairs = _Pairs(stations(self.before, before, name), stations(self.after, after, name))
        changed = pairs.changed()
        if not changed:
            return
        if len(pairs.before) == 1 and len(pairs.after) == 1:
            _, _, stream = changed[0]
            witness = Request(host=place.example, model=name, stream=bool(stream))
            yield RequestClass(place, naming, pairs.before[0], pairs.after[0], (), stream, witness)
            return
        self.left_out += len(changed[MOST_PAIRS:])
        looked_at = changed[:MOST_PAIRS]
        regions = _Regions(pairs, looked_at, naming, name)
        self.left_out += 0 if regions.complete else 1
        for i, j, stream in looked_at:
            above = pairs.above(i, j)
            try:
                example, is_possible = regions.witness(i, j, above, stream, self.steps)
            except TooLargeError:
                self.left_out += 1
                continue
            if is_possible:
                shown = None if example is None else replace(example, host=place.example)
                yield RequestClass(place, naming, pairs.before[i], pairs.after[j], above, stream, shown)


def _namings(before: Fleet, one: Gateway, after: Fleet, other: Gateway) -> Iterator[tuple[Naming, str | None]]:
    """Each way to name a model that either gateway tells apart, with a name of it."""
    choosers = [g.orchestrator.name for g in (one, other) if g.orchestrator is not None]
    named = {name: who for name, who in _names(before, one).items() if name not in choosers}
    named_after = {name: who for name, who in _names(after, other).items() if name not in choosers}
    alike: dict[tuple[str | None, str | None], list[str]] = {}
    for name in {**named, **named_after}:
        alike.setdefault((named.get(name), named_after.get(name)), []).append(name)
    for names in alike.values():
        yield Naming(tuple(names)), names[0]
    all_names = tuple(sorted({*named, *named_after, *choosers}))
    nobodys = "nobody"
    while nobodys in all_names:
        nobodys += "-else"
    yield Naming(all_names, unknown=True), nobodys
    both = len(choosers) == 2 and choosers[0] == choosers[1]
    yield Naming((choosers[0],) if both else (), unnamed=True), choosers[0] if both else None
    for name in () if both else dict.fromkeys(choosers):
        yield Naming((name,)), name


def _names(fleet: Fleet, gateway: Gateway) -> dict[str, str]:
    """By each name that a request may use, the model's own."""
    models = {model.name: model for model in fleet.models}
    return {name: of for of in gateway.models for name in (of, *models[of].aliases)}


@dataclass(slots=True)
class _Pairs:
    before: Sequence[Station]
    after: Sequence[Station]

    def changed(self) -> list[tuple[int, int, bool | None]]:
        """Those whose effects differ, with the kind of requests for which they do, and that may have requests."""
        same = {(id(one), id(other)): one.effect == other.effect for one in self.before for other in self.after}
        pairs = (
            (i, j)
            for i, one in enumerate(self.before)
            for j, other in enumerate(self.after)
            if not same[id(one), id(other)] and not self._is_taken_above(i, j)
        )
        return [(i, j, self._kind(i, j)) for i, j in pairs]

    def above(self, i: int, j: int) -> tuple[Station, ...]:
        """Stations that are asked before `i` or `j`, each once."""
        both = (*self.before[:i], *self.after[:j])
        return tuple({station.key: station for station in both}.values())

    def _is_taken_above(self, i: int, j: int) -> bool:
        """Whether some station above asks for nothing that the two do not."""
        asked = self.before[i].key | self.after[j].key
        return any(station.key <= asked for station in (*self.before[:i], *self.after[:j]))

    def _kind(self, i: int, j: int) -> bool | None:
        one, other = self.before[i].effect, self.after[j].effect
        kinds = [kind for kind in _BOTH_KINDS if of_kind(one, kind) != of_kind(other, kind)]
        return kinds[0] if len(kinds) == 1 else None


class _Regions:
    """The requests of pairs of stations, as boxes of one space."""

    def __init__(
        self, pairs: _Pairs, looked_at: Iterable[tuple[int, int, bool | None]], naming: Naming, name: str | None
    ) -> None:
        self._pairs = pairs
        sets, self.complete = asked_sets((*pairs.before, *pairs.after))
        asks: dict[object, Sequence[Condition]] = {}
        together = ((*pairs.before[i].conditions, *pairs.after[j].conditions) for i, j, _ in looked_at)
        alone = (station.conditions for station in (*pairs.before, *pairs.after))
        for ask in (*alone, (_STREAMS,), *together, *sets):
            asks.setdefault(frozenset((c.asked, c.operator, c.values) for c in ask), ask)
        self._space = space = Space(asks.values(), name or "")
        boxes = ((space.unnamed,) if naming.unnamed else (), space.named if naming.names else ())
        self._entries = tuple(box for several in boxes for box in several)
        lists = (space.only(METHOD, lambda method: method == "GET"), space.only(PATH, lambda path: path == MODELS_PATH))
        self._models_list = intersection(*lists)
        self._boxes: dict[object, Box] = {}

    def witness(
        self, i: int, j: int, above: Iterable[Station], stream: bool | None, steps: Steps
    ) -> tuple[Request | None, bool]:
        """A request of the pair, and whether there may be any. Raises TooLargeError."""
        space = self._space
        kind = space.whole if stream is None else space.only((Field.STREAM, ""), lambda value: value is stream)
        own = (self._box(self._pairs.before[i]), self._box(self._pairs.after[j]), kind)
        others = [self._box(station) for station in above]
        if self._models_list is not None:
            others.append(self._models_list)
        for bounds in ((space.known,), ()):
            for entry in self._entries:
                box = intersection(entry, *own, *bounds)
                left = None if box is None else uncovered(box, others, steps)
                if left is not None:
                    return (space.request(left) if bounds else None), True
        return None, False

    def _box(self, station: Station) -> Box:
        if station.key not in self._boxes:
            box = self._space.box(station.conditions)
            within = station.within
            if within is not None:
                asking = self._space.only((Field.CAPABILITY, ""), lambda asked: bool(asked) and asked <= within)
                box = tuple(mine & its for mine, its in zip(box, asking, strict=True))
            self._boxes[station.key] = box
        return self._boxes[station.key]
