"""Requests that name one model in the path and another in the header, where a side reads no bodies.

Such a side takes the path's name first, the others the header's; and a name that comes or goes hands requests from the
one to the other. Nobody who means well sends them, so they are one class, which is asked of each request.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import replace

from compiler.diff.effect import Effect, effect, of_kind
from compiler.diff.naming import By, Naming, names, reading_of
from compiler.diff.places import Place
from compiler.diff.request_class import RequestClass
from compiler.diff.stations import Station
from compiler.evaluate import Decision, Look, evaluate
from compiler.fleet import Fleet
from compiler.request import MODEL_NAME_HEADER, MODELS_PATH, Request

MOST_TRIED = 500
"""Pairs of names."""
NOBODYS = "nobody"


def named_twice(before: Fleet, after: Fleet, place: Place, shown: Iterable[Request]) -> Iterator[RequestClass]:
    """One class at most. Of `shown`, which have one name and are decided otherwise, some are with a second one, too."""
    naming = Naming(by=By.TWICE, reading=reading_of(before, after, place))

    look, look_then = place.looks

    def differs(request: Request) -> bool:
        one, other = evaluate(before, request), evaluate(after, request)
        return _seen(one, look, request) != _seen(other, look_then, request)

    tried = itertools.islice(_requests(before, after, place, naming, list(shown)), MOST_TRIED)
    witness = next((request for request in tried if naming.has(request) and differs(request)), None)
    if witness is not None:
        one, other = _station(evaluate(before, witness), look), _station(evaluate(after, witness), look_then)
        yield RequestClass(place, naming, one, other, (), None, witness, differs=differs)


def _requests(before: Fleet, after: Fleet, place: Place, naming: Naming, shown: Iterable[Request]) -> Iterator[Request]:
    sides = ((fleet, of) for fleet, of in ((before, place.before), (after, place.after)) if of is not None)
    known = sorted({name for fleet, gateway in sides for name in names(fleet, gateway)})
    partly = sorted(naming.reading.partly)
    paths = [f"/v1/models/{name}/predict" for name in (partly if all(place.bodiless) else known)]
    like = [Request(host=place.example), *(request for request in shown if request.model in partly)]
    for header, path, of in itertools.product((*partly, *known, NOBODYS), (*paths, MODELS_PATH), like):
        yield replace(of, path=path, headers={**of.headers, MODEL_NAME_HEADER: header}, model=header)


def _seen(decision: Decision, look: Look, request: Request) -> Effect:
    return of_kind(effect(decision, look), request.stream)


def _station(decision: Decision, look: Look) -> Station:
    return Station(decision.stage, decision.rule, (), None, effect(decision, look), decision.origin)
