"""Where live state survives a restart."""

from __future__ import annotations

from typing import Protocol

from xds.live.state import NOTHING_LIVE, LiveState


class Store(Protocol):
    @property
    def lasts(self) -> bool:
        """Whether what is saved is still there after a restart."""

    def load(self) -> LiveState:
        """What was saved last; nothing live where that cannot be read, which is logged."""

    def save(self, state: LiveState) -> None:
        """Raises OSError when it cannot be kept; what was saved before is then still there."""


class Forgetful:
    """Keeps nothing: live state ends with the process."""

    lasts = False

    def load(self) -> LiveState:
        return NOTHING_LIVE

    def save(self, state: LiveState) -> None:
        pass
