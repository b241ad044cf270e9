"""Who may read the admin port, and who may change something there."""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from xds.admin.answers import json_answer

WEBHOOK = "/webhook"
"""Whoever knocks there signs what he says, and has no token."""
OPEN = ("/healthz", "/readyz")
"""For kubelet's probes, which have no token: they tell whether the server is alive and ready, and nothing else."""


@dataclass(frozen=True, slots=True)
class Access:
    write: bytes | None = None
    """The token of those who may set live weights and roll back, and read; without one nobody may."""
    read: bytes | None = None
    """The token of those who may only read."""
    guarded: bool = False
    """Reading needs a token, too: others than this machine reach the port."""

    def refusal(self, request: web.Request) -> web.Response | None:
        """Of a request that would change something."""
        if self.write is None:
            return _said(403, "nothing can be changed here: start turnout serve with --admin-token-file")
        return _unless(request, self.write)

    def reading_refusal(self, request: web.Request) -> web.Response | None:
        if not self.guarded or request.path in (*OPEN, WEBHOOK):
            return None
        return _unless(request, *(token for token in (self.read, self.write) if token is not None))


def guard(access: Access) -> Middleware:
    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        refused = access.reading_refusal(request)
        return await handler(request) if refused is None else refused

    return guarded


def _unless(request: web.Request, *tokens: bytes) -> web.Response | None:
    """None when the request has one of `tokens`."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    # Of texts it compares ASCII only.
    presented = given.strip().encode(errors="surrogateescape")
    right = [hmac.compare_digest(presented, token) for token in tokens]
    if scheme.lower() == "bearer" and any(right):
        return None
    asked = "this needs the server's token: --token-file or TURNOUT_ADMIN_TOKEN"
    refused = _said(401, "that is not this server's token" if given else asked)
    refused.headers["WWW-Authenticate"] = "Bearer"
    return refused


def _said(status: int, error: str) -> web.Response:
    return json_answer({"error": error}, status)
