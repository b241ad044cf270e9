"""What an Envoy may say of itself, and which gateway that makes."""

from __future__ import annotations

from typing import Any

import pytest

from compiler.fleet import Carrier, Host
from tests.xds.translate.fleets import fleet, gateway, model, orchestrator
from xds.translate.group import Placement, group_gateway, group_names, placement


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
        ({"secrets": ["/keys"]}, "turnout.secrets: ['/keys'] is no text"),
    ],
)
def test_metadata_that_makes_no_sense_is_told(asked: Any, problem: str) -> None:
    with pytest.raises(ValueError, match="node metadata") as raised:
        placement({"turnout": asked})
    assert str(raised.value) == f"node metadata {problem}"
