"""The other end of a stream, without a network: it asks and answers as a client of its variant does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from xds.snapshot import ResourceSet, ResourceType, Snapshot
from xds.stream import delta, sotw
from xds.stream.state import Request, StreamState, Variant
from xds.stream.update import Update, next_update

RECEIVED = {Variant.SOTW: sotw.received, Variant.DELTA: delta.received}


class Client:
    def __init__(self, variant: Variant, snapshot: Snapshot, *, believed: bool = True) -> None:
        self.state = StreamState(variant, believed=believed)
        self.snapshot = snapshot
        self.names: dict[ResourceType, frozenset[str]] = {}
        self.known: dict[str, ResourceSet] = {}
        self._nonces: dict[ResourceType, str] = {}
        self._versions: dict[ResourceType, str] = {}

    def ask(
        self, type_: ResourceType, *names: str, version: str = "", versions: Mapping[str, str] | None = None
    ) -> None:
        """Wants `names` too. A first request without any is the old form of the wildcard."""
        self.names[type_] = self.names.get(type_, frozenset()) | frozenset(names)
        self._receive(type_, frozenset(names), version=version, versions=versions or {})

    def drop(self, type_: ResourceType, *names: str) -> None:
        self.names[type_] = self.names[type_] - frozenset(names)
        self._receive(type_, frozenset(), dropped=frozenset(names))

    def updates(self) -> list[Update]:
        """All that the server has to say for now."""
        found = []
        self.state = self.state.resolved(self.snapshot, self.known.get)
        while (step := next_update(self.state, self.snapshot)) is not None:
            update, self.state = step
            self._nonces[update.type] = update.nonce
            found.append(update)
            assert len(found) < 1000, "the server never stops talking"
        return found

    def accept(self, *updates: Update) -> None:
        for update in updates:
            self._versions[update.type] = update.version
            self._receive(update.type, frozenset(), nonce=update.nonce)

    def refuse(self, *updates: Update, reason: str = "no") -> None:
        for update in updates:
            self._receive(update.type, frozenset(), nonce=update.nonce, error=reason)

    def settle(self) -> list[Update]:
        """Accepts all that comes, as soon as it comes."""
        found: list[Update] = []
        while updates := self.updates():
            self.accept(*updates)
            found += updates
        return found

    def subscribed(self) -> list[Update]:
        """Asks for everything, as an Envoy does, and accepts it."""
        found = []
        for type_, names in (
            (ResourceType.RUNTIME, self.snapshot[ResourceType.RUNTIME]),
            (ResourceType.CLUSTER, ()),
            (ResourceType.ENDPOINT, self.snapshot[ResourceType.ENDPOINT]),
            (ResourceType.LISTENER, ()),
            (ResourceType.ROUTE, self.snapshot[ResourceType.ROUTE]),
        ):
            self.ask(type_, *names)
            found += self.settle()
        return found

    def _receive(
        self,
        type_: ResourceType,
        asked: frozenset[str],
        *,
        dropped: frozenset[str] = frozenset(),
        nonce: str | None = None,
        error: str | None = None,
        version: str = "",
        versions: Mapping[str, str] | None = None,
    ) -> None:
        if self.state.variant is Variant.SOTW:
            last = self._nonces.get(type_, "") if nonce is None else nonce
            wanted = self.names.get(type_, frozenset())
            request = Request(type_, last, error, names=wanted, version=version or self._versions.get(type_, ""))
        else:
            request = Request(type_, nonce or "", error, names=asked, dropped=dropped, versions=versions or {})
        self.state = RECEIVED[self.state.variant](self.state, type_, request)


def names(updates: Iterable[Update]) -> list[tuple[str, ...]]:
    return [tuple(resource.name for resource in update.resources) for update in updates]


def types(updates: Iterable[Update]) -> list[ResourceType]:
    return [update.type for update in updates]
