"""A decision for people and for programs: who decided, where the request goes, and what was tried on the way.

One document holds all of it; the text is the document in words, so the two cannot differ.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any

from compiler.diagnostics import BUILT_IN, Position
from compiler.evaluate import Chosen, Decision, Refusal
from compiler.fleet import (
    Backend,
    Carrier,
    ConnectionPool,
    Endpoint,
    Fault,
    MirrorShare,
    Model,
    Retries,
    Rollout,
    RolloutEngine,
    Tier,
    Timeouts,
    Version,
)
from compiler.fleet.routes import WHOLE
from compiler.kinds.measures import duration_text
from compiler.request import Request
from compiler.rollout_document import rollout_spec

Document = dict[str, Any]
Place = Callable[[Position], str]
Healthy = Callable[[Endpoint], bool]

STATUS = {
    Refusal.HOST_NOT_FOUND: 404,
    Refusal.MODEL_NOT_FOUND: 404,
    Refusal.MODEL_NOT_READY: 503,
    Refusal.NO_HEALTHY_INSTANCE: 503,
}


def document(request: Request, decision: Decision, place: Place, healthy: Healthy | None = None) -> Document:
    """Its keys are an interface:

    `{"stage", "rule", "gateway", "carrier", "targets": [{"model", "version", "share", "tiers", "limits", "fallback",
    "insteadOf", "rollout", "origin"}], "unanswered", "mirrors", "fault", "timeouts", "retries", "error", "origin",
    "steps": [{"stage", "name", "matched", "why", "origin"}], "request"}`. `stage` is explicit, rule, capability,
    default, fallback, models or none; `share` and `unanswered` are of 1.

    What the carrier of the host has no words for is null: `limits` and `retries` with the Gateway API.

    `healthy` tells of an instance whether it is well; without it nothing is said of health.
    """

    def told(position: Position) -> str:
        return "default" if position == BUILT_IN else place(position)

    standard = decision.carrier is Carrier.GATEWAY_API
    return {
        "stage": str(decision.stage),
        "rule": decision.rule or None,
        "gateway": decision.gateway or None,
        "carrier": str(decision.carrier) if decision.gateway else None,
        "targets": [_target(target, told, healthy, limited=not standard) for target in decision.targets],
        "unanswered": (WHOLE - sum(target.share for target in decision.targets)) / WHOLE if decision.targets else 0,
        "mirrors": [_mirror(mirror) for mirror in decision.mirrors],
        "fault": _fault(decision.fault, told) if decision.fault else None,
        "timeouts": _timeouts(request, decision.timeouts, told) if decision.timeouts else None,
        "retries": _retries(decision.retries, told) if decision.retries and not standard else None,
        "error": {"status": STATUS[decision.refusal], "code": str(decision.refusal)} if decision.refusal else None,
        "origin": told(decision.origin) if decision.origin else None,
        "steps": [
            {"stage": str(s.stage), "name": s.name, "matched": s.matched, "why": s.why, "origin": told(s.origin)}
            for s in decision.steps
        ],
        "request": {
            "host": request.host,
            "method": request.method,
            "path": request.path,
            "model": request.model,
            "stream": request.stream,
            "prompt_length": request.prompt_length,
            "max_tokens": request.max_tokens,
            "capabilities": sorted(request.capabilities),
            "user_tier": request.user_tier,
        },
    }


def as_json(explained: Document) -> str:
    return json.dumps(explained, indent=2, ensure_ascii=False) + "\n"


def as_text(explained: Document) -> str:
    """The request as it was read, each step with its reason and line, then the split and its limits."""
    lines = [_asked(explained["request"]), "", *map(_step, explained["steps"])]
    if explained["error"]:
        return "\n".join([*lines, _refused(explained), *_live(explained)]) + "\n"
    if not explained["targets"]:
        return "\n".join([*lines, *_live(explained)]) + "\n"
    lines += ["", _decided(explained)]
    for target in explained["targets"]:
        lines += _target_lines(target)
    if explained["unanswered"]:
        lines.append(f"  {_percent(explained['unanswered'])}  nobody: 503, no instance is well")
    lines += [*_route_lines(explained), *_live(explained)]
    return "\n".join(lines) + "\n"


def _target(target: Chosen, place: Place, healthy: Healthy | None, *, limited: bool) -> Document:
    return {
        "model": target.model.name,
        "version": target.version.name,
        "share": target.share / WHOLE,
        "tiers": list(_tiers(target.model, target.version, healthy)),
        "limits": _limits(target.limits, place) if limited else None,
        "fallback": [_named(backend) for backend in target.hops],
        "insteadOf": [_named(backend) for backend in target.instead_of],
        "rollout": _rollout(target.model.rollout, place) if target.model.rollout else None,
        "origin": place(target.version.origin),
    }


def _rollout(rollout: Rollout, place: Place) -> Document:
    """What moves the model: of the shares of its versions, those that policy commits are only the first."""
    return {"name": rollout.name, **rollout_spec(rollout), "origin": place(rollout.engine_origin)}


def _named(backend: Backend) -> Document:
    return {"model": backend.model.name, "version": backend.version.name}


def _tiers(model: Model, version: Version, healthy: Healthy | None) -> Iterator[Document]:
    """In the order in which they are asked: the instances that policy lists, else those that it plans."""
    order = list(Tier)
    if version.endpoints:
        listed = sorted(version.endpoints, key=lambda endpoint: order.index(endpoint.tier))
        for tier, group in groupby(listed, key=lambda endpoint: endpoint.tier):
            members = list(group)
            zones = sorted({endpoint.zone for endpoint in members if endpoint.zone})
            well = {} if healthy is None else {"healthy": sum(map(healthy, members))}
            yield {"tier": str(tier), "instances": len(members), "zones": zones, **well}
        return
    planned = {Tier.ACTIVE: version.replicas, Tier.HOT: version.hot, Tier.WARM: version.warm, Tier.COLD: version.cold}
    for tier, count in planned.items():
        standby = tier is not Tier.ACTIVE and model.zones.standby is not None
        zones = [str(model.zones.standby)] if standby else list(model.zones.active)
        if count:
            yield {"tier": str(tier), "instances": count, "zones": zones}


def _limits(pool: ConnectionPool, place: Place) -> Document:
    return {
        "maxConnections": pool.max_connections,
        "http1MaxPendingRequests": pool.http1_max_pending_requests,
        "http2MaxRequests": pool.http2_max_requests,
        "connectTimeout": duration_text(pool.connect_timeout),
        "origin": place(pool.origin),
    }


def _mirror(mirror: MirrorShare) -> Document:
    return {"model": mirror.model.name, "version": mirror.version.name, "share": mirror.weight / WHOLE}


def _fault(fault: Fault, place: Place) -> Document:
    delay = {"percent": fault.delay_percent, "duration": duration_text(fault.delay)}
    abort = {"percent": fault.abort_percent, "status": fault.abort_status}
    return {
        "delay": delay if fault.delay_percent else None,
        "abort": abort if fault.abort_percent else None,
        "origin": place(fault.origin),
    }


def _timeouts(request: Request, timeouts: Timeouts, place: Place) -> Document:
    if not request.stream:
        return {"total": duration_text(timeouts.unary_total), "origin": place(timeouts.origin)}
    return {
        "firstByte": duration_text(timeouts.stream_first_byte),
        "idle": duration_text(timeouts.stream_idle),
        "total": duration_text(timeouts.stream_total),
        "origin": place(timeouts.origin),
    }


def _retries(retries: Retries, place: Place) -> Document:
    on = [*retries.retry_on, *map(str, retries.status_codes)]
    backoff = duration_text(retries.backoff)
    return {"attempts": retries.attempts, "retryOn": on, "backoff": backoff, "origin": place(retries.origin)}


def _live(explained: Document) -> Iterator[str]:
    """What a running server adds."""
    live = explained.get("live")
    if live:
        yield ""
        yield f"as served now, policy {live['digest']}: {live['healthy']} of {live['instances']} instances are healthy"
        if live["policy"] != "ok":
            yield "the last edit is broken: this is what was there before it"
        yield from map(override_text, live["overrides"])


def override_text(override: Document) -> str:
    """One of `overrides` in a running server's answers, in a line."""
    weights, policy = (
        " ".join(f"{version}={weight}" for version, weight in override[part].items()) for part in ("weights", "policy")
    )
    until = override["until"].partition(".")[0].partition("+")[0].replace("T", " ")
    return f"{override['model']}: live {weights} until {until} UTC, policy {policy}; why: {override['why']}"


