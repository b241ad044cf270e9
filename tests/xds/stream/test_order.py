"""What goes before what, in both variants."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.xds.stream.client import Client, names, types
from tests.xds.stream.snapshots import CLUSTER, ENDPOINT, INGRESS, LAYER, LISTENER, ROUTE, RUNTIME, TABLE, of, snapshot
from xds.stream.state import Variant

pytestmark = pytest.mark.parametrize("variant", list(Variant))

OLD = snapshot({"a": 1, "b": 1})


def synced(variant: Variant, clusters: dict[str, int] | None = None) -> Client:
    client = Client(variant, OLD if clusters is None else snapshot(clusters))
    client.subscribed()
    assert client.updates() == []
    return client


def test_a_first_sync_brings_each_type_once_and_in_bulk(variant: Variant) -> None:
    client = Client(variant, OLD)
    found = client.subscribed()
    assert types(found) == [RUNTIME, CLUSTER, ENDPOINT, LISTENER, ROUTE]
    assert names(found) == [(LAYER,), ("a", "b"), ("a", "b"), (INGRESS,), (TABLE,)]


def test_nothing_is_said_of_a_type_that_was_not_asked_for(variant: Variant) -> None:
    client = Client(variant, OLD)
    client.ask(ENDPOINT, "a")
    assert types(client.settle()) == [ENDPOINT]


def test_listeners_and_routes_wait_until_clusters_are_accepted(variant: Variant) -> None:
    client = Client(variant, OLD)
    for type_, wanted in ((CLUSTER, ()), (LISTENER, ()), (ROUTE, (TABLE,))):
        client.ask(type_, *wanted)
    (clusters,) = client.updates()
    assert clusters.type is CLUSTER
    client.accept(clusters)
    assert types(client.updates()) == [LISTENER, ROUTE]


def test_load_assignments_do_not_wait_for_clusters_which_wait_for_them(variant: Variant) -> None:
    client = Client(variant, OLD)
    client.ask(CLUSTER)
    client.updates()
    client.ask(ENDPOINT, "a", "b")
    assert types(client.updates()) == [ENDPOINT]


def test_the_load_assignment_of_a_changed_cluster_is_sent_again_though_unchanged(variant: Variant) -> None:
    client = synced(variant)
    client.snapshot = snapshot({"a": 2, "b": 1})
    clusters, assignments = client.updates()
    assert (clusters.type, assignments.type) == (CLUSTER, ENDPOINT)
    assert names([assignments]) == [("a",)]


def test_a_new_cluster_comes_before_the_route_to_it(variant: Variant) -> None:
    client = synced(variant)
    client.snapshot = snapshot({"a": 1, "b": 1, "c": 1})
    (clusters,) = client.updates()
    assert clusters.type is CLUSTER
    client.ask(ENDPOINT, "c")
    client.accept(*client.updates())
    assert client.updates() == []
    client.accept(clusters)
    assert types(client.updates()) == [ROUTE]


def test_a_cluster_goes_when_the_routes_have_moved_and_not_before(variant: Variant) -> None:
    client = synced(variant)
    client.snapshot = snapshot({"b": 1, "c": 1})
    (added,) = client.updates()
    whole = ("a", "b", "c") if variant is Variant.SOTW else ("c",)
    assert (names([added]), added.removed) == ([whole], ())
    client.accept(added)
    (routes,) = client.updates()
    assert routes.type is ROUTE
    client.accept(routes)
    removal = client.updates()[0]
    assert removal.type is CLUSTER
    assert removal.removed == ("a",)
    assert names([removal]) == [("b", "c") if variant is Variant.SOTW else ()]


def test_a_cluster_stays_as_long_as_the_routes_to_it_are_the_last_the_client_accepts(variant: Variant) -> None:
    client = synced(variant)
    client.snapshot = snapshot({"b": 1})
    (routes,) = client.updates()
    client.refuse(routes)
    assert client.updates() == []


def test_a_cluster_that_was_never_accepted_goes_at_once(variant: Variant) -> None:
    """Its acceptance will not come: it waits for a load assignment that is gone."""
    client = synced(variant)
    client.snapshot = snapshot({"a": 1, "b": 1, "c": 1})
    client.updates()
    client.snapshot = snapshot({"a": 1, "b": 1}, listener=2)
    (removal,) = client.updates()
    assert removal.removed == ("c",)


def test_a_changed_cluster_that_is_to_go_still_gets_the_load_assignment_it_waits_for(variant: Variant) -> None:
    client = synced(variant)
    client.snapshot = snapshot({"a": 2, "b": 1})
    step = client.updates()
    client.snapshot = snapshot({"b": 1})
    client.ask(ENDPOINT, "a")
    resent = [u for u in client.updates() if u.type is ENDPOINT]
    if variant is Variant.DELTA:  # in state of the world naming a name again is no demand
        assert names(resent) == [("a",)]
    assert names(step[1:]) == [("a",)]


def test_removals_wait_until_a_client_that_returns_has_named_its_routes(variant: Variant) -> None:
    client = Client(variant, snapshot({"b": 1}))
    client.known = {OLD[CLUSTER].version: OLD[CLUSTER]}
    versions = {name: r.version for name, r in OLD[CLUSTER].items()}
    client.ask(CLUSTER, version=OLD[CLUSTER].version, versions=versions)
    assert client.updates() == []
    client.state = client.state.opened()
    (removal,) = client.updates()
    assert removal.removed == ("a",)


def test_a_listener_makes_way_for_the_one_that_takes_its_port(variant: Variant) -> None:
    client = synced(variant)
    client.snapshot = replace(OLD, sets={**OLD.sets, LISTENER: of(LISTENER, {"other": 1})})
    (update,) = client.updates()
    assert (names([update]), update.removed) == ([("other",)], (INGRESS,))


def test_while_a_new_cluster_is_refused_routes_stay_as_they_are(variant: Variant) -> None:
    client = synced(variant)
    client.snapshot = snapshot({"a": 1, "b": 1, "bad": 1})
    (clusters,) = client.updates()
    client.refuse(clusters)
    assert client.updates() == []
    client.snapshot = snapshot({"a": 1, "b": 1})
    removal = client.updates()[0]  # for all that one knows it was taken before it was refused
    assert (names([removal]), removal.removed) == ([("a", "b") if variant is Variant.SOTW else ()], ("bad",))


def test_while_a_change_of_a_cluster_is_refused_routes_move_on(variant: Variant) -> None:
    """The client still has the cluster, at its last good version."""
    client = synced(variant)
    client.snapshot = snapshot({"a": 2, "b": 1}, routed=["a"])
    clusters = client.updates()[0]
    client.refuse(clusters)
    assert types(client.updates()) == [ROUTE]


def test_a_client_without_routes_gets_them_though_a_cluster_is_refused(variant: Variant) -> None:
    client = Client(variant, snapshot({"bad": 1}))
    client.ask(CLUSTER)
    client.refuse(*client.updates())
    client.ask(LISTENER)
    client.ask(ROUTE, TABLE)
    assert types(client.settle()) == [LISTENER, ROUTE]


def test_a_runtime_layer_goes_out_whatever_else_is_on_its_way(variant: Variant) -> None:
    client = synced(variant)
    client.snapshot = snapshot({"a": 2, "b": 1}, layer=2)
    assert types(client.updates()) == [RUNTIME, CLUSTER, ENDPOINT]


def test_routes_go_on_when_only_the_last_of_several_lists_of_clusters_is_accepted(variant: Variant) -> None:
    """State of the world: as long as clusters are warming, an Envoy asks nothing about clusters, and then it names the
    last nonce only. In delta it answers every response."""
    client = synced(variant)
    responses = []
    for content in (2, 3, 2):
        client.snapshot = snapshot({"a": content, "b": 1}, routed=["a"])
        responses += [update for update in client.updates() if update.type is CLUSTER]
    assert len(responses) == 3
    client.accept(*(responses[-1:] if variant is Variant.SOTW else responses))
    assert types(client.updates()) == [ROUTE]
    assert not client.state.subscriptions[CLUSTER].outstanding
