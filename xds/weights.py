"""The command `turnout weights`: what it asks the server, and how it tells the answer."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from compiler.explain import override_text
from xds.client import Answer, NotAnsweredError, ask, authorization


def wrong_use(options: argparse.Namespace) -> str | None:
    """What no server needs to be asked about."""
    given = options.lasting is not None or options.why is not None
    versions = [version for version, _ in options.weights]
    if options.clear:
        return "--clear takes a MODEL and nothing more" if options.model is None or versions or given else None
    if options.model is None:
        return "--for and --why are of a MODEL's weights" if given else None
    if "=" in options.model:
        return f"a MODEL comes before its weights: turnout weights llama-70b {options.model}"
    if not versions:
        return f"what of {options.model}? VERSION=PERCENT …, or --clear"
    if options.lasting is None or options.why is None:
        return "--for and --why are required: when it ends, and what whoever finds it needs to know"
    twice = sorted({version for version in versions if versions.count(version) > 1})
    return f"version {twice[0]} has two weights" if twice else None


def run(options: argparse.Namespace) -> int:
    """Exit status: 0 done, 1 refused or not answered. Raises OSError when the token's file cannot be read."""
    try:
        headers = authorization(options.token_file)
    except ValueError as problem:
        print(f"turnout: {problem}", file=sys.stderr)
        return 1
    try:
        answer = _answer(options, headers)
    except NotAnsweredError as problem:
        print(f"turnout: {problem}", file=sys.stderr)
        return 1
    found = answer.document
    done = answer.status == 200 and ("overrides" in found or "until" in found)
    if options.format == "json" and found:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    elif done:
        print("\n".join(_done(options, found)))
    else:
        print("\n".join(_refused(answer)), file=sys.stderr)
    return 0 if done else 1


def _answer(options: argparse.Namespace, headers: Mapping[str, str]) -> Answer:
    """Raises NotAnsweredError."""
    if options.clear:
        return ask(options.admin, f"/weights/{quote(options.model, safe='')}", method="DELETE", headers=headers)
    if options.model is None:
        return ask(options.admin, "/weights", headers=headers)
    asked = {"model": options.model, "weights": dict(options.weights), "for": options.lasting, "why": options.why}
    return ask(options.admin, "/weights", json.dumps(asked).encode(), headers=headers)


def _done(options: argparse.Namespace, found: dict[str, Any]) -> Iterator[str]:
    if "overrides" in found:
        yield from map(override_text, found["overrides"]) if found["overrides"] else ["nothing is live: policy holds"]
        return
    policy = " ".join(f"{version}={weight}" for version, weight in found["policy"].items())
    yield f"{found['model']}: policy {policy} again" if options.clear else override_text(found)
    yield from (f"warning: {said}" for said in found["warnings"])


def _refused(answer: Answer) -> Iterator[str]:
    for problem in answer.document.get("problems") or [{"message": answer.error}]:
        yield f"turnout: {problem['message']}"
        if problem.get("hint"):
            yield f"  = hint: {problem['hint']}"