def _asked(request: Document) -> str:
    facts = [
        f"{request['method']} {request['path']}",
        f"model {request['model']}" if request["model"] else "names no model",
    ]
    if request["prompt_length"] is not None:
        facts.append(f"prompt of {request['prompt_length']:,}")
    if request["max_tokens"] is not None:
        facts.append(f"at most {request['max_tokens']:,} tokens")
    if request["user_tier"]:
        facts.append(f"tier {request['user_tier']}")
    if request["capabilities"]:
        facts.append(f"needs {', '.join(request['capabilities'])}")
    return ", ".join([*facts, "streams" if request["stream"] else "one answer"])


def _step(step: Document) -> str:
    mark = "✓" if step["matched"] else "·"
    return f"{mark} {step['stage']} {step['name']}: {step['why']}  ({step['origin']})"


def _refused(explained: Document) -> str:
    error = explained["error"]
    said = f"nobody: {error['status']} {error['code']}"
    return said if explained["gateway"] else f"{said}; no gateway serves {explained['request']['host']}"


def _decided(explained: Document) -> str:
    who = f"rule {explained['rule']}" if explained["rule"] else explained["stage"]
    where = f", {explained['origin']}" if explained["origin"] else ""
    by = " by the Gateway API" if explained["carrier"] == Carrier.GATEWAY_API else ""
    return f"{who} decides at gateway {explained['gateway']}{by}{where}"


