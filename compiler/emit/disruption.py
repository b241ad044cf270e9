"""How many instances of one tier a drained node may take at a time."""

from __future__ import annotations

from compiler.emit.names import (
    deployment_name,
    model_file,
    model_labels,
    model_owner,
    tier_labels,
    tier_origin,
    version_annotations,
)
from compiler.emit.object import Object, Wave, metadata
from compiler.fleet import Model, Tier, Version


def disruption_budget(model: Model, version: Version, tier: Tier) -> Object:
    labels, origin = tier_labels(model, version, tier), tier_origin(version, tier)
    # What Flagger moves has another version while it is tried.
    selected = {**model_labels(model), "turnout.dev/tier": str(tier)} if model.is_flaggers else labels
    name, owner = deployment_name(model, version, tier), model_owner(model)
    body = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(name, owner, origin, Wave.WORKLOAD, labels, version_annotations(version)),
        "spec": {
            "maxUnavailable": 1,
            "selector": {"matchLabels": selected},
            # One that loads, or never starts, must not keep its node from being drained.
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }
    return Object(model_file(model), body, origin)
