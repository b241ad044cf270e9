"""What is not sound is not served: its last good version stays, or it is left out with all that would lead to it.

All else goes on as policy has it. What is put back brings along what it needs and policy has no more.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from xds.blame import held_back
from xds.logs import FIELDS
from xds.mending import Mending
from xds.snapshot import HeldBack, ResourceSet, ResourceType, Snapshot
from xds.soundness.live_weights import Weightless, weightless, without
from xds.soundness.problems import Examiner, listeners_are_sound
from xds.soundness.resources import examined

STEPS = 100
"""Each puts something back or leaves something out: three at most for each thing that follows from another, which may
be a cluster, an aggregate, the routes to it."""

log = logging.getLogger(__name__)


def sound(made: Snapshot, before: Snapshot | None, examiner: Examiner, group: str = "") -> Snapshot:
    """`made`, of `group`, but what is not sound as it was in `before`, which was sound, or not at all."""
    found = examiner.problems(made, before, group)
    if not found:
        return made
    mending = Mending(made, before)
    for _ in range(STEPS):
        mending.mend(found)
        found = examiner.problems(mending.snapshot(), before, group)
        if not found:
            return replace(mending.snapshot(), held=mending.held())
    raise RuntimeError(f"group '{group}' cannot be mended: {found[0]}")


def sound_listeners(placed: Snapshot, base: Snapshot, before: Snapshot | None) -> Snapshot:
    """`placed`, which is `base`, that is sound, with the listeners of a placement; `before` had the same placement."""
    if listeners_are_sound(placed):
        return replace(placed, held=base.held)
    found = sound(placed, before, Examiner())
    return replace(found, held=tuple(dict.fromkeys((*base.held, *found.held))))


def sound_layer(layer: ResourceSet, snapshot: Snapshot, before: Snapshot | None) -> Snapshot:
    """`snapshot`, which is sound, with `layer`; where a split would get no weight by it, with the layer of `before`, or
    without that split."""
    held = tuple(of for of in snapshot.held if of.type is not ResourceType.RUNTIME)
    wrong = [(of, broken) for of in layer.values() for broken in examined(of, ResourceType.RUNTIME).broken]
    if wrong:
        refused = (HeldBack("X102", ResourceType.RUNTIME, of.name, str(why), of.origin, True) for of, why in wrong)
        good = (before or snapshot)[ResourceType.RUNTIME]
        return replace(snapshot.having(ResourceType.RUNTIME, good), held=(*held, *refused))
    served = snapshot.having(ResourceType.RUNTIME, layer)
    found = weightless(served)
    if not found:
        return served if held == snapshot.held else replace(served, held=held)
    kept = None if before is None else snapshot.having(ResourceType.RUNTIME, before[ResourceType.RUNTIME])
    if kept is None or weightless(kept):
        prefixes = [of.prefix for of in found]
        kept = snapshot.having(ResourceType.RUNTIME, ResourceSet(without(of, prefixes) for of in layer.values()))
    return replace(kept, held=(*held, *_without_weight(found, layer, snapshot)))


def _without_weight(found: Iterable[Weightless], layer: ResourceSet, snapshot: Snapshot) -> Iterator[HeldBack]:
    lines = {name: place for table in snapshot[ResourceType.ROUTE].values() for name, place in table.lines}
    (whole, *_) = layer.values()
    for route in dict.fromkeys(of.route.removesuffix("/stream") for of in found):
        origin = lines.get(route, whole.origin)
        yield HeldBack("X103", ResourceType.RUNTIME, route, "weights sum to more than 0", origin, True)


class Told:
    """Says in the log what is held back, each once, and when it is no more."""

    def __init__(self) -> None:
        self._told: Mapping[HeldBack, None] = {}

    def all(self, held: Iterable[HeldBack], commit: str) -> None:
        """These and no others are held back now."""
        now = dict.fromkeys(held)
        for over in self._told.keys() - now.keys():
            fields = _fields("no longer held back", over)
            text = "%s: %s no longer held back: %s '%s'"
            log.info(text, over.origin, over.code, over.type.label, over.name, extra={FIELDS: fields})
        told, self._told = self._told, now
        self._say((of for of in now if of not in told), commit)

    def more(self, held: Iterable[HeldBack], commit: str) -> None:
        """These are held back, too."""
        new = dict.fromkeys(of for of in held if of not in self._told)
        self._told = {**self._told, **new}
        self._say(new, commit)

    def _say(self, held: Iterable[HeldBack], commit: str) -> None:
        for of in held:
            said = held_back(of, commit)
            fields = _fields("held back", of) | {"message": said.message, "hint": said.hint}
            if commit:
                fields["commit"] = commit
            log.error("%s: %s %s; %s", said.position, said.code, said.message, said.hint, extra={FIELDS: fields})


def _fields(event: str, of: HeldBack) -> dict[str, object]:
    """For a log of JSON."""
    place = {"file": of.origin.file, "line": of.origin.line, "column": of.origin.column}
    return {"event": event, "code": of.code, "type": of.type.label, "resources": [of.name], **place}
