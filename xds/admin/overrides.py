"""Live weights beside policy's, as `/status`, `/weights` and `/explain` show them. The keys are an interface."""

from __future__ import annotations

from typing import Any

from compiler.fleet import Fleet, Model
from xds.live.document import override_document
from xds.live.state import LiveState, Override

Document = dict[str, Any]


def overrides(live: LiveState, fleet: Fleet | None) -> list[Document]:
    """Those in force, by model: live weights beside policy's."""
    models = {} if fleet is None else fleet.by_name
    return [override_with_policy(name, found, models.get(name)) for name, found in sorted(live.in_force.items())]


def override_with_policy(name: str, override: Override, model: Model | None) -> Document:
    """Weights of the versions that policy has; as they were set while no policy is loaded."""
    versions = () if model is None else model.versions
    weights = {version.name: override.weight(version.name) for version in versions} or dict(override.weights)
    policy = {version.name: version.weight for version in versions}
    return {"model": name, **override_document(override), "weights": weights, "policy": policy}
