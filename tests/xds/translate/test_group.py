"""What an Envoy may say of itself, and which gateway that makes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from compiler.fleet import Carrier, Fallback, Fleet, Hop, Host, Member, Orchestrator
from tests.xds.translate.fleets import ORIGIN, fleet, gateway, model, orchestrator, tenant
from xds.translate.group import Placement, group_gateway, group_names, placement, served_as


def test_groups_are_the_gateways_and_the_sidecars() -> None:
    gateways = (gateway(("chat",), name="public"), gateway(("chat",), name="inner"))
    given = fleet(model("chat"), gateways=gateways)
    assert group_names(given) == ("inner", "public", "sidecar")
    assert group_gateway(given, "nobody") is None


def test_a_group_carries_only_the_hosts_that_are_envoys() -> None:
    hosts = (Host("a", Carrier.ENVOY), Host("b", Carrier.ISTIO))
    served = group_gateway(fleet(model("chat"), hosts=hosts), "default")
    assert served is not None
    assert [host.name for host in served.hosts] == ["a"]


def test_a_sidecar_reaches_every_model_with_the_largest_body_of_any_gateway() -> None:
    gateways = (
        gateway(("chat",), name="one", max_request_bytes=5, orchestrator=orchestrator("auto", ("chat", 100))),
        gateway(("code",), name="two", max_request_bytes=9),
    )
    served = group_gateway(fleet(model("chat"), model("code"), gateways=gateways), "sidecar")
    assert served is not None
    assert served.models == ("chat", "code")
    assert served.max_request_bytes == 9
    assert served.orchestrator == gateways[0].orchestrator


def test_a_sidecar_has_no_orchestrator_where_there_is_a_choice() -> None:
    gateways = tuple(
        gateway(("chat",), name=name, orchestrator=orchestrator(name, ("chat", 100))) for name in ("one", "two")
    )
    served = group_gateway(fleet(model("chat"), gateways=gateways), "sidecar")
    assert served is not None
    assert served.orchestrator is None


BANK, SHOP = tenant("bank"), tenant("shop")


def of_tenants(**changes: Any) -> Fleet:
    models = (model("chat"), model("fraud", tenant="bank"))
    return fleet(*models, tenants=(BANK, SHOP), **changes)


def models_of(given: Fleet, group: str) -> tuple[str, ...]:
    served = group_gateway(given, group)
    assert served is not None
    return served.models


def test_sidecars_have_what_is_nobody_s_and_a_tenant_s_its_own_too() -> None:
    assert models_of(of_tenants(), "sidecar") == ("chat",)
    assert models_of(of_tenants(), "sidecar.bank") == ("chat", "fraud")
    assert models_of(of_tenants(), "sidecar.shop") == ("chat",)
    assert models_of(of_tenants(), "default") == ("chat", "fraud")


def test_groups_of_tenants_are_there_when_they_are_asked_for() -> None:
    assert group_names(of_tenants()) == ("default", "sidecar")
    assert served_as(of_tenants(), "sidecar.bank") == "sidecar.bank"


def test_a_tenant_without_a_model_of_its_own_is_served_as_all_sidecars() -> None:
    assert served_as(of_tenants(), "sidecar.shop") == "sidecar"


@pytest.mark.parametrize("group", ["sidecar.nobody", "sidecar.", "sidecar.fraud", "sidecar.bank.", "bank", ""])
def test_a_group_that_is_nobody_s_is_unknown(group: str) -> None:
    assert served_as(of_tenants(), group) is None
    assert group_gateway(of_tenants(), group) is None


def test_a_tenant_called_sidecar_has_its_models_for_itself() -> None:
    given = fleet(model("chat"), model("own", tenant="sidecar"), tenants=(tenant("sidecar"),))
    assert models_of(given, "sidecar") == ("chat",)
    assert models_of(given, "sidecar.sidecar") == ("chat", "own")


@pytest.mark.parametrize(
    ("chooser", "groups"),
    [
        (orchestrator("auto", ("chat", 100)), {"sidecar", "sidecar.bank"}),
        (orchestrator("auto", ("fraud", 100)), {"sidecar.bank"}),
        (
            replace(orchestrator("auto", ("chat", 100)), members=(Member("fraud", frozenset(), ORIGIN),)),
            {"sidecar.bank"},
        ),
        (
            replace(orchestrator("auto", ("chat", 100)), fallback=Fallback((Hop("fraud", (), ORIGIN),))),
            {"sidecar.bank"},
        ),
    ],
)
def test_an_orchestrator_chooses_for_sidecars_that_have_all_it_may_choose(
    chooser: Orchestrator, groups: set[str]
) -> None:
    given = of_tenants(orchestrator=chooser)
    found = {name: group_gateway(given, name) for name in ("sidecar", "sidecar.bank")}
    assert {name for name, served in found.items() if served and served.orchestrator} == groups


def test_metadata_moves_the_listener() -> None:
    asked = {"turnout": {"port": 18080.0, "address": "127.0.0.1", "secrets": "/keys"}, "other": 1}
    assert placement(asked) == Placement(18080, "127.0.0.1", "/keys")
    assert placement({}) == placement({"turnout": {}}) == Placement()


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        (5.0, "turnout: 5.0 is no map"),
        ({"prot": 80}, "turnout: unknown key 'prot', not one of port, address, secrets"),
        ({"port": "80"}, "turnout.port: '80' is no whole number"),
        ({"port": True}, "turnout.port: True is no whole number"),
        ({"port": 80.5}, "turnout.port: 80.5 is no whole number"),
        ({"port": float("nan")}, "turnout.port: nan is no whole number"),
        ({"port": float("inf")}, "turnout.port: inf is no whole number"),
        ({"port": 0}, "turnout.port: 0 is outside 1-65535"),
        ({"port": 65536.0}, "turnout.port: 65536 is outside 1-65535"),
        ({"address": 5.0}, "turnout.address: 5.0 is no text"),
        ({"address": ""}, "turnout.address: '' is no text"),
        ({"address": "localhost"}, "turnout.address: 'localhost' is no IP address"),
        ({"address": "fe80::1%eth0"}, "turnout.address: 'fe80::1%eth0' is no IP address"),
        ({"secrets": ["/keys"]}, "turnout.secrets: ['/keys'] is no text"),
    ],
)
def test_metadata_that_makes_no_sense_is_told(asked: Any, problem: str) -> None:
    with pytest.raises(ValueError, match="node metadata") as raised:
        placement({"turnout": asked})
    assert str(raised.value) == f"node metadata {problem}"
