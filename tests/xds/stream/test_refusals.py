"""What a client refuses stays as it was, is not offered again, and holds up nothing else."""

from __future__ import annotations

import pytest

from tests.xds.stream.client import Client, names, types
from tests.xds.stream.replica import Replica, Stream
from tests.xds.stream.snapshots import CLUSTER, ENDPOINT, ROUTE, snapshot
from xds.snapshot import Snapshot
from xds.stream.node import Node
from xds.stream.refusals import rejected
from xds.stream.state import Request, Variant
from xds.stream.update import Update
from xds.translate.group import Group

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


def test_sotw_warms_again_what_a_list_takes_back_that_was_refused_for_another_cluster() -> None:
    """An Envoy applies the good ones of a list that it refuses, so the next list changes them, too."""
    client = synced(Variant.SOTW, snapshot({"good": 1}))
    client.snapshot = snapshot({"bad": 1, "good": 2})
    client.refuse(client.updates()[0])
    clusters, assignments = client.updates()
    assert clusters.resources[1].version == snapshot({"good": 1})[CLUSTER]["good"].version
    assert (assignments.type, names([assignments])) == (ENDPOINT, [("good",)])


def test_sotw_warms_again_what_a_refused_list_changed_though_policy_has_dropped_it_since() -> None:
    """It stays until the routes have moved, as it was accepted last."""
    client = synced(Variant.SOTW, snapshot({"goes": 1}))
    client.snapshot = snapshot({"goes": 2})
    client.updates()
    client.snapshot = snapshot({"bad": 1, "good": 1})
    client.refuse(client.updates()[0])
    clusters, assignments, *_ = client.updates()
    assert clusters.resources[-1].version == snapshot({"goes": 1})[CLUSTER]["goes"].version
    assert (assignments.type, names([assignments])) == (ENDPOINT, [("goes",)])


def test_sotw_blames_no_cluster_for_another_that_is_in_two_lists_on_their_way() -> None:
    client = synced(Variant.SOTW, snapshot({"good": 1}))
    client.snapshot = snapshot({"bad": 1, "good": 1})
    first = client.updates()[0]
    client.snapshot = snapshot({"bad": 1, "good": 1, "new": 1})
    second = client.updates()[0]
    client.refuse(first, second)
    refusing(client, "bad")
    assert set(client.state.subscriptions[CLUSTER].refused) == {"bad"}
    assert set(client.state.subscriptions[CLUSTER].offered) == {"good", "new"}


def test_sotw_keeps_nothing_of_a_cluster_that_was_refused_in_two_lists_of_which_the_last_is_answered() -> None:
    client = synced(Variant.SOTW, snapshot({}))
    client.snapshot = snapshot({"bad": 1, "other": 1})
    client.updates()
    client.snapshot = snapshot({"bad": 1})
    client.refuse(*client.updates()[:1])
    assert names(refusing(client, "bad")) == [()]
    assert client.state.subscriptions[CLUSTER].refused["bad"].good is None


def test_sotw_comes_to_an_end_with_a_client_that_refuses_lists_which_leave_out_more_and_more() -> None:
    client = synced(Variant.SOTW, snapshot({"a": 1, "b": 1, "c": 1}))
    lists = []
    for left in ("abc", "ab", "a"):
        client.snapshot = snapshot({**dict.fromkeys(left, 1), "bad": 1}, routed=["a"])
        lists += [update for update in client.updates() if update.type is CLUSTER]
    client.refuse(*lists)
    refusing(client, "bad")
    assert set(client.state.subscriptions[CLUSTER].refused) == {"bad"}


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
def test_a_cluster_does_not_wait_for_a_load_assignment_that_is_refused_and_has_no_other_version(
    variant: Variant,
) -> None:
    client = Client(variant, snapshot({"a": 1}))
    client.ask(ENDPOINT, "a")
    client.refuse(*client.updates())
    client.ask(CLUSTER)
    clusters, assignments = client.updates()
    assert clusters.type is CLUSTER
    assert (names([assignments]), assignments.removed) == ([()], ("a",))


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


def test_sotw_keeps_what_was_accepted_last_when_only_the_last_of_several_responses_is_answered_and_refused() -> None:
    """An answer to a response comes in place of the answers to those before it, so nobody knows what became of them."""
    client = synced(Variant.SOTW, snapshot({"a": 1}))
    sent = []
    for content in (2, 3):
        client.snapshot = snapshot({"a": 1}, {"a": content})
        sent += client.updates()
    client.refuse(sent[-1])
    assert client.updates() == []
    refusal = client.state.subscriptions[ENDPOINT].refused["a"]
    assert refusal.good is not None
    assert refusal.good.version == snapshot({"a": 1})[ENDPOINT]["a"].version
    assert not client.state.outstanding


def test_sotw_finds_the_culprit_of_two_lists_of_which_only_the_last_is_answered() -> None:
    client = synced(Variant.SOTW, snapshot({"good": 1}))
    client.snapshot = snapshot({"bad": 1, "good": 1})
    client.updates()
    client.snapshot = snapshot({"bad": 2, "good": 1, "new": 1})
    client.refuse(client.updates()[0])
    refusing(client, "bad")
    assert set(client.state.subscriptions[CLUSTER].refused) == {"bad"}
    assert set(client.state.subscriptions[CLUSTER].offered) == {"good", "new"}


