"""What tracing adds to a snapshot, and what of it a change of it leaves alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2

from compiler.diagnostics import Position
from compiler.fleet import Carrier, Host, OtlpProtocol, Platform, Tracing
from compiler.kept import Kept
from tests.xds.translate.fleets import fleet, model
from xds.live.state import NOTHING_LIVE
from xds.snapshot import ResourceType, Snapshot
from xds.translate import Group, layer, place, snapshot
from xds.translate.group import Placement
from xds.translate.tracing import COLLECTOR, collector, sampling

ORIGIN = Position("policies/platform.yaml", 9, 12)
TRACING = Tracing(OtlpProtocol.GRPC, "otel.monitoring.svc", 4317, 1, ORIGIN)
PLAIN = fleet(model("chat"))
GROUP = Group("default")


def traced(tracing: Tracing = TRACING) -> Snapshot:
    return snapshot(replace(PLAIN, platform=Platform(tracing=tracing)), GROUP)


def test_the_collector_is_a_cluster_that_names_the_line_of_policy() -> None:
    found = traced()[ResourceType.CLUSTER]
    assert set(found) == {"chat_1", COLLECTOR}
    assert found[COLLECTOR].origin == ORIGIN
    assert set(traced()[ResourceType.ENDPOINT]) == {"chat_1"}


def test_without_tracing_there_is_none() -> None:
    assert set(snapshot(PLAIN, GROUP)[ResourceType.CLUSTER]) == {"chat_1"}


def test_a_group_without_listeners_has_no_collector_either() -> None:
    mesh = replace(PLAIN.gateways[0], hosts=(Host("mesh.example.com", Carrier.ISTIO),))
    of = replace(PLAIN, gateways=(mesh,), platform=Platform(tracing=TRACING))
    assert not snapshot(of, GROUP)[ResourceType.CLUSTER]


@pytest.mark.parametrize(
    ("protocol", "speaks"),
    [(OtlpProtocol.GRPC, "http2_protocol_options"), (OtlpProtocol.HTTP, "http_protocol_options")],
)
def test_grpc_needs_http2(protocol: OtlpProtocol, speaks: str) -> None:
    made = collector(replace(TRACING, protocol=protocol))
    [packed] = made.typed_extension_protocol_options.values()
    options = http_protocol_options_pb2.HttpProtocolOptions()
    assert packed.Unpack(options)
    assert options.explicit_http_config.WhichOneof("protocol_config") == speaks
    assert made.type == cluster_pb2.Cluster.STRICT_DNS


def test_another_percentage_changes_the_runtime_layer_alone() -> None:
    before, after = traced(), traced(replace(TRACING, percent=0.5))
    changed = {type_ for type_ in ResourceType if before[type_] != after[type_]}
    assert changed == {ResourceType.RUNTIME}


@pytest.mark.parametrize(("percent", "numerator"), [(0, 0), (0.29, 29), (1, 100), (100, 10_000)])
def test_a_percentage_is_exact_in_hundredths(percent: float, numerator: int) -> None:
    [fraction] = sampling(replace(TRACING, percent=percent)).values()
    assert fraction == {"numerator": numerator, "denominator": "TEN_THOUSAND"}


def test_another_placement_and_live_weights_keep_it() -> None:
    of = replace(PLAIN, platform=Platform(tracing=TRACING))
    whole = snapshot(of, Group("default", Placement(port=9000)))
    assert place(snapshot(of, GROUP), of, Group("default", Placement(port=9000))).sets == whole.sets
    assert layer(of, "default", NOTHING_LIVE) == whole[ResourceType.RUNTIME]


def test_an_edit_of_something_else_finds_its_clusters_again() -> None:
    kept = Kept()
    of = replace(PLAIN, platform=Platform(tracing=TRACING))
    first = snapshot(of, GROUP, kept)[ResourceType.CLUSTER]
    again = replace(of, platform=Platform(tracing=replace(TRACING)))
    assert snapshot(again, GROUP, Kept(kept.closed()))[ResourceType.CLUSTER] is first