def _target_lines(target: Document) -> Iterator[str]:
    instead = f" in place of {_listed(target['insteadOf'])}" if target["insteadOf"] else ""
    yield f"  {_percent(target['share'])}  {target['model']} {target['version']}{instead}  ({target['origin']})"
    indent = " " * 12
    if target["tiers"]:
        yield f"{indent}{', then '.join(map(_tier, target['tiers']))}"
    if target["limits"]:
        yield indent + _limits_text(target["limits"])
    if target["fallback"]:
        yield f"{indent}when none is well: {_listed(target['fallback'])}"
    if target["rollout"]:
        yield f"{indent}{_rollout_text(target['rollout'])}"


def _limits_text(limits: Document) -> str:
    shown = [
        f"{limits[name]:,} {what}"
        for name, what in (
            ("maxConnections", "connections"),
            ("http1MaxPendingRequests", "waiting"),
            ("http2MaxRequests", "at work"),
        )
        if limits[name]
    ]
    said = ", ".join(shown) or "no limits"
    return f"{said}, connect within {limits['connectTimeout']}  ({limits['origin']})"


def _rollout_text(rollout: Document) -> str:
    way = "to Flagger's hands" if rollout["from"] == rollout["to"] else f"from {rollout['from']} to {rollout['to']}"
    flaggers = rollout["engine"] == RolloutEngine.FLAGGER
    who = "Flagger moves it and says the shares meanwhile" if flaggers else "nothing moves it yet"
    return f"rollout {rollout['name']}, {way}: {who}  ({rollout['origin']})"


def _tier(tier: Document) -> str:
    count = f"{tier['healthy']} of {tier['instances']} healthy" if "healthy" in tier else str(tier["instances"])
    return f"{tier['tier']} {count}" + (f" in {', '.join(tier['zones'])}" if tier["zones"] else "")


def _listed(backends: list[Document]) -> str:
    return ", ".join(f"{backend['model']} {backend['version']}" for backend in backends)


def _percent(share: float) -> str:
    return f"{100 * share:6.2f} %"


def _route_lines(explained: Document) -> Iterator[str]:
    for mirror in explained["mirrors"]:
        yield f"  copied: {_percent(mirror['share']).strip()} to {mirror['model']} {mirror['version']}"
    fault = explained["fault"]
    if fault:
        parts = []
        if fault["delay"]:
            parts.append(f"{fault['delay']['percent']} % wait {fault['delay']['duration']}")
        if fault["abort"]:
            parts.append(f"{fault['abort']['percent']} % are answered {fault['abort']['status']}")
        yield f"  drill: {', '.join(parts)}  ({fault['origin']})"
    timeouts = {name: value for name, value in explained["timeouts"].items() if name != "origin"}
    kind = "stream" if explained["request"]["stream"] else "whole answer"
    said = ", ".join(f"{name} {value}" for name, value in timeouts.items())
    yield f"  {kind}: {said}  ({explained['timeouts']['origin']})"
    retries = explained["retries"]
    if not retries:
        return
    tries = (
        f"tried again up to {retries['attempts']} times before the first byte, on {', '.join(retries['retryOn'])}"
        if retries["attempts"]
        else "tried once"
    )
    yield f"  {tries}  ({retries['origin']})"
