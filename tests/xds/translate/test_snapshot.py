"""A group's snapshot as a whole: consistent, shared between its Envoys, the same on every machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.clusters.aggregate.v3 import cluster_pb2 as aggregate_pb2

from compiler.fleet import Carrier, Fallback, Fleet, Hop, Host, Mirror, Tier
from tests.xds.translate.fleets import ORIGIN, endpoint, fleet, gateway, model, orchestrator, version
from xds.snapshot import ResourceType, Snapshot
from xds.translate import Group, Placement, group_names, place, snapshot

ROOT = Path(__file__).parents[3]
DIGEST = """
from tests.xds.translate.test_snapshot import sample
from xds.translate import Group, group_names, snapshot
for name in group_names(sample()):
    print(*(resources.version for resources in snapshot(sample(), Group(name)).sets.values()))
"""


def sample() -> Fleet:
    chat = model(
        "chat",
        (version("1", 90, (endpoint(1), endpoint(2, Tier.HOT))), version("2", 10), version("3", 0)),
        aliases=("c", "talk"),
    )
    gateways = (
        gateway(("chat", "code"), orchestrator=orchestrator("auto", ("code", 60), ("chat", 40))),
        gateway(("code",), name="inner"),
        gateway(("chat",), name="mesh", hosts=(Host("*", Carrier.ISTIO),)),
    )
    return fleet(replace(chat, mirror=Mirror("code", None, 10)), model("code"), gateways=gateways)


def routed_clusters(of: Snapshot) -> Iterator[str]:
    for resource in of[ResourceType.ROUTE].values():
        for host in route_pb2.RouteConfiguration.FromString(resource.body).virtual_hosts:
            for found in host.matcher.matcher_tree.exact_match_map.map.values():
                routes = route_components_pb2.RouteList()
                found.action.typed_config.Unpack(routes)
                yield from _clusters(routes)


def _clusters(routes: Any) -> Iterator[str]:
    for route in routes.routes:
        if route.route.cluster:
            yield route.route.cluster
        yield from (cluster.name for cluster in route.route.weighted_clusters.clusters)
        yield from (mirror.cluster for mirror in route.route.request_mirror_policies)


def aggregates(of: Snapshot) -> dict[str, list[str]]:
    """Members by name."""
    found = {}
    for name, resource in of[ResourceType.CLUSTER].items():
        config = aggregate_pb2.ClusterConfig()
        if cluster_pb2.Cluster.FromString(resource.body).cluster_type.typed_config.Unpack(config):
            found[name] = list(config.clusters)
    return found


@pytest.mark.parametrize("name", group_names(sample()))
def test_every_routed_cluster_is_there_with_its_load_assignment_and_none_else(name: str) -> None:
    found = snapshot(sample(), Group(name))
    assert set(found.sets) == set(ResourceType)
    routed, of_clusters = set(routed_clusters(found)), aggregates(found)
    used = routed.union(*of_clusters.values())
    assert set(found[ResourceType.CLUSTER]) == used
    assert set(found[ResourceType.ENDPOINT]) == used - set(of_clusters)
    for key, resource in found[ResourceType.CLUSTER].items():
        assert cluster_pb2.Cluster.FromString(resource.body).name == key
    for key, resource in found[ResourceType.ENDPOINT].items():
        assert endpoint_pb2.ClusterLoadAssignment.FromString(resource.body).cluster_name == key


def test_a_version_with_several_tiers_has_its_rest_before_another_model_answers() -> None:
    tiers = (endpoint(1), endpoint(2, Tier.HOT))
    models = (model("a", (version(endpoints=tiers),)), model("b", (version(endpoints=tiers),)), model("c"))
    chain = Fallback((Hop("b", (), ORIGIN), Hop("c", (), ORIGIN), Hop("a", (), ORIGIN)))
    chooser = replace(orchestrator("auto", ("a", 100)), fallback=chain)
    of = fleet(*models, orchestrator=chooser)
    found = snapshot(of, Group("default"))
    assert aggregates(found) == {"a_1+b_1+c_1": ["a_1", "a_1_rest", "b_1", "b_1_rest", "c_1"]}
    factors = {
        name: endpoint_pb2.ClusterLoadAssignment.FromString(resource.body).policy.overprovisioning_factor.value
        for name, resource in found[ResourceType.ENDPOINT].items()
    }
    assert factors == {"a_1": 100, "a_1_rest": 100_000, "b_1": 100, "b_1_rest": 100_000, "c_1": 100_000}


def test_a_group_has_only_what_its_gateway_serves() -> None:
    assert list(snapshot(sample(), Group("inner"))[ResourceType.CLUSTER]) == ["code_1"]
    assert list(snapshot(sample(), Group("sidecar"))[ResourceType.CLUSTER]) == ["chat_1", "chat_2", "chat_3", "code_1"]


def test_a_gateway_that_istio_carries_has_nothing_but_its_runtime_layer() -> None:
    found = snapshot(sample(), Group("mesh"))
    assert list(found[ResourceType.RUNTIME]) == ["turnout"]
    assert [kind for kind in ResourceType if found[kind]] == [ResourceType.RUNTIME]


def test_another_placement_shares_all_but_the_listeners() -> None:
    first = snapshot(sample(), Group("default"))
    moved = place(first, sample(), Group("default", Placement(port=19000)))
    for kind in ResourceType:
        assert (first[kind] is moved[kind]) == (kind is not ResourceType.LISTENER)
    assert set(first[ResourceType.LISTENER]) == set(moved[ResourceType.LISTENER])
    assert first[ResourceType.LISTENER].version != moved[ResourceType.LISTENER].version
    again = snapshot(sample(), Group("default", Placement(port=19000)))
    assert again[ResourceType.LISTENER].version == moved[ResourceType.LISTENER].version


def test_an_unknown_group_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="nobody"):
        snapshot(sample(), Group("nobody"))


def test_versions_are_the_same_under_every_hash_seed() -> None:
    def versions(seed: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", DIGEST],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    assert versions("1") == versions("2") != ""
