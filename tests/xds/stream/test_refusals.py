"""What a client refuses stays as it was, is not offered again, and holds up nothing else."""

from __future__ import annotations

import pytest

from tests.xds.stream.client import Client, names, types
from tests.xds.stream.snapshots import CLUSTER, ENDPOINT, ROUTE, snapshot
from xds.snapshot import Snapshot
from xds.stream.state import Variant
from xds.stream.update import Update

both = pytest.mark.parametrize("variant", list(Variant))


def synced(variant: Variant, at: Snapshot) -> Client:
    client = Client(variant, at)
    client.subscribed()
    return client


def refusing(client: Client, bad: str) -> list[Update]:
    """Refuses every response with `bad` in it, accepts the others, until there is silence."""
    found = []
    while updates := client.updates():
        found += updates
        assert len(found) < 1000, "it is offered again and again"
        for update in updates:
            if bad in names([update])[0]:
                client.refuse(update, reason=f"{bad} is bad")
            else:
                client.accept(update)
    return found


@both
def test_a_refused_version_is_not_sent_again(variant: Variant) -> None:
    client = synced(variant, snapshot({"a": 1}))
    client.snapshot = snapshot({"a": 1}, {"a": 2})
    client.refuse(*client.updates(), reason="malformed IP address")
    assert client.updates() == []
    (refusal,) = client.state.subscriptions[ENDPOINT].refused.values()
    assert (refusal.resource.name, refusal.detail) == ("a", "malformed IP address")


@both
@pytest.mark.parametrize("next_content", [3, 1], ids=["another", "the last good"])
def test_another_version_clears_the_refusal(variant: Variant, next_content: int) -> None:
    """The last good one is sent too: an Envoy may have applied a part of what it refused."""
    client = synced(variant, snapshot({"a": 1}))
    client.snapshot = snapshot({"a": 1}, {"a": 2})
    client.refuse(*client.updates())
    client.snapshot = snapshot({"a": 1}, {"a": next_content})
    assert names(client.settle()) == [("a",)]
    assert client.state.subscriptions[ENDPOINT].refused == {}
    assert client.updates() == []


@both
@pytest.mark.parametrize("size", [3, 40, 200])
def test_the_culprit_of_a_refused_bulk_is_found_and_refused_alone(variant: Variant, size: int) -> None:
    many = {f"c{n:03}": 1 for n in range(size)}
    client = Client(variant, snapshot(many))
    client.ask(ENDPOINT, *many)
    sent = refusing(client, "c001")
    sub = client.state.subscriptions[ENDPOINT]
    assert set(sub.refused) == {"c001"}
    assert sub.suspects == ()
    accepted = {name for update in sent if "c001" not in names([update])[0] for name in names([update])[0]}
    assert accepted == set(many) - {"c001"}
    assert len(sent) < 60


@both
def test_the_culprit_of_a_refused_list_of_clusters_is_left_out_of_it(variant: Variant) -> None:
    many = {f"c{n:03}": 1 for n in range(40)}
    client = Client(variant, snapshot(many))
    client.ask(CLUSTER)
    refusing(client, "c001")
    assert set(client.state.subscriptions[CLUSTER].refused) == {"c001"}
    assert set(client.state.subscriptions[CLUSTER].offered) == set(many) - {"c001"}


def test_sotw_keeps_a_refused_cluster_at_its_last_good_version_in_the_list() -> None:
    client = synced(Variant.SOTW, snapshot({"a": 1, "b": 1}))
    client.snapshot = snapshot({"a": 2, "b": 1})
    client.refuse(client.updates()[0])
    client.snapshot = snapshot({"a": 2, "b": 2})
    listed = client.updates()[0]
    good = snapshot({"a": 1, "b": 2})[CLUSTER]
    assert [resource.version for resource in listed.resources] == [r.version for r in good.values()]


@both
def test_others_go_on_while_one_is_refused(variant: Variant) -> None:
    client = synced(variant, snapshot({"a": 1, "b": 1}))
    client.snapshot = snapshot({"a": 1, "b": 1}, {"a": 2, "b": 1})
    client.refuse(*client.updates())
    client.snapshot = snapshot({"a": 1, "b": 1}, {"a": 2, "b": 2})
    assert names(client.settle()) == [("b",)]


@both
def test_the_load_assignment_sent_after_a_cluster_is_the_last_good_one(variant: Variant) -> None:
    client = synced(variant, snapshot({"a": 1}))
    client.snapshot = snapshot({"a": 1}, {"a": 2})
    client.refuse(*client.updates())
    client.snapshot = snapshot({"a": 2}, {"a": 2})
    assignment = client.updates()[-1]
    assert assignment.type is ENDPOINT
    assert assignment.resources[0].version == snapshot({"a": 1})[ENDPOINT]["a"].version


@both
def test_a_refusal_of_an_old_response_leaves_the_newer_one_to_decide(variant: Variant) -> None:
    client = synced(variant, snapshot({"a": 1}))
    client.snapshot = snapshot({"a": 1}, {"a": 2})
    old = client.updates()
    client.snapshot = snapshot({"a": 1}, {"a": 3})
    new = client.updates()
    client.refuse(*old)
    assert client.updates() == []
    client.accept(*new)
    assert client.state.subscriptions[ENDPOINT].refused == {}
    assert client.updates() == []


@both
def test_what_is_kept_after_two_refusals_is_what_was_accepted_last(variant: Variant) -> None:
    client = synced(variant, snapshot({"a": 1}))
    sent = []
    for content in (2, 3):
        client.snapshot = snapshot({"a": 1}, {"a": content})
        sent += client.updates()
    for update in sent:
        client.refuse(update)
    refusal = client.state.subscriptions[ENDPOINT].refused["a"]
    assert refusal.good is not None
    assert refusal.good.version == snapshot({"a": 1})[ENDPOINT]["a"].version


def test_what_is_kept_after_a_refusal_is_what_came_before_it_though_that_was_never_answered() -> None:
    """State of the world: an answer to a response comes in place of the answers to those before it."""
    client = synced(Variant.SOTW, snapshot({"a": 1}))
    sent = []
    for content in (2, 3):
        client.snapshot = snapshot({"a": 1}, {"a": content})
        sent += client.updates()
    client.refuse(sent[-1])
    assert client.updates() == []
    refusal = client.state.subscriptions[ENDPOINT].refused["a"]
    assert refusal.good is not None
    assert refusal.good.version == snapshot({"a": 1}, {"a": 2})[ENDPOINT]["a"].version
    assert not client.state.outstanding


@both
def test_a_stream_with_refusals_is_not_believed_when_it_comes_back(variant: Variant) -> None:
    client = synced(variant, snapshot({"a": 1}))
    assert not client.state.doubtful
    client.snapshot = snapshot({"a": 1}, {"a": 2})
    client.refuse(*client.updates())
    assert client.state.doubtful


@both
def test_refused_routes_do_not_hold_up_load_assignments(variant: Variant) -> None:
    client = synced(variant, snapshot({"a": 1, "b": 1}))
    client.snapshot = snapshot({"a": 1, "b": 1}, routed=["a"])
    (routes,) = client.updates()
    assert routes.type is ROUTE
    client.refuse(routes)
    client.snapshot = snapshot({"a": 1, "b": 1}, {"a": 2, "b": 1}, routed=["a"])
    assert types(client.updates()) == [ENDPOINT]
