"""Clusters of clusters: a version, and those that stand in for it when it has nothing healthy.

Envoy puts the priorities of all members in one row and fills it from the front: what the healthy part of a priority
does not cover goes on to the next. Between a version's tiers that is meant. Between models it would give another model
requests as soon as one of two instances is ill. So where a version has several tiers, a second cluster follows it, its
"rest", which has the same instances and takes all that the tiers leave, as long as one of them is healthy.
"""

from __future__ import annotations

from collections.abc import Iterator

from compiler.fleet import Backend, Route, Share
from xds.translate.priorities import priorities


def members(share: Share) -> Iterator[tuple[str, Backend]]:
    """The clusters of the aggregate that `share` leads to, in order, each with the version whose instances it has."""
    last = share.backends[-1]
    for backend in share.backends:
        yield backend.cluster, backend
        if backend is not last and len(priorities(backend)) > 1:
            # No other cluster is called so: names of models and versions have no `_`.
            yield f"{backend.cluster}_rest", backend


def rests(route: Route) -> dict[str, Backend]:
    """The second clusters of versions, by name."""
    shares = (share for share in route.shares if share.hops)
    return {name: backend for share in shares for name, backend in members(share) if name != backend.cluster}
