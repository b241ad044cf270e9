"""Clients whose streams the server has ended for a reason of theirs, for as long as they are likely to come back."""

from __future__ import annotations

from dataclasses import dataclass

MOST = 100
"""Clients that are remembered; of more, those that came last. Who they are is their own word."""
FOR = 300.0
"""Seconds since the last attempt; an Envoy tries again twice a minute at least."""
LONGEST = 500
"""Characters of a reason."""


@dataclass(frozen=True, slots=True)
class TurnedAway:
    client: str
    """Its node's id, or where it came from when it named none."""
    reason: str
    times: int
    last: float
    """Seconds since 1970."""


class Doorkeeper:
    def __init__(self) -> None:
        self._by_client: dict[str, TurnedAway] = {}

    def turned_away(self, client: str, reason: str, now: float) -> None:
        before = self._by_client.pop(client, None)
        times = 1 if before is None else before.times + 1
        self._by_client[client] = TurnedAway(client, reason[:LONGEST], times, now)
        if len(self._by_client) > MOST:
            del self._by_client[next(iter(self._by_client))]

    def served(self, client: str) -> None:
        self._by_client.pop(client, None)

    def listed(self, now: float) -> tuple[TurnedAway, ...]:
        """By client."""
        late = now - FOR
        return tuple(sorted((c for c in self._by_client.values() if c.last > late), key=lambda c: c.client))
