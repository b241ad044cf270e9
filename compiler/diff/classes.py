"""Classes of requests for which a change decides otherwise: who took them, who takes them, and one that shows it.

A class is what two stations have in common, one of the fleet before and one of that after, less what the stations above
these take. Only where their effects differ is it looked for, so its cost follows the change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from compiler.diagnostics import BUILT_IN
from compiler.diff.alike import Alike
from compiler.diff.capabilities import asked_sets
from compiler.diff.effect import of_kind
from compiler.diff.naming import By, Naming, namings
from compiler.diff.places import Place, places
from compiler.diff.request_class import Classes, RequestClass
from compiler.diff.stations import Key, Station, bodiless_stations, list_station, of_host, stations
from compiler.diff.twice import named_twice
from compiler.evaluate import Look
from compiler.fleet import Condition, Field, Fleet, Gateway, Operator
from compiler.prove.cover import Steps, TooLargeError, uncovered
from compiler.prove.points import METHOD, MODEL_NAME, PATH
from compiler.prove.space import Box, Space, intersection
from compiler.request import MODEL_NAME_HEADER, MODELS_PATH, Request, path_name

MOST_PAIRS = 2_000
"""Of stations of one orchestrator that are looked at; the others are counted."""

_STREAMS = Condition(Field.STREAM, "", Operator.EQ, (True,), BUILT_IN)
_BOTH_KINDS = (False, True)


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
        alike = Alike(self.before, place.before, self.after, place.after, place)
        found: list[RequestClass] = []
        for naming, name in namings(self.before, self.after, place):
            if not alike.are(naming, name):
                found.extend(self._named(place, naming, name, place.before, place.after))
        yield from found
        if any(place.bodiless):
            shown = (each.witness for each in found if each.witness is not None)
            yield from named_twice(self.before, self.after, place, shown)

    def _named(
        self, place: Place, naming: Naming, name: str | None, before: Gateway, after: Gateway
    ) -> Iterator[RequestClass]:
        (bodiless, bodiless_then), (look, look_then) = place.bodiless, place.looks
        pairs = _Pairs(
            _stations(self.before, before, naming.by, name, bodiless, look),
            _stations(self.after, after, naming.by, name, bodiless_then, look_then),
        )
        changed = pairs.changed()
        if not changed:
            return
        if len(pairs.before) == 1 and len(pairs.after) == 1:
            _, _, stream = changed[0]
            witness = _shown(Request(model=name, stream=bool(stream)), place, naming, name)
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
                shown = None if example is None else _shown(example, place, naming, name)
                taken = tuple(of for of in pairs.above_once(i, j) if regions.meet(i, j, of))
                yield RequestClass(place, naming, pairs.before[i], pairs.after[j], above, stream, shown, taken)


def _stations(
    fleet: Fleet, gateway: Gateway, by: By, name: str | None, bodiless: bool, look: Look
) -> Sequence[Station]:
    if bodiless:
        return bodiless_stations(fleet, gateway, name if by is By.OUTSIDE else None)
    return (list_station(fleet, gateway),) if by is By.LIST else stations(fleet, gateway, name, look)


def _shown(example: Request, place: Place, naming: Naming, name: str | None) -> Request:
    """Where it comes in, and with the name where the class has it."""
    if naming.by is By.LIST:
        return Request(host=place.example, method="GET", path=MODELS_PATH)
    headers = {**example.headers, MODEL_NAME_HEADER: name} if naming.by is By.OUTSIDE and name else example.headers
    return replace(example, host=place.example, headers=headers)


@dataclass(slots=True)
class _Pairs:
    before: Sequence[Station]
    after: Sequence[Station]
    _keys: tuple[Sequence[Key], Sequence[Key]] = field(init=False)
    """Of the stations of either side, made once: each is compared with each pair."""

    def __post_init__(self) -> None:
        self._keys = tuple(s.key for s in self.before), tuple(s.key for s in self.after)

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
        return tuple({**self._by_key(0, i), **self._by_key(1, j)}.values())

    def above_once(self, i: int, j: int) -> tuple[Station, ...]:
        """Rules that are asked before `i` or `j`, on one side alone."""
        one, other = self._by_key(0, i), self._by_key(1, j)
        once = (s for key, s in {**one, **other}.items() if (key in one) is not (key in other))
        return tuple(station for station in once if station.conditions)

    def _by_key(self, side: int, end: int) -> dict[Key, Station]:
        return dict(zip(self._keys[side][:end], (self.before, self.after)[side], strict=False))

    def _is_taken_above(self, i: int, j: int) -> bool:
        """Whether some station above asks for nothing that the two do not."""
        one, other = self._keys
        asked = one[i] | other[j]
        return any(key <= asked for key in one[:i]) or any(key <= asked for key in other[:j])

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
        read = _where_read(space, naming, name)
        self._entries = tuple(met for several in boxes for box in several if (met := intersection(box, *read)))
        lists = (space.only(METHOD, lambda method: method == "GET"), space.only(PATH, lambda path: path == MODELS_PATH))
        # Who reads no bodies answers it as any other path.
        self._models_list = None if all(naming.reading.bodiless) else intersection(*lists)
        self._boxes: dict[int, Box] = {}
        """By the identity of their stations, which the pairs keep: what a station asks takes long to compare."""

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

    def meet(self, i: int, j: int, above: Station) -> bool:
        """Whether a request of both stations of the pair may be one of `above`, too."""
        stations = (self._pairs.before[i], self._pairs.after[j], above)
        return intersection(*map(self._box, stations)) is not None

    def _box(self, station: Station) -> Box:
        known = self._boxes.get(id(station))
        if known is None:
            box = self._space.box(station.conditions)
            within = station.within
            if within is not None:
                asking = self._space.only((Field.CAPABILITY, ""), lambda asked: bool(asked) and asked <= within)
                box = tuple(mine & its for mine, its in zip(box, asking, strict=True))
            self._boxes[id(station)] = known = box
        return known


def _where_read(space: Space, naming: Naming, name: str | None) -> tuple[Box, ...]:
    """The requests that have the name where the class has it."""
    if naming.by is By.ANY:
        return ()
    nowhere = naming.by is By.BODY
    header = space.only(MODEL_NAME, lambda value: value == (None if nowhere else name))
    lists = () if all(naming.reading.bodiless) else (MODELS_PATH,)
    ways = (None,) if nowhere else (None, name)
    path = space.only(PATH, lambda path: path is None or (path not in lists and path_name(path) in ways))
    return header, path
