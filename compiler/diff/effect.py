"""What a decision does to a request: all of it that the client or a model server can notice, and no line of policy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from compiler.evaluate import Chosen, Decision, Look, Readiness
from compiler.explain import document
from compiler.fleet import Carrier
from compiler.request import Request

Effect = Mapping[str, Any]
"""`{"targets": [{"model", "version", "share", "limits", "fallback", "answeredBy", "tenant"}], "mirrors", "fault",
"timeouts", "retries", "error", "models", "gateway"}`, each as `turnout explain --format json` has it, if it does.

`timeouts` are of the requests' kind, or `{"stream", "unary"}` of both. `tenant` is for whom alone the model runs, null
where it runs for everybody; `answeredBy` is the target itself, who stands in for one without instances, or null for
nobody; `models` is whether the answer is the list of models; `gateway` is set where a host comes or goes, and with it
all that its gateway does."""

_UNARY, _STREAM = Request(), Request(stream=True)
_NEITHER_WHO_NOR_WHERE = ("origin", "tiers", "insteadOf", "rollout")
"""Of targets and settings: who says it, and what is told of each model."""


def effect(decision: Decision, look: Look) -> Effect:
    """Of requests of both kinds, for a decision that nobody has looked at instances for; `look` tells of them."""
    explained = document(_UNARY, decision, lambda _: "")
    # The Gateway API does not tell streams from other requests.
    streams = _UNARY if decision.carrier is Carrier.GATEWAY_API else _STREAM
    whole = explained["timeouts"]
    timeouts = None
    if whole is not None:
        timeouts = {"stream": _bare(document(streams, decision, lambda _: "")["timeouts"]), "unary": _bare(whole)}
    targets = zip(explained["targets"], decision.targets, strict=True)
    return {
        "targets": [
            {**_bare(told), "answeredBy": _answered_by(chosen, look), "tenant": chosen.model.tenant}
            for told, chosen in targets
        ],
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


def answered(of: Effect) -> float:
    """The share of its requests that somebody answers, of 1."""
    if of["error"]:
        return 0
    nobodys: Iterable[float] = (target["share"] for target in of["targets"] if target["answeredBy"] is None)
    return round(1 - sum(nobodys), 6)


def lost(before: Effect, after: Effect) -> float:
    """The share of requests that somebody answers before, and nobody after."""
    return round(max(0, answered(before) - answered(after)), 6)


def _answered_by(target: Chosen, look: Look) -> dict[str, str] | None:
    line = (target.backend, *target.hops)
    ready = next((backend for backend in line if look(*backend) is Readiness.READY), None)
    return None if ready is None else {"model": ready.model.name, "version": ready.version.name}


def _bare(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _bare(inner) for key, inner in value.items() if key not in _NEITHER_WHO_NOR_WHERE}
    return [_bare(item) for item in value] if isinstance(value, list) else value
