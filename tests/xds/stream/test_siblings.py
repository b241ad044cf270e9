"""Streams of one node, each a value: who waits for whom."""

from __future__ import annotations

import pytest

from tests.xds.stream.client import Client, types
from tests.xds.stream.snapshots import CLUSTER, ENDPOINT, LAYER, ROUTE, RUNTIME, TABLE, snapshot
from xds.snapshot import ResourceType
from xds.stream.siblings import beside, changed_clusters, owing
from xds.stream.state import StreamState, Variant
from xds.stream.update import next_update

pytestmark = pytest.mark.parametrize("variant", list(Variant))

OLD = snapshot({"a": 1, "b": 1})


def client(variant: Variant, only: ResourceType | None = None) -> Client:
    made = Client(variant, OLD)
    made.state = StreamState(variant, only=only)
    return made


def test_a_stream_sees_what_others_carry_and_it_does_not(variant: Variant) -> None:
    routes, clusters, layers = (client(variant, only) for only in (ROUTE, CLUSTER, RUNTIME))
    routes.ask(ROUTE, TABLE)
    clusters.ask(CLUSTER)
    layers.ask(RUNTIME, LAYER)
    assert list(beside(routes.state, [clusters.state, layers.state])) == [CLUSTER]
    assert beside(clusters.state, [clusters.state]) == {}


def test_two_aggregated_streams_are_no_siblings(variant: Variant) -> None:
    """One is the other's predecessor, and may be dead."""
    old, new, clusters = client(variant), client(variant), client(variant, CLUSTER)
    old.ask(ROUTE, TABLE)
    clusters.ask(CLUSTER)
    assert list(beside(new.state, [old.state, clusters.state])) == [CLUSTER]
    assert list(beside(clusters.state, [old.state])) == [ROUTE]


def test_load_assignments_are_sent_again_for_changed_clusters_only(variant: Variant) -> None:
    """For a new cluster the client asks by itself."""
    clusters, assignments = client(variant, CLUSTER), client(variant, ENDPOINT)
    clusters.ask(CLUSTER)
    clusters.settle()
    assignments.ask(ENDPOINT, "a", "b")
    assignments.settle()
    clusters.snapshot = assignments.snapshot = snapshot({"a": 2, "b": 1, "new": 1}, endpoints={"a": 1, "b": 1})
    found = set()
    for update in clusters.updates():
        batch = clusters.state.batch(CLUSTER, update.nonce)
        assert batch is not None
        found |= changed_clusters(clusters.state, CLUSTER, batch)
    assert found == {"a"}
    assert next_update(assignments.state, assignments.snapshot) is None
    assignments.state = owing(assignments.state, frozenset(["a", "unasked"]))
    (again,) = assignments.settle()
    assert (again.type, [resource.name for resource in again.resources]) == (ENDPOINT, ["a"])


def test_clusters_of_a_stream_with_load_assignments_of_its_own_concern_no_other(variant: Variant) -> None:
    aggregated = client(variant)
    aggregated.subscribed()
    aggregated.snapshot = snapshot({"a": 2, "b": 1})
    clusters = aggregated.updates()[0]
    batch = aggregated.state.batch(CLUSTER, clusters.nonce)
    assert batch is not None
    assert changed_clusters(aggregated.state, CLUSTER, batch) == frozenset()


def test_load_assignments_alone_are_not_taken_for_those_of_clusters_that_come_next(variant: Variant) -> None:
    lone, aggregated = client(variant, ENDPOINT), client(variant)
    versions = {name: resource.version for name, resource in OLD[ENDPOINT].items()}
    for envoy in (lone, aggregated):
        envoy.ask(ENDPOINT, "a", "b", version=OLD[ENDPOINT].version, versions=versions)
    assert (lone.state.warming, aggregated.state.warming) == (False, True)
    assert set(types(lone.settle())) == {ENDPOINT}
