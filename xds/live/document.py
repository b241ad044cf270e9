"""Live state as a document: what files and answers hold."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from xds.live.state import LiveState, Override

VERSION = 1
"""Of the form of the document; another one is not read."""

Document = dict[str, Any]


def document(state: LiveState) -> Document:
    return {
        "version": VERSION,
        "overrides": {
            name: {**override_document(override), "agreed": override.agreed}
            for name, override in sorted(state.overrides.items())
        },
    }


def override_document(override: Override) -> Document:
    return {
        "weights": dict(override.weights),
        "since": override.since.isoformat(timespec="milliseconds"),
        "until": override.until.isoformat(timespec="milliseconds"),
        "why": override.why,
    }


def live_state(found: object) -> LiveState:
    """Raises ValueError, with the reason, for what `document` has not written: it decides where requests go."""
    if not isinstance(found, Mapping) or found.get("version") != VERSION:
        raise ValueError(f"no live state of version {VERSION}")
    overrides = found.get("overrides")
    if not isinstance(overrides, Mapping):
        raise ValueError("no overrides")
    return LiveState({str(name): _override(str(name), part) for name, part in overrides.items()})


def _override(name: str, found: object) -> Override:
    if not isinstance(found, Mapping) or found.keys() != {"weights", "since", "until", "why", "agreed"}:
        raise ValueError(f"{name}: no override")
    weights, why, agreed = found["weights"], found["why"], found["agreed"]
    if not isinstance(weights, Mapping) or not all(map(_is_percent, weights.values())) or sum(weights.values()) != 100:
        raise ValueError(f"{name}: weights {weights!r} are no percents that sum to 100")
    if not isinstance(why, str) or not isinstance(agreed, bool):
        raise ValueError(f"{name}: no override")
    return Override(dict(weights), _moment(name, found["since"]), _moment(name, found["until"]), why, agreed)


def _is_percent(weight: object) -> bool:
    return isinstance(weight, int) and not isinstance(weight, bool) and 0 <= weight <= 100


def _moment(name: str, text: object) -> datetime:
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        raise ValueError(f"{name}: {text!r} is no time") from None
    if moment.utcoffset() is None:
        raise ValueError(f"{name}: {text!r} is a time of no zone")
    return moment.astimezone(UTC)
