"""Who says it: the commit of the policies that are served, which an Envoy shows as `control_plane.identifier`.

An Envoy has what the last response said, so one that a commit changes nothing for keeps naming the one before.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from envoy.config.core.v3 import base_pb2


@lru_cache(64)
def control_plane(identifier: str) -> Any:
    """None where there is nothing to say."""
    return base_pb2.ControlPlane(identifier=identifier) if identifier else None
