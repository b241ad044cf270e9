"""What a decision does to a request: all of it that the client or a model server can notice, and no line of policy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compiler.evaluate import Decision
from compiler.explain import document
from compiler.request import Request

Effect = Mapping[str, Any]
"""`{"targets": [{"model", "version", "share", "limits", "fallback"}], "mirrors", "fault", "timeouts", "retries",
"error", "models", "gateway"}`, each as `turnout explain --format json` has it; `timeouts` are of the requests' kind, or
`{"stream", "unary"}` of both. `models` is whether the answer is the list of models; `gateway` is set where a host comes
or goes, and with it all that its gateway does."""

_UNARY, _STREAM = Request(), Request(stream=True)
_NEITHER_WHO_NOR_WHERE = ("origin", "tiers", "insteadOf", "rollout")
"""Of targets and settings: who says it, and what is told of each model."""


def effect(decision: Decision) -> Effect:
    """Of requests of both kinds."""
    explained = document(_UNARY, decision, lambda _: "")
    streams = document(_STREAM, decision, lambda _: "")["timeouts"]
    whole = explained["timeouts"]
    timeouts = None if whole is None else {"stream": _bare(streams), "unary": _bare(whole)}
    kept = ("targets", "mirrors", "fault", "retries", "error")
    return {
        **{key: _bare(explained[key]) for key in kept},
        "timeouts": timeouts,
        "models": explained["stage"] == "models",
        "gateway": None,
    }


def at_gateway(name: str | None) -> Effect:
    """Of every request at a host that comes or goes."""
    error = None if name else {"status": 404, "code": "host_not_found"}
    nothing: Effect = {"targets": [], "mirrors": [], "fault": None, "retries": None, "timeouts": None, "models": False}
    return {**nothing, "error": error, "gateway": name}


def of_kind(both: Effect, stream: bool) -> Effect:
    """Of requests that stream, or of those that do not."""
    timeouts = both["timeouts"]
    return {**both, "timeouts": None if timeouts is None else timeouts["stream" if stream else "unary"]}


def _bare(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _bare(inner) for key, inner in value.items() if key not in _NEITHER_WHO_NOR_WHERE}
    return [_bare(item) for item in value] if isinstance(value, list) else value
