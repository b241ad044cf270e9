"""Which rule of several HTTPRoutes a request takes: the Gateway API's own words, nothing of Turnout's.

https://gateway-api.sigs.k8s.io/reference/spec/#httprouterule
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Rule = Mapping[str, Any]


def rule_of(
    oldest_first: Sequence[Mapping[str, Any]], method: str, path: str, headers: Mapping[str, str]
) -> Rule | None:
    """Of HTTPRoutes that are all for the request's host; None is answered 404."""
    met = [
        (_precedence(match), -age, -number, rule)
        for age, route in enumerate(oldest_first)
        for number, rule in enumerate(route["spec"]["rules"])
        for match in rule["matches"]
        if _matches(match, method, path, headers)
    ]
    return max(met, key=lambda found: found[:3])[3] if met else None


def _precedence(match: Mapping[str, Any]) -> tuple[bool, int, bool, int]:
    kind, value = match["path"]["type"], match["path"]["value"]
    return kind == "Exact", len(value), "method" in match, len(match.get("headers", ()))


def _matches(match: Mapping[str, Any], method: str, path: str, headers: Mapping[str, str]) -> bool:
    assert set(match) <= {"path", "method", "headers"}
    return (
        _path_matches(match["path"], path)
        and match.get("method", method) == method
        and all(_header_matches(how, headers) for how in match.get("headers", ()))
    )


def _header_matches(how: Mapping[str, str], headers: Mapping[str, str]) -> bool:
    assert how["type"] == "Exact"
    return headers.get(how["name"]) == how["value"]


def _path_matches(how: Mapping[str, str], path: str) -> bool:
    if how["type"] == "Exact":
        return path == how["value"]
    assert how["type"] == "PathPrefix"
    wanted, given = (text.split("/") for text in (how["value"].rstrip("/"), path))
    return given[: len(wanted)] == wanted
