"""A decision for people and for programs: who decided, where the request goes, and what was tried on the way."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from compiler.diagnostics import Position
from compiler.evaluate import Decision, Stage, Step
from compiler.fleet import Retries, Timeouts
from compiler.fleet.routes import WHOLE
from compiler.kinds.measures import duration_text
from compiler.request import Request

Place = Callable[[Position], str]


def as_text(request: Request, decision: Decision, place: Place) -> str:
    """The request as it was read, each step with its reason and line, then the split and its limits."""
    lines = [_asked(request), ""]
    lines += [_step(step, place) for step in decision.steps]
    if not decision.targets:
        lines.append("nobody: 404 model_not_found" if decision.gateway else f"nobody: no gateway serves {request.host}")
        return "\n".join(lines) + "\n"
    lines += ["", _decided(decision, place)]
    width = max(len(f"{t.model} {t.version}") for t in decision.targets)
    for target in decision.targets:
        name = f"{target.model} {target.version}"
        lines.append(f"  {100 * target.share / WHOLE:6.2f} %  {name:<{width}}  {place(target.origin)}")
    assert decision.timeouts is not None  # set wherever there are targets
    assert decision.retries is not None
    lines += [f"  {_limits(request, decision.timeouts)}", f"  {_tries(decision.retries)}"]
    return "\n".join(lines) + "\n"


def as_json(request: Request, decision: Decision, place: Place) -> str:
    """`{"stage", "rule", "gateway", "targets": [{"model", "version", "share", "origin"}], "origin", "steps": […], …}`.

    `share` is of 1; `stage` is explicit, rule, default or none.
    """
    document: dict[str, Any] = {
        "stage": str(decision.stage),
        "rule": decision.rule or None,
        "gateway": decision.gateway or None,
        "targets": [
            {"model": t.model, "version": t.version, "share": t.share / WHOLE, "origin": place(t.origin)}
            for t in decision.targets
        ],
        "origin": place(decision.origin) if decision.origin else None,
        "timeouts": _timeouts(request, decision.timeouts) if decision.timeouts else None,
        "retries": _retries(decision.retries) if decision.retries else None,
        "steps": [
            {"stage": str(s.stage), "name": s.name, "matched": s.matched, "why": s.why, "origin": place(s.origin)}
            for s in decision.steps
        ],
        "request": {
            "model": request.model,
            "stream": request.stream,
            "prompt_length": request.prompt_length,
            "max_tokens": request.max_tokens,
            "capabilities": sorted(request.capabilities),
            "user_tier": request.user_tier,
        },
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _asked(request: Request) -> str:
    facts = [f"{request.method} {request.path}", f"model {request.model}" if request.model else "names no model"]
    if request.prompt_length is not None:
        facts.append(f"prompt of {request.prompt_length:,}")
    if request.max_tokens is not None:
        facts.append(f"at most {request.max_tokens:,} tokens")
    if request.user_tier:
        facts.append(f"tier {request.user_tier}")
    if request.capabilities:
        facts.append(f"needs {', '.join(sorted(request.capabilities))}")
    return ", ".join([*facts, "streams" if request.stream else "one answer"])


def _step(step: Step, place: Place) -> str:
    mark = "✓" if step.matched else "·"
    return f"{mark} {step.stage} {step.name}: {step.why}  ({place(step.origin)})"


def _decided(decision: Decision, place: Place) -> str:
    who = f"rule {decision.rule}" if decision.stage is Stage.RULE else str(decision.stage)
    where = f", {place(decision.origin)}" if decision.origin else ""
    return f"{who} decides at gateway {decision.gateway}{where}"


def _limits(request: Request, timeouts: Timeouts) -> str:
    said = ", ".join(f"{name} {value}" for name, value in _timeouts(request, timeouts).items())
    return f"{'stream' if request.stream else 'whole answer'}: {said}"


def _timeouts(request: Request, timeouts: Timeouts) -> dict[str, str]:
    if not request.stream:
        return {"total": duration_text(timeouts.unary_total)}
    return {
        "firstByte": duration_text(timeouts.stream_first_byte),
        "idle": duration_text(timeouts.stream_idle),
        "total": duration_text(timeouts.stream_total),
    }


def _tries(retries: Retries) -> str:
    if not retries.attempts:
        return "tried once"
    on = ", ".join((*retries.retry_on, *map(str, retries.status_codes)))
    return f"tried again up to {retries.attempts} times before the first byte, on {on}"


def _retries(retries: Retries) -> dict[str, Any]:
    on = [*retries.retry_on, *map(str, retries.status_codes)]
    return {"attempts": retries.attempts, "retryOn": on, "backoff": duration_text(retries.backoff)}
