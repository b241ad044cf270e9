"""Live weights: an operator's word against the policy's, for a while.

An override is in force from the command that sets it until its time runs out, it is taken back, policy says the same,
or policy no longer has what it speaks of. When policy says the same the override is over for people, but its runtime
keys stay for a while: a runtime layer is sent before the routes, and an Envoy that lost the keys first would have the
old committed weights again until it has the new routes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from compiler.fleet import Fleet, Model

GRACE = timedelta(minutes=1)
"""Until every Envoy has new routes; one that is cut off for longer is sent all of it when it is back."""


@dataclass(frozen=True, slots=True)
class Override:
    """The split of one model, by hand."""

    weights: Mapping[str, int]
    """By version, percent points that sum to 100. A version that is not here gets 0."""
    since: datetime
    until: datetime
    """When it runs out; both in UTC."""
    why: str
    agreed: bool = False
    """Policy has come to say the same: over for people, while its runtime keys stay until `until`."""

    def weight(self, version: str) -> int:
        return self.weights.get(version, 0)


@dataclass(frozen=True, slots=True)
class LiveState:
    overrides: Mapping[str, Override] = field(default_factory=dict)
    """By model."""

    @property
    def in_force(self) -> Mapping[str, Override]:
        """Without those that policy agrees with."""
        return {name: override for name, override in self.overrides.items() if not override.agreed}

    @property
    def next_end(self) -> datetime | None:
        return min((override.until for override in self.overrides.values()), default=None)


NOTHING_LIVE = LiveState()


class What(StrEnum):
    """What has become of an override."""

    SET = "set"
    TAKEN_BACK = "taken back"
    EXPIRED = "expired"
    AGREED = "agreed"
    """Policy says the same."""
    ENDED = "ended"
    """Policy no longer has what it speaks of."""


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that has happened, for the log."""

    what: What
    model: str
    override: Override
    reason: str


@dataclass(frozen=True, slots=True)
class Step:
    state: LiveState
    changes: tuple[Change, ...] = ()


def set_weights(state: LiveState, model: str, override: Override) -> Step:
    """In place of what was set before."""
    return Step(_with(state, model, override), (Change(What.SET, model, override, override.why),))


def take_back(state: LiveState, model: str) -> Step:
    """Nothing happens where none is in force."""
    override = state.in_force.get(model)
    if override is None:
        return Step(state)
    return Step(_without(state, {model}), (Change(What.TAKEN_BACK, model, override, "by command"),))


def expire(state: LiveState, now: datetime) -> Step:
    """Without those whose time has run out."""
    over = {name: override for name, override in state.overrides.items() if override.until <= now}
    told = (Change(What.EXPIRED, name, o, "its time has run out") for name, o in over.items() if not o.agreed)
    return Step(_without(state, over), tuple(told)) if over else Step(state)


def follow_policy(state: LiveState, fleet: Fleet, now: datetime) -> Step:
    """What is left of the overrides when `fleet` is what policy says."""
    left: dict[str, Override] = {}
    changes: list[Change] = []
    for name, override in state.overrides.items():
        model = fleet.by_name.get(name)
        if (gone := _gone(override, model)) or model is None:
            if not override.agreed:
                changes.append(Change(What.ENDED, name, override, gone))
        elif says_the_same(model, override.weights):
            left[name] = _agreed(override, now)
            if not override.agreed:
                changes.append(Change(What.AGREED, name, override, "policy says the same"))
        elif not override.agreed:
            left[name] = override
    return Step(state if left == state.overrides else LiveState(left), tuple(changes))


def says_the_same(model: Model, weights: Mapping[str, int]) -> bool:
    """Whether policy gives the versions of `model` these weights; one that gets 0 need not be there."""
    return {v.name: v.weight for v in model.versions if v.weight} == {name: w for name, w in weights.items() if w}


def apply_live(fleet: Fleet, state: LiveState) -> Fleet:
    """`fleet` with the weights that are in force; the very same object where those are the policy's."""
    if not state.in_force:
        return fleet
    return replace(fleet, models=tuple(_live(model, state.in_force.get(model.name)) for model in fleet.models))


def live_weights(state: LiveState, model: Model) -> Iterator[tuple[str, int]]:
    """Of each version of a model whose override is in force, in policy order."""
    override = state.in_force.get(model.name)
    return ((version.name, override.weight(version.name)) for version in model.versions if override is not None)


def _live(model: Model, override: Override | None) -> Model:
    if override is None:
        return model
    return replace(model, versions=tuple(replace(v, weight=override.weight(v.name)) for v in model.versions))


def _gone(override: Override, model: Model | None) -> str:
    """What policy no longer has of what gets requests by the override; nothing where it has all."""
    if model is None:
        return "policy no longer has the model"
    known = {version.name for version in model.versions}
    lost = [name for name, weight in override.weights.items() if weight and name not in known]
    return f"policy no longer has version {', '.join(lost)}" if lost else ""


def _agreed(override: Override, now: datetime) -> Override:
    """Its time may be up before all Envoys have the routes that say the same."""
    return override if override.agreed else replace(override, agreed=True, until=max(override.until, now + GRACE))


def _with(state: LiveState, model: str, override: Override) -> LiveState:
    return LiveState({**state.overrides, model: override})


def _without(state: LiveState, names: Mapping[str, object] | set[str]) -> LiveState:
    return LiveState({name: override for name, override in state.overrides.items() if name not in names})
