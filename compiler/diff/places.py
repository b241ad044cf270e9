"""Where requests come in: hosts, by the gateway that serves them before a change and after it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from compiler.diff.listing import Listing
from compiler.evaluate import Look, always_ready, carrier_of, closeness, gateway_of, reads_bodies
from compiler.fleet import Carrier, Fleet, Gateway


@dataclass(frozen=True, slots=True)
class Place:
    hosts: tuple[str, ...]
    """Names and patterns, sorted."""
    elsewhere: tuple[str, ...]
    """The other names and patterns of both fleets, which take a host where they fit it more closely."""
    before: Gateway | None
    after: Gateway | None
    bodiless: tuple[bool, bool] = (False, False)
    """Whether the Gateway API carries them, before and after."""
    looks: tuple[Look, Look] = (always_ready, always_ready)
    """What is known there of instances, before and after."""

    def has(self, host: str) -> bool:
        return closest(self.hosts, host) > closest(self.elsewhere, host)

    @property
    def example(self) -> str:
        """A host that is served here."""
        return _a_host(self.hosts[0], self.elsewhere)


def places(before: Fleet, after: Fleet) -> tuple[Place, ...]:
    """Every pair of gateways, of ways to read a request and of ways to know instances that some host has. One that no
    gateway serves is in none of them.

    The closest of both fleets' patterns decides for a host which is the closest of either: what is less close and fits
    one host of a pattern fits all of them.
    """
    patterns = tuple(sorted({host.name for fleet in (before, after) for g in fleet.gateways for host in g.hosts}))
    listing = Listing(before, after)
    served: dict[object, list[str]] = {}
    found: dict[object, tuple[Gateway | None, Gateway | None, tuple[bool, bool], tuple[Look, Look]]] = {}
    for pattern in patterns:
        host = _a_host(pattern, patterns)
        one, other = gateway_of(before, host), gateway_of(after, host)
        bodiless = not reads_bodies(one, host), not reads_bodies(other, host)
        looks = listing.looks(_carrier(one, host), _carrier(other, host))
        key = (_name(one), _name(other), bodiless, looks)
        served.setdefault(key, []).append(pattern)
        found[key] = one, other, bodiless, looks
    return tuple(
        Place(tuple(hosts), tuple(p for p in patterns if p not in hosts), *found[key]) for key, hosts in served.items()
    )


def closest(patterns: Iterable[str], host: str) -> int:
    return max((closeness(pattern, host) for pattern in patterns), default=-1)


def _a_host(pattern: str, patterns: Iterable[str]) -> str:
    """One that `pattern` fits and no other more closely. What the pattern `*` fits is shown by itself."""
    if not pattern.startswith("*."):
        return pattern
    label = "any"
    while closest((p for p in patterns if p != pattern), f"{label}{pattern[1:]}") > closeness(
        pattern, f"x{pattern[1:]}"
    ):
        label += "-other"
    return f"{label}{pattern[1:]}"


def _name(gateway: Gateway | None) -> str | None:
    return None if gateway is None else gateway.name


def _carrier(gateway: Gateway | None, host: str) -> Carrier | None:
    return None if gateway is None else carrier_of(gateway, host)
