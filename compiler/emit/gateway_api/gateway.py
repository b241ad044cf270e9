"""The Gateway itself: a listener for each port and host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from compiler.fleet import Gateway, Listener

ANY_HOST = "*"
MOST_LISTENERS = 64
LONGEST_NAME = 253
"""Of a listener, which its host is a part of."""


def spec(gateway: Gateway, hosts: Sequence[str], gateway_class: str) -> dict[str, Any]:
    listeners = [_listener(listener, host) for listener in gateway.listeners for host in hosts]
    return {"gatewayClassName": gateway_class, "listeners": listeners}


def listener_name(listener: Listener, host: str) -> str:
    """Of the port and the host alone: HTTPRoutes and statuses of others do not change names."""
    of_port = f"{str(listener.protocol).lower()}-{listener.port}"
    if host == ANY_HOST:
        return of_port
    # No other host can have the name of a wildcard: the first label differs.
    return f"{of_port}-any.{host[2:]}" if host.startswith("*.") else f"{of_port}.{host}"


def _listener(listener: Listener, host: str) -> dict[str, Any]:
    result: dict[str, Any] = {"name": listener_name(listener, host)}
    if host != ANY_HOST:
        result["hostname"] = host
    result |= {"port": listener.port, "protocol": str(listener.protocol)}
    if listener.tls_secret is not None:
        result["tls"] = {"mode": "Terminate", "certificateRefs": [{"name": listener.tls_secret}]}
    # The default, said: routes of other namespaces are not the policy's.
    return {**result, "allowedRoutes": {"namespaces": {"from": "Same"}}}