@both
def test_nothing_is_kept_of_what_was_sent_twice_before_it_was_refused(variant: Variant) -> None:
    client = Client(variant, snapshot({"a": 1}))
    client.ask(ENDPOINT, "a")
    sent = client.updates()
    client.ask(CLUSTER)
    sent += [update for update in client.updates() if update.type is ENDPOINT]
    assert [update.resources for update in sent] == [sent[0].resources] * 2
    client.refuse(*sent)
    assert client.state.subscriptions[ENDPOINT].refused["a"].good is None


@both
def test_nothing_is_kept_of_what_was_refused_when_it_was_first_asked_for(variant: Variant) -> None:
    """Although the server knew it before, and what it says to others counts as said to those who do not ask."""
    client = Client(variant, snapshot({"a": 1, "b": 1}))
    client.ask(ENDPOINT, "a")
    client.settle()
    client.ask(ENDPOINT, "b")
    client.refuse(*client.updates())
    assert client.state.subscriptions[ENDPOINT].refused["b"].good is None
    client.ask(CLUSTER)
    assert [update for update in client.settle() if "b" in names([update])[0] and update.type is ENDPOINT] == []


@both
def test_what_the_client_refused_last_is_removed_as_it_may_have_taken_it_before(variant: Variant) -> None:
    """From a response that was refused for another: an Envoy says so of the whole, and applies what was good."""
    client = Client(variant, snapshot({"a": 1, "bad": 1}))
    client.ask(CLUSTER)
    sent = client.updates()
    client.snapshot = snapshot({"a": 2, "bad": 1})
    sent += client.updates()
    client.refuse(*sent)
    client.snapshot = snapshot({})
    assert {name for update in client.settle() for name in update.removed} == {"a", "bad"}
    assert client.state.subscriptions[CLUSTER].refused == {}


def test_delta_says_again_that_a_name_does_not_exist_when_it_was_said_in_a_response_that_was_refused() -> None:
    client = Client(Variant.DELTA, snapshot({"a": 1}))
    client.ask(ENDPOINT, "a", "nope")
    client.refuse(*client.updates())
    (update,) = client.settle()
    assert (names([update]), update.removed) == ([()], ("nope",))


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


def test_a_name_that_only_stale_requests_ask_for_again_is_sent_once_more_though_it_is_refused() -> None:
    """State of the world: for the server it is asked anew with the answer to the newest response, where it may be that
    the client did not want it when that came."""
    stream = Stream(Variant.SOTW, Replica(snapshot({"a": 1, "b": 1})))
    for asked in ({"a"}, {"a", "b"}):
        stream.receive(Request(ENDPOINT, names=frozenset(asked)))
        stream.send()
    stream.receive(Request(ENDPOINT, names=frozenset("a")))  # written before any response was there
    first, second = (update.nonce for update in stream.sent)
    stream.receive(Request(ENDPOINT, first, names=frozenset("ab")))
    stream.receive(Request(ENDPOINT, second, "b is bad", names=frozenset("ab")))
    stream.send()
    assert names(stream.sent) == [("a",), ("b",), ("b",)]
    stream.receive(Request(ENDPOINT, stream.sent[-1].nonce, "b is bad", names=frozenset("ab")))
    stream.send()
    assert len(stream.sent) == 3


def test_a_nonce_is_not_used_again_while_requests_may_name_the_response_that_had_it_first() -> None:
    """State of the world: a request for more names that was written before that would be taken for its acceptance."""
    stream = Stream(Variant.SOTW, Replica(snapshot({"a": 1})))
    stream.receive(Request(ENDPOINT, names=frozenset("a")))
    for content in (1, 2, 1):  # what is sent first is sent again
        stream.replica.publish(snapshot({"a": 1}, {"a": content}))
        stream.send()
    first, *later = (update.nonce for update in stream.sent)
    stream.receive(Request(ENDPOINT, first, names=frozenset("a")))
    stream.replica.publish(snapshot({"a": 1}, {"a": 2}))
    stream.send()
    stream.replica.publish(snapshot({"a": 1}, {"a": 1}))
    stream.send()
    assert first not in [*later, *(update.nonce for update in stream.sent[3:])]
    stream.receive(Request(ENDPOINT, first, names=frozenset("ab")))
    assert len(stream.state.subscriptions[ENDPOINT].outstanding) == 4
    assert len({update.nonce for update in stream.sent}) == 5


def test_the_log_names_what_a_refused_response_would_have_removed() -> None:
    client = synced(Variant.DELTA, snapshot({"a": 1, "b": 1}))
    client.drop(ENDPOINT, "b")
    client.ask(ENDPOINT, "nobody")
    (update,) = client.updates()
    batch = client.state.batch(ENDPOINT, update.nonce)
    assert batch is not None
    said, _ = rejected(Node("gw-1", Group("public"), "az-1"), ENDPOINT, batch, "no", None)
    assert said == "X101 envoy gw-1 refused a response that removes 1 endpoint (nobody): no"
