"""The routes of one gateway as HTTPRoutes: one for each model, and what its orchestrator chooses.

Only the header and the path name a model. Whoever names none there comes to none of these rules, and is answered 404:
by what its body names, it might be meant for another than whoever would be chosen.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from compiler.emit.durations import gateway_api_duration
from compiler.emit.gateway_api.conditions import matches, named
from compiler.emit.gateway_api.match import Match
from compiler.emit.gateway_api.precedence import Ranked, settled
from compiler.emit.names import SERVICE_PORT, service_name
from compiler.fleet import MirrorShare, Model, Route, Share, Version
from compiler.fleet.routes import WHOLE

MOST_RULES = 16
"""Of an HTTPRoute."""
MOST_MATCHES_OF_A_RULE = 8
"""So many rules of so many matches are as many as an HTTPRoute takes; older releases take no more in a rule."""
MOST_BACKENDS = 16
"""Of a rule; and filters."""


class Ways(NamedTuple):
    """Rules of a gateway's orchestrator."""

    matches: tuple[Ranked, ...]
    routes: tuple[Route, ...]
    """By rank."""


def rules_of_model(route: Route, namespace: str) -> list[dict[str, Any]]:
    """Of an HTTPRoute in `namespace`; in whatever order."""
    return _rules((match for name in route.model_names for match in named(name)), route, namespace)


def ways(own: Sequence[Route], orchestrator: str) -> Ways | None:
    """Of the routes `own` those that the orchestrator chooses by its rules, or by default; None where their order
    cannot be kept."""
    chosen = tuple(route for route in own if _is_chosen(route))
    wanted: list[tuple[Match, ...]] = []
    for route in chosen:
        found = matches(route.conditions, orchestrator)
        if found is None:
            return None
        wanted.append(found)
    together = settled(wanted, ordered=True)
    if together is None or _fit_in_one(together):
        return None if together is None else Ways(together, chosen)
    apart = settled(wanted, ordered=False)
    return None if apart is None else Ways(apart, chosen)


def rules_of(found: Ways, namespace: str) -> list[dict[str, Any]]:
    """In the order of their ranks."""
    by_rank: dict[int, list[Match]] = {}
    for match, rank in found.matches:
        by_rank.setdefault(rank, []).append(match)
    return [rule for rank, those in by_rank.items() for rule in _rules(those, found.routes[rank], namespace)]


def parts(rules: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """`rules` in as many HTTPRoutes as they need."""
    return [rules[start : start + MOST_RULES] for start in range(0, len(rules), MOST_RULES)]


def _is_chosen(route: Route) -> bool:
    """Neither by capabilities nor in another's place, which are refused."""
    return not route.is_of_model and route.asks_within is None and not route.name.endswith("/fallback")


def _fit_in_one(found: tuple[Ranked, ...]) -> bool:
    count: dict[int, int] = {}
    for _, rank in found:
        count[rank] = count.get(rank, 0) + 1
    return sum(-(-number // MOST_MATCHES_OF_A_RULE) for number in count.values()) <= MOST_RULES


def _rules(those: Iterable[Match], route: Route, namespace: str) -> list[dict[str, Any]]:
    written = [match.manifest() for match in those]
    step = MOST_MATCHES_OF_A_RULE
    return [
        {"matches": written[start : start + step], **_forward(route, namespace)}
        for start in range(0, len(written), step)
    ]


def _forward(route: Route, namespace: str) -> dict[str, Any]:
    return {
        **({"filters": [_mirror(share, namespace) for share in route.mirrors]} if route.mirrors else {}),
        "backendRefs": _backends(route.shares, namespace),
        # Nothing but the body tells who streams, so that streams have it too.
        "timeouts": {"request": gateway_api_duration(route.timeouts.unary_total)},
    }


def _backends(shares: tuple[Share, ...], namespace: str) -> list[dict[str, Any]]:
    taking = [share for share in shares if share.weight]
    whole = all(share.weight % 100 == 0 for share in taking)
    return [
        {
            **_backend(share.model, share.version, namespace),
            "weight": share.weight // 100 if whole else share.weight,
        }
        for share in taking
    ]


def _mirror(share: MirrorShare, namespace: str) -> dict[str, Any]:
    mirror: dict[str, Any] = {"backendRef": _backend(share.model, share.version, namespace)}
    if share.weight % 100:
        mirror["fraction"] = {"numerator": share.weight, "denominator": WHOLE}
    else:
        mirror["percent"] = share.weight // 100
    return {"type": "RequestMirror", "requestMirror": mirror}


def _backend(model: Model, version: Version, namespace: str) -> dict[str, Any]:
    elsewhere = {} if model.namespace == namespace else {"namespace": model.namespace}
    return {"name": service_name(model, version), **elsewhere, "port": SERVICE_PORT}
