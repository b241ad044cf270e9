"""What Turnout itself runs in the cluster: the Envoys of its gateways, the control server, bootstraps for sidecars.

Nothing of it comes without a control server: an Envoy that finds none stays unready. Where Platform describes none, it
runs elsewhere, or not in a cluster at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from compiler.diagnostics import BUILT_IN, Diagnostic, info
from compiler.emit.envoys import control_server, gateways, sidecars
from compiler.emit.object import Object
from compiler.fleet import Carrier, Fleet, Gateway, Model
from compiler.kept import Kept

_NONE = timedelta(0)


def objects(fleet: Fleet, kept: Kept) -> Iterator[Object]:
    if fleet.platform.control_server is None:
        return
    platform, own = kept.same("platform of Envoys", fleet.platform), _own(fleet)
    namespaces = kept.same("namespaces of Envoys", tuple(sorted({gateway.namespace for gateway in own})))
    yield from kept.of(control_server.objects, platform, namespaces)
    named = {model.name: model for model in fleet.models}
    for gateway in own:
        longest = kept.same(("longest", gateway.name), _longest(gateway, named))
        yield from kept.of(gateways.objects, gateway, longest, platform)
    having = {model.tenant for model in fleet.models}
    tenants = (tenant for tenant in fleet.tenants if tenant.quota is not None or tenant.name in having)
    yield kept.of(sidecars.of_platform, platform)
    for tenant in tenants:
        yield kept.of(sidecars.of_tenant, tenant, platform)


def diagnostics(fleet: Fleet, kept: Kept) -> Iterator[Diagnostic]:
    if fleet.platform.control_server is None:
        for gateway in _own(fleet):
            if gateway.origin != BUILT_IN:
                said = f"gateway {gateway.name} gets no Envoys in the cluster: Platform has no controlServer"
                yield info("P320", gateway.origin, said, "controlServer: {image: …}, or turnout bootstrap for your own")


def _own(fleet: Fleet) -> tuple[Gateway, ...]:
    return tuple(gateway for gateway in fleet.gateways if any(h.carrier is Carrier.ENVOY for h in gateway.hosts))


def _longest(gateway: Gateway, named: dict[str, Model]) -> timedelta:
    """That an answer may take."""
    led_to = frozenset() if gateway.orchestrator is None else gateway.orchestrator.leads_to
    models = [named[name].timeouts for name in {*gateway.models, *led_to} if name in named]
    rules = [rule.timeouts for rule in gateway.orchestrator.rules] if gateway.orchestrator else []
    return max((max(each.stream_total, each.unary_total) for each in (*models, *rules)), default=_NONE)
