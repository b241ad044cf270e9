"""How requests name a model: which names two gateways tell apart, and where either looks for them.

Turnout's own Envoys and Istio's take the name from the header, else the path, else the body. The Gateway API reads no
body, and a longer path wins: there it is the path's, and the header's where nothing comes of that.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from compiler.diff.places import Place
from compiler.diff.stations import bodiless_stations
from compiler.fleet import Fleet, Gateway
from compiler.request import MODEL_NAME_HEADER, MODELS_PATH, OPENAI_PATHS, Request, joined, path_model, path_name


class By(StrEnum):
    """Where the name stands."""

    ANY = "header, path or body"
    """Where both sides read bodies, which of them makes no difference."""
    OUTSIDE = "header or path"
    BODY = "body"
    LIST = "list of models"
    """Nowhere: the names themselves are asked for."""
    TWICE = "header and path"
    """Two names, of which one side might take the one and the other the other."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Who reads what of a request, before a change and after it."""

    bodiless: tuple[bool, bool] = (False, False)
    settled: frozenset[str] = frozenset()
    """Where nobody reads bodies: names that, in a path, leave the header without a say."""
    partly: frozenset[str] = frozenset()
    """Names that leave it one on one side, or for some requests."""

    def said(self, request: Request) -> tuple[By, str | None]:
        if not any(self.bodiless):
            return (By.LIST, None) if _asks_for_the_list(request) else (By.ANY, request.model)
        path, header = path_name(request.path), joined(request.headers, MODEL_NAME_HEADER) or None
        return self._outside(path, header) if all(self.bodiless) else _mixed(request, path, header)

    def _outside(self, path: str | None, header: str | None) -> tuple[By, str | None]:
        if path in self.partly and header not in (None, path):
            return By.TWICE, None
        return By.OUTSIDE, path if path in self.settled | self.partly else header or path


def _mixed(request: Request, path: str | None, header: str | None) -> tuple[By, str | None]:
    """Where one side reads bodies."""
    if request.path == MODELS_PATH:
        return (By.TWICE if header else By.LIST), None
    if path is not None and (path_model(request.path) != path or header not in (None, path)):
        return By.TWICE, None
    return (By.OUTSIDE, header or path) if header or path else (By.BODY, request.model)


def _asks_for_the_list(request: Request) -> bool:
    return request.method == "GET" and request.path == MODELS_PATH


@dataclass(frozen=True, slots=True)
class Naming:
    """One way to name a model."""

    names: tuple[str, ...] = ()
    """Those that do are meant; with `unknown` those that name something else."""
    unknown: bool = False
    unnamed: bool = False
    """Those that name nothing and could are meant too."""
    everything: bool = False
    by: By = By.ANY
    reading: Reading = Reading()

    def has(self, request: Request) -> bool:
        if self.everything:
            return True
        by, name = self.reading.said(request)
        if by is not self.by:
            return False
        if by in (By.LIST, By.TWICE):
            return by is By.TWICE or request.method == "GET"
        if name is None:
            return self.unnamed and request.method == "POST" and request.path in OPENAI_PATHS
        return (name in self.names) is not self.unknown and bool(self.names or self.unknown)


def namings(before: Fleet, after: Fleet, place: Place) -> Iterator[tuple[Naming, str | None]]:
    """Each way to name a model that either gateway tells apart, with a name of it; but for `By.TWICE`."""
    one, other = place.before, place.after
    assert one is not None
    assert other is not None
    choosers = [g.orchestrator.name for g in (one, other) if g.orchestrator is not None]
    named = {name: who for name, who in names(before, one).items() if name not in choosers}
    named_after = {name: who for name, who in names(after, other).items() if name not in choosers}
    alike: dict[tuple[str | None, str | None], list[str]] = {}
    for name in {**named, **named_after}:
        alike.setdefault((named.get(name), named_after.get(name)), []).append(name)
    all_names = tuple(sorted({*named, *named_after, *choosers}))
    nobodys = "nobody"
    while nobodys in all_names:
        nobodys += "-else"
    reading = reading_of(before, after, place)
    for by in _ways(reading):
        for several in alike.values():
            yield Naming(tuple(several), by=by, reading=reading), several[0]
        yield Naming(all_names, unknown=True, by=by, reading=reading), nobodys
        both = len(choosers) == 2 and choosers[0] == choosers[1]
        if by is not By.OUTSIDE:
            named_or_not = (choosers[0],) if both else ()
            yield Naming(named_or_not, unnamed=True, by=by, reading=reading), choosers[0] if both else None
        for name in () if both and by is not By.OUTSIDE else dict.fromkeys(choosers):
            yield Naming((name,), by=by, reading=reading), name
    if len(set(reading.bodiless)) == 2:
        yield Naming(by=By.LIST, reading=reading), None


def names(fleet: Fleet, gateway: Gateway) -> dict[str, str]:
    """By each name that a request may use, the model's own."""
    models = {model.name: model for model in fleet.models}
    return {name: of for of in gateway.models for name in (of, *models[of].aliases)}


def _ways(reading: Reading) -> tuple[By, ...]:
    if not any(reading.bodiless):
        return (By.ANY,)
    return (By.OUTSIDE,) if all(reading.bodiless) else (By.OUTSIDE, By.BODY)


def reading_of(before: Fleet, after: Fleet, place: Place) -> Reading:
    if not all(place.bodiless):
        return Reading(place.bodiless)
    sides = [(fleet, of) for fleet, of in ((before, place.before), (after, place.after)) if of is not None]
    (settled, partly), (settled_then, partly_then) = (_settled(fleet, gateway) for fleet, gateway in sides)
    settled_always = settled & settled_then
    return Reading(place.bodiless, settled_always, (settled | settled_then | partly | partly_then) - settled_always)


def _settled(fleet: Fleet, gateway: Gateway) -> tuple[frozenset[str], frozenset[str]]:
    """Names by which somebody answers whatever else a request says, and by which that depends."""
    known, chooser = frozenset(names(fleet, gateway)), gateway.orchestrator
    if chooser is None:
        return known, frozenset()
    always = bodiless_stations(fleet, gateway, chooser.name)[-1].effect["error"] is None
    return (known | {chooser.name}, frozenset()) if always else (known - {chooser.name}, frozenset({chooser.name}))
