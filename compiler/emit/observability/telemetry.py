"""Istio's Telemetry: what its ingress gateway tells of the hosts that it carries."""

from __future__ import annotations

import json
from typing import Any

from compiler.envoy.request_pass import MODEL_HEADER, PROMPT_LENGTH_HEADER
from compiler.fleet import Tracing

PROVIDER = "turnout-otlp"
"""Of meshConfig.extensionProviders, which belongs to whoever runs the mesh."""
INGRESS = {"istio": "ingressgateway"}


def telemetry(tracing: Tracing, hosts: tuple[str, ...]) -> dict[str, Any]:
    """Spec of a Telemetry for the ingress gateway's pods.

    Access logs are of our hosts alone. Tracing knows no hosts: other hosts of these pods are sampled alike.
    """
    tags = {"turnout.model": MODEL_HEADER, "turnout.prompt_length": PROMPT_LENGTH_HEADER}
    return {
        "selector": {"matchLabels": INGRESS},
        "tracing": [
            {
                "providers": [{"name": PROVIDER}],
                "randomSamplingPercentage": tracing.percent if tracing.percent % 1 else int(tracing.percent),
                "customTags": {tag: {"header": {"name": header}} for tag, header in tags.items()},
            }
        ],
        "accessLogging": [{"providers": [{"name": "envoy"}], **_of(hosts)}],
    }


def _of(hosts: tuple[str, ...]) -> dict[str, Any]:
    """In CEL. A request may name the port behind its host."""
    return {} if "*" in hosts else {"filter": {"expression": " || ".join(map(_of_host, hosts))}}


def _of_host(host: str) -> str:
    if host.startswith("*."):
        return f"request.host.endsWith({json.dumps(host[1:])}) || request.host.contains({json.dumps(f'{host[1:]}:')})"
    return f"request.host == {json.dumps(host)} || request.host.startsWith({json.dumps(f'{host}:')})"
