"""Which versions have instances, as far as policy says: Turnout's own Envoys know those alone that it lists."""

from __future__ import annotations

from compiler.evaluate import Look, Readiness, always_ready
from compiler.fleet import Carrier, Fleet, Model, Version


class Listing:
    """What two fleets list."""

    def __init__(self, before: Fleet, after: Fleet) -> None:
        self._any = any(version.endpoints for fleet in (before, after) for m in fleet.models for version in m.versions)

    def looks(self, before: Carrier | None, after: Carrier | None) -> tuple[Look, Look]:
        """What is known of instances at hosts that these carry before a change and after it.

        All others than Turnout's own Envoys find pods by themselves. Where policies list no instance at all, own Envoys
        answer nobody before and after: of these a change is told as if each version had some.
        """
        matters = self._any or before is not after
        one, other = (as_listed if matters and of is Carrier.ENVOY else always_ready for of in (before, after))
        return one, other


def as_listed(_model: Model, version: Version) -> Readiness:
    return Readiness.READY if version.endpoints else Readiness.UNLISTED
