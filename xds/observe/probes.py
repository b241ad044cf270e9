"""Looks at instances as the health checks of policy do, when somebody asks: what Envoys see is theirs alone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import aiohttp

from compiler.fleet import Backend, Endpoint, HealthCheck

AT_ONCE = 100
"""Instances that are looked at at the same time, whoever asks."""

_looking = asyncio.Semaphore(AT_ONCE)


async def healthy_endpoints(backends: Iterable[Backend]) -> frozenset[Endpoint]:
    """Those instances of `backends` that answer their health check with 200, one look each, within its timeout."""
    looks = {e: version.health_check for _, version in backends for e in version.endpoints}
    async with aiohttp.ClientSession() as session:
        found = await asyncio.gather(*(_is_healthy(session, e, check) for e, check in looks.items()))
    return frozenset(endpoint for endpoint, healthy in zip(looks, found, strict=True) if healthy)


async def _is_healthy(session: aiohttp.ClientSession, endpoint: Endpoint, check: HealthCheck) -> bool:
    host = f"[{endpoint.address}]" if ":" in endpoint.address else endpoint.address
    timeout = aiohttp.ClientTimeout(total=check.timeout.total_seconds())
    try:
        # As Envoy looks: where an instance points to elsewhere, it is not well itself.
        look = session.get(f"http://{host}:{endpoint.port}{check.path}", timeout=timeout, allow_redirects=False)
        async with _looking, look as answer:
            return answer.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False
