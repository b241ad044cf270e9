"""Envoys that were served and have no stream any more: replaced, at another server, or cut off and serving what they
had."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

from xds.stream.node import Node

MOST = 1000
"""Envoys that are remembered; of more, those that left last. Their names are their own word."""
FOR = 600.0
"""Seconds since it left; by then it has come back, or been looked for."""


@dataclass(frozen=True, slots=True)
class Departed:
    node: str
    group: str
    at: float
    """When its last stream ended, in seconds since 1970. One that is cut off is told by pings, up to 40 s late."""


class Departures:
    def __init__(self) -> None:
        self._by_node: dict[str, Departed] = {}

    def left(self, node: Node, now: float) -> None:
        self._by_node.pop(node.id, None)
        self._by_node[node.id] = Departed(node.id, node.group.name, now)
        if len(self._by_node) > MOST:
            del self._by_node[next(iter(self._by_node))]

    def listed(self, connected: Container[str], now: float) -> tuple[Departed, ...]:
        """By node, without those that are `connected` again."""
        kept = {name: found for name, found in self._by_node.items() if found.at > now - FOR and name not in connected}
        self._by_node = kept
        return tuple(sorted(kept.values(), key=lambda found: found.node))
