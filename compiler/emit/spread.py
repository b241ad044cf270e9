"""How the instances of one tier are kept apart: over zones, and over nodes."""

from __future__ import annotations

from typing import Any

from compiler.emit.names import tier_labels
from compiler.fleet import Model, Tier, Version

_DOMAINS = ("topology.kubernetes.io/zone", "kubernetes.io/hostname")


def spread(model: Model, version: Version, tier: Tier) -> list[dict[str, Any]]:
    """Also of a single instance: a second one must not restart it.

    A version that has standbys is to outlive a node and a zone, so its instances rather wait than share one; others
    rather share. Those of an update are spread among themselves, or the old ones would keep them off their nodes. A
    node that is drained or lost does not count: as an empty one it would forbid replacements everywhere else.
    """
    strictly = "DoNotSchedule" if version.has_standbys else "ScheduleAnyway"
    return [
        {
            "maxSkew": 1,
            "topologyKey": domain,
            "whenUnsatisfiable": strictly,
            "labelSelector": {"matchLabels": tier_labels(model, version, tier)},
            "matchLabelKeys": ["pod-template-hash"],
            "nodeTaintsPolicy": "Honor",
        }
        for domain in _DOMAINS
    ]
