"""What a rule of an HTTPRoute asks of a request, and which of two rules that a request meets decides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

ROOT = "/"
MOST_HEADERS = 16
"""Of one match."""


@dataclass(frozen=True, slots=True)
class Match:
    """All of it must hold."""

    path: str = ROOT
    """Of an exact match the whole, else whole segments at the start, without a slash at the end."""
    is_exact: bool = False
    method: str = ""
    """Empty for any."""
    headers: tuple[tuple[str, str], ...] = ()
    """Names in lower case with whole values; sorted, each name once."""

    @property
    def specificity(self) -> tuple[bool, int, bool, int]:
        """Of the matches that a request meets, the most specific decides, whatever rule or route it stands in.

        https://gateway-api.sigs.k8s.io/reference/spec/#httprouterule
        """
        return self.is_exact, len(self.path), bool(self.method), len(self.headers)

    def manifest(self) -> dict[str, Any]:
        result: dict[str, Any] = {"path": {"type": "Exact" if self.is_exact else "PathPrefix", "value": self.path}}
        if self.headers:
            result["headers"] = [{"type": "Exact", "name": name, "value": value} for name, value in self.headers]
        if self.method:
            result["method"] = self.method
        return result


def intersection(one: Match, other: Match) -> Match | None:
    """What asks for all that both ask for; None where no request can meet that."""
    closer, wider = (one, other) if one.specificity[:2] >= other.specificity[:2] else (other, one)
    if not _leads_to(wider, closer):
        return None
    if one.method and other.method and one.method != other.method:
        return None
    headers = dict(one.headers)
    for name, value in other.headers:
        if headers.setdefault(name, value) != value:
            return None
    return Match(closer.path, closer.is_exact, one.method or other.method, tuple(sorted(headers.items())))


def _leads_to(wider: Match, closer: Match) -> bool:
    """Whether every path of `closer` is one of `wider`, of which none is longer."""
    if wider.is_exact:
        return wider.path == closer.path
    return f"{closer.path}/".startswith(wider.path.rstrip("/") + "/")
