"""Where a request goes now: the fleet that is served, and how its instances are."""

from __future__ import annotations

import asyncio
import base64
import functools
import json

from compiler.evaluate import Readiness, carrier_of, evaluate, gateway_asked, reads_bodies
from compiler.explain import Document, document
from compiler.fleet import Carrier, Fleet, LengthUnit, Model, Version
from compiler.request import Sent, read_request
from xds.admin.overrides import overrides
from xds.control import Policy
from xds.live.state import LiveState, apply_live
from xds.observe.probes import healthy_endpoints


def sent_from(text: bytes) -> tuple[Sent, str | None]:
    """The request in `{"method", "path", "headers": [[name, value]], "body": base64, "gateway": name or null}`, and the
    gateway. Raises ValueError for anything else."""
    try:
        asked = json.loads(text)
        headers = tuple((str(name).lower(), str(value)) for name, value in asked["headers"])
        body = base64.b64decode(asked["body"], validate=True)
        method, path, gateway = asked["method"], asked["path"], asked.get("gateway")
    except (KeyError, TypeError, ValueError, RecursionError, AttributeError) as problem:
        raise ValueError(f"no request: {type(problem).__name__} {problem}") from None
    if not isinstance(method, str) or not isinstance(path, str) or not isinstance(gateway, str | None):
        raise ValueError("no request: method, path and gateway are texts")
    return Sent(method, path, headers, body), gateway


async def explained(fleet: Fleet, live: LiveState, policy: Policy, sent: Sent, gateway_name: str | None) -> Document:
    """The document of `compiler.explain`, with instances and weights as they are and `live`: what is served, and since
    when. `fleet` is as policy has it.

    Raises ValueError for a gateway that there is not, MalformedRequestError for a body that the gateway refuses.
    """
    gateway = gateway_asked(fleet, sent.host, gateway_name)
    unit = gateway.length_unit if gateway else LengthUnit.CHARACTERS
    # A large body takes a while, and streams are served meanwhile.
    read = functools.partial(read_request, reads_body=reads_bodies(gateway, sent.host))
    request = await asyncio.to_thread(read, sent, unit)
    # Live weights reach Turnout's own Envoys alone: whoever else carries the host keeps to policy.
    own = gateway is None or carrier_of(gateway, sent.host) is Carrier.ENVOY
    moved = apply_live(fleet, live) if own else fleet
    at_best = evaluate(moved, request, gateway, committed=fleet)
    involved = {backend for target in at_best.targets for backend in (target.backend, *target.hops)}
    well = await healthy_endpoints(involved)

    def look(model: Model, version: Version) -> Readiness:
        if not version.endpoints:
            return Readiness.UNLISTED
        return Readiness.READY if well.intersection(version.endpoints) else Readiness.UNHEALTHY

    found = document(request, evaluate(moved, request, gateway, look, fleet), str, well.__contains__)
    split = {backend.model.name for backend in involved}
    asked = {endpoint for _, version in involved for endpoint in version.endpoints}
    return {
        **found,
        "live": {
            "policy": str(policy.health),
            "digest": policy.digest,
            "loaded_at": None if policy.loaded_at is None else policy.loaded_at.isoformat(timespec="milliseconds"),
            "instances": len(asked),
            "healthy": len(well),
            "overrides": [found for found in overrides(live, fleet) if found["model"] in split],
        },
    }
