"""Which standbys each model has, and where: DisasterRecovery by model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from compiler.decode import Policies, Policy
from compiler.diagnostics import Diagnostic, Position, error
from compiler.fleet import Priority, Zones
from compiler.kept import Kept
from compiler.kinds import DisasterRecovery, InferenceModel
from compiler.link.references import dangling


@dataclass(frozen=True, slots=True)
class Recovery:
    hot: int
    warm: int
    cold: int
    zones: Zones
    warm_place: Position
    rto: timedelta | None
    priority: Priority
    place: Position

    @property
    def standbys(self) -> int:
        return self.hot + self.warm + self.cold


def recoveries(policies: Policies, kept: Kept, found: list[Diagnostic]) -> Mapping[str, Recovery]:
    """By model name; a model that stands nowhere has no entry."""
    result: dict[str, Recovery] = {}
    first: dict[str, Position] = {}
    known = policies.names[InferenceModel]
    for policy in policies.of(DisasterRecovery).values():
        for index, (name, place, recovery) in enumerate(kept.reported(found, _of_one, policy)):
            if name not in known:
                found.append(dangling(f"spec.models[{index}].name", "InferenceModel", name, place, known))
            elif name in first:
                said = f"recovery of '{name}' twice, first at {first[name]}"
                found.append(error("P204", place, said, "one entry"))
            else:
                first[name] = place
                result[name] = recovery
    return result


def _of_one(policy: Policy[DisasterRecovery], found: list[Diagnostic]) -> tuple[tuple[str, Position, Recovery], ...]:
    """Each model that `policy` names, and where."""
    zones = _zones(policy, found)
    return tuple(
        (
            model.name,
            policy.at("spec", "models", index, "name"),
            Recovery(
                model.hot_standby,
                model.warm_standby,
                model.cold_standby,
                zones,
                policy.at("spec", "models", index, "warmStandby"),
                model.rto,
                Priority(model.priority),
                policy.at("spec", "models", index, "name"),
            ),
        )
        for index, model in enumerate(policy.body.spec.models)
    )


def _zones(policy: Policy[DisasterRecovery], found: list[Diagnostic]) -> Zones:
    spec = policy.body.spec.az_failover
    zone, place = spec.standby_zone, policy.at("spec", "azFailover", "standbyZone")
    if spec.strategy == "active-passive":
        if zone is None:
            said = "'spec.azFailover.standbyZone' is missing"
            found.append(error("P113", policy.at("spec", "azFailover"), said, "active-passive needs one"))
        elif zone in spec.active_zones:
            found.append(error("P220", place, f"zone {zone} is active and standby", "one or the other"))
        return Zones(spec.active_zones, zone)
    if zone is not None:
        said = "'standbyZone' and 'strategy: active-active' exclude each other"
        found.append(error("P201", place, said, "strategy: active-passive"))
    return Zones(spec.active_zones, None)
