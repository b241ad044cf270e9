"""What a decision does to a request: all of it that the client or a model server can notice, and no line of policy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compiler.evaluate import Decision
from compiler.explain import document
from compiler.fleet import Carrier
from compiler.request import Request

Effect = Mapping[str, Any]
"""`{"targets": [{"model", "version", "share", "limits", "fallback", "tenant"}], "mirrors", "fault", "timeouts",
"retries", "error", "models", "gateway"}`, each as `turnout explain --format json` has it, where that has it.

`timeouts` are of the requests' kind, or `{"stream", "unary"}` of both. `tenant` is for whom alone the model runs, null
where it runs for everybody; `models` is whether the answer is the list of models; `gateway` is set where a host comes
or goes, and with it all that its gateway does."""

_UNARY, _STREAM = Request(), Request(stream=True)
_NEITHER_WHO_NOR_WHERE = ("origin", "tiers", "insteadOf", "rollout")
"""Of targets and settings: who says it, and what is told of each model."""


def effect(decision: Decision) -> Effect:
    """Of requests of both kinds."""
    explained = document(_UNARY, decision, lambda _: "")
    # The Gateway API does not tell streams from other requests.
    streams = _UNARY if decision.carrier is Carrier.GATEWAY_API else _STREAM
    whole = explained["timeouts"]
    timeouts = None
    if whole is not None:
        timeouts = {"stream": _bare(document(streams, decision, lambda _: "")["timeouts"]), "unary": _bare(whole)}
    targets = zip(explained["targets"], decision.targets, strict=True)
    return {
        "targets": [{**_bare(told), "tenant": chosen.model.tenant} for told, chosen in targets],
        **{key: _bare(explained[key]) for key in ("mirrors", "fault", "retries", "error")},
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
