"""What one stream wants of one type, what it was sent, and what became of that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain, count

from compiler.diagnostics import Position
from xds.snapshot import NOTHING, Resource, ResourceSet
from xds.stream.difference import Claim, gathered, moved
from xds.stream.recent import Recent

SINGLY = 32
"""A change of up to this many resources goes one resource a response, so that a refusal names its culprit."""
WILDCARD = "*"
NO_NAMES: frozenset[str] = frozenset()
NOWHERE = Position("", 0, 0)
KEPT = 100_000
"""Names of other streams that are remembered, to be shared with them."""


@dataclass(frozen=True, slots=True)
class Batch:
    """A response on its way: neither accepted nor refused yet."""

    nonce: str
    names: frozenset[str]
    """What it offers anew; a whole list repeats more than that."""
    removed: frozenset[str]
    before: ResourceSet
    """What the client has if it refuses."""
    after: ResourceSet
    """What it has if it accepts."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A resource that the client would not take. It is not offered again at this version."""

    resource: Resource
    detail: str
    """The client's own words."""
    good: Resource | None
    """What the client has kept under this name; `None` when it has nothing."""


@dataclass(frozen=True, slots=True)
class Subscription:
    wildcard: bool = False
    legacy: bool = False
    """The wildcard was asked for by naming nothing, so naming nothing again does not end it."""
    names: frozenset[str] = NO_NAMES
    """Asked for by name, beside the wildcard."""
    offered: ResourceSet = NOTHING
    """What the client has when it accepts all that is on its way. Names it did not ask for may be in it."""
    owed: frozenset[str] = NO_NAMES
    """Names to be sent whatever `offered` says: the client has asked for them anew, or needs them again."""
    unanswered: bool = False
    """The client waits for a response, even for an empty one."""
    returning: bool = False
    """The client has resources from an earlier stream."""
    claimed: str = ""
    """Version that these have in all; empty once it has been looked up, or when it is not to be relied on."""
    refused: Mapping[str, Refusal] = field(default_factory=dict, hash=False)
    suspects: tuple[frozenset[str], ...] = ()
    """Names from refused responses of several resources, in groups that are offered again apart from each other."""
    outstanding: tuple[Batch, ...] = ()
    """In the order of sending, each with a nonce of its own."""
    nonce: str = ""
    """Of the last response."""
    named: str = ""
    """The nonce that the client has named last: those of the requests that are on their way are this one or later."""
    sent: str = ""
    """Version of `offered` with the last response: also where the client asks for some of it, and is told another."""
    acknowledged: str = ""
    """The same, of the last response that was accepted."""

    @property
    def claim(self) -> ResourceSet:
        """What the client has on its own word."""
        return self.offered if isinstance(self.offered, Claim) else NOTHING

    def resolved(self, held: ResourceSet | None) -> Subscription:
        """`held` is what has the claimed version; `None` when nobody knows any more."""
        if held is None:
            return replace(self, claimed="")
        version = held.version
        return replace(self, claimed="", unanswered=False, offered=held, sent=version, acknowledged=version)

    def select(self, names: frozenset[str]) -> frozenset[str]:
        if self.wildcard or names <= self.names:
            return names
        return names & self.names

    def goal(self, wanted: ResourceSet) -> ResourceSet:
        """`wanted`, but what the client refuses stays as the client has it."""
        held = self.quarantine(wanted)
        if not held:
            return wanted
        return moved(wanted, gathered(r.good for r in held.values() if r.good is not None), frozenset(held))

    def quarantine(self, wanted: ResourceSet) -> dict[str, Refusal]:
        """The refusals that still hold: of the very versions that `wanted` has."""
        return {
            name: refusal
            for name, refusal in self.refused.items()
            if name in wanted and wanted[name].version == refusal.resource.version
        }

    def lapsed(self, wanted: ResourceSet) -> frozenset[str]:
        """Refused names that have another version now. It is sent even when the client should have it already:
        after a refusal an Envoy may have applied more than it says."""
        return frozenset(
            name
            for name, refusal in self.refused.items()
            if name in wanted and wanted[name].version != refusal.resource.version
        )

    def doubted(self, wanted: ResourceSet) -> frozenset[str]:
        """Refused names that are gone and that the client should lack already: it may have taken an older version."""
        return frozenset(name for name in self.refused if name not in wanted and name not in self.offered)

    def suspected(self) -> frozenset[str]:
        return NO_NAMES.union(*self.suspects)

    def batch(self, nonce: str) -> Batch | None:
        """The response of that nonce, if it is still on its way."""
        return next((batch for batch in self.outstanding if batch.nonce == nonce), None)

    def answered(self, nonce: str, error: str | None) -> Subscription:
        """A nonce that no outstanding response has is an old one, or another stream's, and means nothing."""
        sub = replace(self, named=nonce) if nonce and nonce != self.named else self
        return sub.accepted(nonce) if error is None else sub.rejected(nonce, error)

    def superseding(self, nonce: str, *, refused: bool) -> Subscription:
        """The answer to a response of that nonce comes in place of those to the responses before it: if it is refused,
        nothing is known of them, and they are taken for refused, too."""
        batch = self.batch(nonce)
        if batch is None or batch is self.outstanding[0]:
            return self
        at = self.outstanding.index(batch)
        if refused:
            answered = self.outstanding[: at + 1]
            names = frozenset(name for earlier in answered for name in earlier.names if name in batch.after)
            removed = NO_NAMES.union(*(earlier.removed for earlier in answered)) - names
            batch = replace(batch, before=answered[0].before, names=names, removed=removed)
        return replace(self, outstanding=(batch, *self.outstanding[at + 1 :]))

    def unused(self, nonce: str) -> str:
        """`nonce`, or one like it where a client could take an answer to one response for an answer to another."""
        used = {self.nonce, self.named, *(batch.nonce for batch in self.outstanding)}
        return next(free for free in chain((nonce,), (f"{nonce}-{again}" for again in count(2))) if free not in used)

    def accepted(self, nonce: str) -> Subscription:
        batch = self.batch(nonce)
        if batch is None:
            return self
        rest = tuple(b for b in self.outstanding if b is not batch)
        everything = not (rest or self.refused or self.suspects)
        return replace(self, outstanding=rest, acknowledged=self.sent if everything else batch.after.version)

    def rejected(self, nonce: str, detail: str) -> Subscription:
        """The client keeps what it had. A resource that came alone is refused; several become suspects."""
        batch = self.batch(nonce)
        if batch is None:
            return self
        at = self.outstanding.index(batch)
        back = batch.names | batch.removed if batch.names else NO_NAMES
        names, later = batch.names, []
        for following in self.outstanding[at + 1 :]:
            later.append(replace(following, before=moved(following.before, batch.before, back)))
            # What was sent again since is decided by that response.
            names, back = names - following.names, back - following.names - following.removed
        # An Envoy that refuses some of a response has let go of what the rest of it takes away.
        doubtful = self.select(batch.removed & back)
        rolled = replace(
            self,
            outstanding=(*self.outstanding[:at], *later),
            offered=moved(self.offered, batch.before, back),
            owed=self.owed | doubtful,
        )
        if len(batch.names) > 1:
            return replace(rolled, suspects=(*self.suspects, *apart(self.select(names))))
        # What it no longer asks for is not offered again, at whatever version.
        found = {name: Refusal(batch.after[name], detail, batch.before.get(name)) for name in self.select(names)}
        return replace(rolled, refused={**self.refused, **found})

    def asking(self, names: frozenset[str]) -> Subscription:
        """Subscribed to `names` too, which are to be sent even if they were sent before."""
        if not names:
            return self
        refused = {name: refusal for name, refusal in self.refused.items() if name not in names}
        # What lies outside its names it was not sent, though it counts as offered.
        offered = self.offered if self.wildcard else moved(self.offered, NOTHING, names - self.names)
        everything = shared_names(self.names | names)
        return replace(self, names=everything, offered=offered, owed=self.owed | names, refused=refused)

    def asking_for_all(self) -> Subscription:
        """With a wildcard that it did not have: what lies outside its names it has forgotten, or never had."""
        offered = moved(NOTHING, self.offered, self.names)
        return replace(self, wildcard=True, unanswered=True, offered=offered, claimed="")

    def asking_for_all_again(self) -> Subscription:
        """It may have forgotten what it was sent, as with a name that is asked for again. Not where it only says in
        the new way what it has said in the old one: that goes on with the same subscription.

        https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#xds-protocol-delta-subscribe
        """
        if self.legacy:
            return self
        return replace(self, unanswered=True, owed=self.owed.union(self.offered), refused={})

    def only(self, names: frozenset[str]) -> Subscription:
        """No longer subscribed to other names than these."""
        kept = shared_names(self.names & names)
        if self.wildcard:
            return replace(self, names=kept)
        refused = {name: refusal for name, refusal in self.refused.items() if name in kept}
        suspects = tuple(left for group in self.suspects if (left := group & kept))
        return replace(self, names=kept, owed=self.owed & kept, refused=refused, suspects=suspects)

    def without_wildcard(self) -> Subscription:
        return replace(self, wildcard=False, legacy=False, unanswered=False, claimed="").only(self.names)


def apart(names: Iterable[str]) -> tuple[frozenset[str], ...]:
    """A refused group, cut so that the culprit is soon alone: few names one by one, many in halves."""
    ordered = sorted(names)
    if len(ordered) <= SINGLY:
        return tuple(frozenset([name]) for name in ordered)
    half = len(ordered) // 2
    return frozenset(ordered[:half]), frozenset(ordered[half:])


_shared_names = Recent(KEPT)
_claimed = Recent(KEPT)


def shared_names(names: frozenset[str]) -> frozenset[str]:
    """An equal set that other streams hold too: a thousand sidecars ask for the same thousand names."""
    found: frozenset[str] | None = _shared_names.get(names)
    return _shared_names.put(names, names, len(names)) if found is None else found


def claimed(versions: frozenset[tuple[str, str]]) -> Claim:
    """What a client says it has. Shared: after a restart of the server a thousand clients say the same."""
    found: Claim | None = _claimed.get(versions)
    if found is None:
        found = Claim(Resource(name, version, (), NOWHERE) for name, version in versions)
        _claimed.put(versions, found, len(versions))
    return found
