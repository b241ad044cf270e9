"""What a request can notice of a decision, said apart from what `turnout diff` compares."""

from __future__ import annotations

from dataclasses import replace

from compiler.evaluate import Chosen, Decision, Readiness, Stage, evaluate
from compiler.fleet import Backend, Carrier, Fleet, Model, Version
from compiler.fleet.routes import WHOLE
from compiler.request import Request


def decides(fleet: Fleet, request: Request) -> object:
    """All of a decision that the request can notice, or could if each version had instances."""
    decision = evaluate(fleet, request)
    found = answered(fleet, request)
    standard = decision.carrier is Carrier.GATEWAY_API
    return (
        decision.stage is Stage.MODELS,
        decision.refusal,
        found.refusal,
        [(*names(target.backend), target.share, list(map(names, target.instead_of))) for target in found.targets],
        [(*names(target.backend), target.model.tenant, target.share, None if standard else limits(target),
          [names(hop) for hop in target.hops]) for target in decision.targets],
        [(share.model.name, share.version.name, share.weight) for share in decision.mirrors],
        decision.fault and replace(decision.fault, origin=None),  # type: ignore[arg-type]
        decision.retries and not standard and replace(decision.retries, origin=None),  # type: ignore[arg-type]
        timeouts(decision, request.stream and not standard),
    )  # fmt: skip


def answered(fleet: Fleet, request: Request) -> Decision:
    """With no more instances than policy lists, where Turnout's own Envoys carry the host."""
    carrier = evaluate(fleet, request).carrier

    def look(_: Model, version: Version) -> Readiness:
        return Readiness.READY if version.endpoints or carrier is not Carrier.ENVOY else Readiness.UNLISTED

    return evaluate(fleet, request, look=look)


def share_answered(fleet: Fleet, request: Request) -> int:
    """Of 10,000 requests like this one."""
    found = answered(fleet, request)
    return WHOLE if found.stage is Stage.MODELS else sum(target.share for target in found.targets)


def names(backend: Backend) -> tuple[str, str]:
    return backend.model.name, backend.version.name


def limits(target: Chosen) -> tuple[object, ...]:
    pool = target.limits
    return pool.max_connections, pool.http1_max_pending_requests, pool.http2_max_requests, pool.connect_timeout


def timeouts(decision: Decision, stream: bool) -> object:
    of = decision.timeouts
    if of is None:
        return None
    return (of.stream_first_byte, of.stream_idle, of.stream_total) if stream else of.unary_total
