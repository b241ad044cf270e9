"""How far a change has come among the Envoys: from the moment it is served until the last of them has answered."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from xds.snapshot import ResourceType
from xds.stages import Cause

S = TypeVar("S")


@dataclass(slots=True)
class Push:
    """All responses of one type. Moments are in seconds since 1970."""

    began: float
    ended: float
    """The last answer so far, or the last response."""
    responses: int = 0
    bytes: int = 0
    refused: int = 0


@dataclass(slots=True)
class Progress(Generic[S]):
    """Streams (`S`) are those that were open when the change was served: who comes later asks for all there is."""

    cause: Cause
    began: float
    """When it was served, in seconds since 1970."""
    unpushed: set[S]
    behind: set[S]
    streams: int
    pushes: dict[ResourceType, Push] = field(default_factory=dict)
    last: S | None = None
    """Who was the last to have all of it."""

    @classmethod
    def among(cls, streams: Iterable[S], cause: Cause, now: float) -> Progress[S]:
        found = set(streams)
        return cls(cause, now, found, set(found), len(found))

    @property
    def over(self) -> bool:
        return not self.behind

    def sent(self, stream: S, type_: ResourceType, size: int, began: float, now: float) -> bool:
        """Whether it is the first response to that stream."""
        if stream not in self.behind:
            return False
        push = self.pushes.get(type_)
        if push is None:
            push = self.pushes[type_] = Push(began, now)
        push.ended = now
        push.responses += 1
        push.bytes += size
        if stream not in self.unpushed:
            return False
        self.unpushed.discard(stream)
        return True

    def answered(self, stream: S, type_: ResourceType, now: float, *, refused: bool) -> None:
        push = self.pushes.get(type_)
        if push is not None and stream in self.behind:
            push.ended = now
            push.refused += refused

    def settled(self, stream: S) -> bool:
        """Whether that was the last one."""
        if stream not in self.behind:
            return False
        self.behind.discard(stream)
        if stream not in self.unpushed:
            self.last = stream
        self.unpushed.discard(stream)
        return not self.behind
