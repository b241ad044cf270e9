"""How the pods of one Deployment are kept apart: over zones, and over nodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_DOMAINS = ("topology.kubernetes.io/zone", "kubernetes.io/hostname")


def spread(labels: Mapping[str, str], *, strictly: bool) -> list[dict[str, Any]]:
    """Also of a single pod: a second one must not restart it.

    `strictly` for what is to outlive a node and a zone, as a version that has standbys: its pods rather wait than share
    one; others rather share. Those of an update are spread among themselves, or the old ones would keep them off their
    nodes. A node that is drained or lost does not count: as an empty one it would forbid replacements everywhere else.
    """
    return [
        {
            "maxSkew": 1,
            "topologyKey": domain,
            "whenUnsatisfiable": "DoNotSchedule" if strictly else "ScheduleAnyway",
            "labelSelector": {"matchLabels": dict(labels)},
            "matchLabelKeys": ["pod-template-hash"],
            "nodeTaintsPolicy": "Honor",
        }
        for domain in _DOMAINS
    ]
