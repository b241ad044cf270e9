"""The identities of rendered Envoys are those that the control server knows their groups by."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml

from compiler.emit import envoys
from compiler.fleet import Carrier, Fleet, Platform
from compiler.kept import Kept
from tests.compiler.emit.fleets import control_server, fleet, gateway, model, owned, tenant
from xds.stream.identity import Identity, may_ask


def rendered() -> Fleet:
    """Two gateways in two namespaces, one of them with a name that Kubernetes would not take, and a tenant."""
    edge = gateway("edge.v2", "mistral-7b", carrier=Carrier.ENVOY)
    gateways = (edge, replace(edge, name="staff", namespace="staff"))
    bank = tenant("bank", 8)
    of = fleet(model(), owned("fraud", bank), gateways=gateways, tenants=(bank,))
    return replace(of, platform=Platform(control_server=control_server()))


FLEET = rendered()
OBJECTS: list[dict[str, Any]] = [dict(item.body) for item in envoys.objects(FLEET, Kept())]


def groups(kind: str, name: str) -> dict[str, str]:
    """By namespace, the node cluster of the bootstraps called so."""
    found = {}
    for body in OBJECTS:
        if body["kind"] == kind and body["metadata"]["name"].startswith(name):
            found[body["metadata"]["namespace"]] = yaml.safe_load(body["data"]["bootstrap.yaml"])["node"]["cluster"]
    return found


def identity(namespace: str, account: str) -> Identity:
    return Identity(f"spiffe://cluster.local/ns/{namespace}/sa/{account}", (), not_after=0)


OF_GATEWAYS = groups("ConfigMap", "turnout-gateway-")


@pytest.mark.parametrize("namespace", OF_GATEWAYS)
def test_the_service_account_of_a_gateway_s_pods_may_ask_for_its_group_and_for_no_other(namespace: str) -> None:
    (account,) = (
        body["spec"]["template"]["spec"]["serviceAccountName"]
        for body in OBJECTS
        if body["kind"] == "Deployment"
        and body["metadata"]["namespace"] == namespace
        and body["metadata"]["name"] != "turnout-control"
    )
    who = identity(namespace, account)
    allowed = [group for group in (*OF_GATEWAYS.values(), *OF_SIDECARS.values()) if may_ask(who, group, FLEET)]
    assert allowed == [OF_GATEWAYS[namespace], "sidecar"]
    assert not may_ask(identity("elsewhere", account), OF_GATEWAYS[namespace], FLEET)
    assert not may_ask(identity(namespace, "default"), OF_GATEWAYS[namespace], FLEET)


OF_SIDECARS = groups("ConfigMap", "turnout-sidecar")


def test_whoever_runs_in_a_namespace_may_ask_for_the_group_of_the_bootstrap_there_and_for_no_tenant_s_else() -> None:
    assert sorted(OF_SIDECARS.values()) == ["sidecar", "sidecar.bank"]
    for namespace, group in OF_SIDECARS.items():
        assert may_ask(identity(namespace, "client"), group, FLEET)
    assert not may_ask(identity("elsewhere", "client"), "sidecar.bank", FLEET)
