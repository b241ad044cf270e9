"""Instances as Envoy's priorities and localities."""

from __future__ import annotations

from typing import Any

import pytest

from compiler.fleet import Backend, Endpoint, Tier, Version, Zones
from tests.xds.translate.fleets import endpoint, model, version
from xds.translate.endpoints import EACH_KEEPS_ITS_SHARE, ONE_TAKES_ALL, Told, load_assignment

ACTIVE, HOT, WARM, COLD = Tier


def assigned(of: Version, standby: str | None = None) -> Any:
    return load_assignment(
        "m_2", Backend(model("m", zones=Zones((), standby)), of), EACH_KEEPS_ITS_SHARE, Told(whose=True, tier=False)
    )


def placed(*endpoints: Endpoint, standby: str | None = None) -> list[tuple[int, str, list[int]]]:
    """Priority, zone and ports of each locality, in order."""
    assignment = assigned(version(endpoints=endpoints), standby)
    return [
        (
            locality.priority,
            locality.locality.zone,
            [host.endpoint.address.socket_address.port_value for host in locality.lb_endpoints],
        )
        for locality in assignment.endpoints
    ]


def test_tiers_are_priorities_in_the_order_of_readiness() -> None:
    assert placed(endpoint(4, COLD), endpoint(3, WARM), endpoint(2, HOT), endpoint(1, ACTIVE)) == [
        (0, "", [1]),
        (1, "", [2]),
        (2, "", [3]),
        (3, "", [4]),
    ]


def test_a_tier_without_instances_leaves_no_gap() -> None:
    assert placed(endpoint(1, HOT), endpoint(2, COLD)) == [(0, "", [1]), (1, "", [2])]


def test_zones_are_localities_of_one_priority() -> None:
    assert placed(endpoint(3, zone="b"), endpoint(1, zone="a"), endpoint(2, zone="a")) == [
        (0, "a", [1, 2]),
        (0, "b", [3]),
    ]


def test_the_standby_zone_comes_after_the_active_zones_of_the_same_tier() -> None:
    assert placed(
        endpoint(1, ACTIVE, "z"), endpoint(2, ACTIVE, "b"), endpoint(3, HOT, "b"), endpoint(4, HOT, "z"), standby="b"
    ) == [(0, "z", [1]), (1, "b", [2]), (2, "z", [4]), (3, "b", [3])]


def test_a_tier_only_in_the_standby_zone_takes_one_priority() -> None:
    assert placed(endpoint(1, ACTIVE, "a"), endpoint(2, HOT, "b"), standby="b") == [(0, "a", [1]), (1, "b", [2])]


@pytest.mark.parametrize("endpoints", [(endpoint(1), endpoint(2)), (endpoint(2), endpoint(1))])
def test_the_order_in_policy_does_not_matter(endpoints: tuple[Endpoint, ...]) -> None:
    assert placed(*endpoints) == [(0, "", [1, 2])]


def test_instances_that_are_left_keep_their_share_where_another_tier_takes_the_rest() -> None:
    one, two = (assigned(version(endpoints=(endpoint(1), *more))) for more in ((), (endpoint(2, HOT),)))
    assert one.policy.overprovisioning_factor.value == ONE_TAKES_ALL
    assert two.policy.overprovisioning_factor.value == EACH_KEEPS_ITS_SHARE


def test_an_instance_has_its_weight_and_says_whose_it_is() -> None:
    assignment = assigned(version(endpoints=(endpoint(1, weight=7),)))
    who = assignment.endpoints[0].lb_endpoints[0].metadata.filter_metadata["turnout"]
    assert dict(who.items()) == {"model": "m", "version": "1"}
    assert assignment.endpoints[0].lb_endpoints[0].load_balancing_weight.value == 7


def test_only_an_instance_in_an_aggregate_says_whose_it_is_and_only_weights_above_1_are_written() -> None:
    backend = Backend(model("m"), version(endpoints=(endpoint(1),)))
    told = Told(whose=False, tier=True)
    [instance] = load_assignment("m_1", backend, ONE_TAKES_ALL, told).endpoints[0].lb_endpoints
    assert not instance.HasField("metadata")
    assert not instance.HasField("load_balancing_weight")


@pytest.mark.parametrize(
    ("told", "hot"),
    [
        (Told(whose=False, tier=False), {}),
        (Told(whose=False, tier=True), {"tier": "hot"}),
        (Told(whose=True, tier=True), {"model": "m", "version": "1", "tier": "hot"}),
    ],
)
def test_where_spans_tell_it_a_standby_says_which_tier_it_is_of(told: Told, hot: dict[str, str]) -> None:
    backend = Backend(model("m"), version(endpoints=(endpoint(1), endpoint(2, HOT))))
    active, standby = load_assignment("m_1", backend, ONE_TAKES_ALL, told).endpoints
    assert "tier" not in active.lb_endpoints[0].metadata.filter_metadata["turnout"]
    assert dict(standby.lb_endpoints[0].metadata.filter_metadata["turnout"].items()) == hot


def test_a_version_without_instances_has_an_empty_assignment() -> None:
    assignment = assigned(version("2", endpoints=()))
    assert assignment.cluster_name == "m_2"
    assert not assignment.endpoints
