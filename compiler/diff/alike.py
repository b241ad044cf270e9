"""Names of models that need no second look: all that decides requests for them is the same object on both sides."""

from __future__ import annotations

from compiler.diff.naming import Naming, names
from compiler.diff.places import Place
from compiler.diff.stations import chooses
from compiler.fleet import Fallback, Fleet, Gateway


class Alike:
    """What an edit leaves alone is the very object of before, where the two sides were compiled one after the other."""

    def __init__(self, before: Fleet, one: Gateway, after: Fleet, other: Gateway, place: Place) -> None:
        self._gateways = one, other
        self._named, self._named_after = names(before, one), names(after, other)
        self._models, self._models_after = ({model.name: model for model in of.models} for of in (before, after))
        self._fallback, fallback = _fallback(one), _fallback(other)
        seen_alike = len(set(place.bodiless)) == 1 and len(set(place.looks)) == 1
        self._any = seen_alike and self._fallback == fallback

    def are(self, naming: Naming, name: str | None) -> bool:
        if not self._any or naming.unnamed or name is None or any(chooses(of, name) for of in self._gateways):
            return False
        own = self._named.get(name)
        if own is None or self._named_after.get(name) != own:
            return False
        mirror = self._models[own].mirror
        copied = () if mirror is None else (mirror.model,)
        decide = (own, *self._fallback.after_naming(own), *copied)
        return all(self._models.get(of) is self._models_after.get(of) for of in decide)


def _fallback(gateway: Gateway) -> Fallback:
    return Fallback() if gateway.orchestrator is None else gateway.orchestrator.fallback
