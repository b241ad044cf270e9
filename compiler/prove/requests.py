"""Whether requests that a model is meant for can reach it whole."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.diagnostics import Diagnostic, warning
from compiler.fleet import Fleet
from compiler.quantity import bytes_text

BYTES_PER_TOKEN = 4
"""Of English text, the least that a prompt of a full context takes."""


def findings(fleet: Fleet) -> Iterator[Diagnostic]:
    """Bodies over a gateway's limit get 413, so a limit under a model's context makes that context a promise."""
    models = {model.name: model for model in fleet.models}
    for gateway in fleet.gateways:
        for name in gateway.models:
            tokens = max(version.engine.max_seq_len for version in models[name].versions)
            if gateway.max_request_bytes < BYTES_PER_TOKEN * tokens:
                limit = bytes_text(gateway.max_request_bytes)
                said = f"maxRequestBytes {limit} cannot hold {name}'s {tokens} tokens"
                yield warning("P415", gateway.origin, said, "leave maxRequestBytes out")
