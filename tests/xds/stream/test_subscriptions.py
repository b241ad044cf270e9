"""Wildcards, names, reconnects and stale answers."""

from __future__ import annotations

import pytest

from tests.xds.stream.client import Client, names, types
from tests.xds.stream.snapshots import CLUSTER, ENDPOINT, LAYER, LISTENER, ROUTE, RUNTIME, TABLE, of, snapshot
from xds.snapshot import ResourceSet, ResourceType, Snapshot
from xds.stream import sotw
from xds.stream.limits import NAMES
from xds.stream.state import Request, Variant
from xds.stream.update import MOST, next_update

SOTW, DELTA = Variant.SOTW, Variant.DELTA
both = pytest.mark.parametrize("variant", [SOTW, DELTA])

AB = snapshot({"a": 1, "b": 1})


def versions(resources: ResourceSet) -> dict[str, str]:
    return {name: resource.version for name, resource in resources.items()}


def subscribed(variant: Variant, type_: ResourceType, *wanted: str, at: Snapshot = AB) -> Client:
    client = Client(variant, at)
    client.ask(type_, *wanted)
    client.settle()
    return client


@both
@pytest.mark.parametrize("wanted", [(), ("*",)])
def test_both_forms_of_the_wildcard_bring_everything_and_what_comes_later(
    variant: Variant, wanted: tuple[str, ...]
) -> None:
    client = Client(variant, AB)
    client.ask(CLUSTER, *wanted)
    assert names(client.settle()) == [("a", "b")]
    client.snapshot = snapshot({"a": 1, "b": 1, "c": 1})
    assert "c" in names(client.settle())[0]


@both
def test_a_wildcard_over_nothing_is_answered_with_nothing(variant: Variant) -> None:
    """Else the client would wait for as long as it waits for a first answer."""
    client = Client(variant, snapshot({}))
    client.ask(CLUSTER)
    assert names(client.settle()) == [()]


@both
def test_an_empty_list_is_no_wildcard_for_types_that_are_asked_for_by_name(variant: Variant) -> None:
    client = Client(variant, AB)
    client.ask(ENDPOINT)
    assert client.updates() == []


@both
def test_only_names_that_were_asked_for_are_sent(variant: Variant) -> None:
    client = Client(variant, AB)
    client.ask(ENDPOINT, "b")
    assert names(client.settle()) == [("b",)]
    client.snapshot = snapshot({"a": 1, "b": 1}, {"a": 2, "b": 1})
    assert client.updates() == []
    client.snapshot = snapshot({"a": 1, "b": 1}, {"a": 2, "b": 2})
    assert names(client.updates()) == [("b",)]


@both
def test_a_name_that_is_added_is_sent_alone(variant: Variant) -> None:
    client = subscribed(variant, ENDPOINT, "a")
    client.ask(ENDPOINT, "b")
    assert names(client.settle()) == [("b",)]


@both
def test_only_the_load_assignment_that_changed_is_sent(variant: Variant) -> None:
    client = subscribed(variant, ENDPOINT, "a", "b")
    client.snapshot = snapshot({"a": 1, "b": 1}, {"a": 1, "b": 2})
    assert names(client.updates()) == [("b",)]


@both
def test_a_name_that_was_dropped_is_not_sent_until_it_is_asked_for_again(variant: Variant) -> None:
    client = subscribed(variant, ENDPOINT, "a", "b")
    client.drop(ENDPOINT, "b")
    client.snapshot = snapshot({"a": 1, "b": 1}, {"a": 1, "b": 2})
    assert client.updates() == []
    client.ask(ENDPOINT, "b")
    assert names(client.updates()) == [("b",)]


def test_delta_sends_a_name_again_that_is_asked_for_again() -> None:
    client = subscribed(DELTA, ENDPOINT, "a")
    client.ask(ENDPOINT, "a")
    assert names(client.updates()) == [("a",)]


def test_sotw_does_not_take_an_acknowledgement_for_a_demand() -> None:
    client = subscribed(SOTW, ENDPOINT, "a")
    client.ask(ENDPOINT, "a")
    assert client.updates() == []


def test_delta_says_that_a_name_does_not_exist_and_sends_it_when_it_does() -> None:
    client = Client(DELTA, AB)
    client.ask(ENDPOINT, "a", "nope")
    (update,) = client.settle()
    assert (names([update]), update.removed) == ([("a",)], ("nope",))
    client.snapshot = snapshot({"a": 1, "b": 1}, {"a": 1, "b": 1, "nope": 1})
    assert names(client.updates()) == [("nope",)]


def test_sotw_sends_a_name_that_did_not_exist_when_it_does() -> None:
    client = Client(SOTW, AB)
    client.ask(ENDPOINT, "nope")
    assert client.updates() == []
    client.snapshot = snapshot({"a": 1, "b": 1}, {"a": 1, "b": 1, "nope": 1})
    assert names(client.updates()) == [("nope",)]


def test_delta_answers_a_name_beside_the_wildcard_and_its_end() -> None:
    """On demand clusters: https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#xds-protocol-delta"""
    client = subscribed(DELTA, CLUSTER)
    client.ask(CLUSTER, "nope")
    assert [u.removed for u in client.settle()] == [("nope",)]
    client.ask(CLUSTER, "a")
    assert names(client.settle()) == [("a",)]
    client.drop(CLUSTER, "a", "nope")
    (update,) = client.updates()
    assert (names([update]), update.removed) == ([("a",)], ("nope",))


def test_delta_keeps_what_is_named_when_the_wildcard_ends() -> None:
    client = subscribed(DELTA, CLUSTER, "*", "a")
    client.drop(CLUSTER, "*")
    client.snapshot = snapshot({"a": 2, "b": 2})
    assert names(u for u in client.settle() if u.type is CLUSTER) == [("a",)]


def test_sotw_takes_names_after_the_old_wildcard_as_the_end_of_it() -> None:
    client = subscribed(SOTW, CLUSTER)
    client.ask(CLUSTER, "a")
    assert names(client.settle()) == [("a",)]
    client.drop(CLUSTER, "a")
    client.snapshot = snapshot({"a": 2, "b": 2})
    assert client.updates() == []


@both
def test_sotw_repeats_whole_lists_and_delta_only_what_changed(variant: Variant) -> None:
    client = subscribed(variant, CLUSTER)
    client.snapshot = snapshot({"a": 1, "b": 2})
    assert names(client.settle()) == [("a", "b") if variant is SOTW else ("b",)]


def test_a_small_change_in_delta_goes_one_resource_a_response() -> None:
    many = {f"c{n:03}": 1 for n in range(100)}
    client = subscribed(DELTA, CLUSTER, at=snapshot(many))
    client.snapshot = snapshot({**many, **dict.fromkeys(list(many)[:32], 2)})
    assert [len(one) for one in names(client.settle())] == [1] * 32
    client.snapshot = snapshot({**many, **dict.fromkeys(list(many)[:33], 3)})
    assert [len(one) for one in names(client.settle())] == [33]


def test_delta_after_a_reconnect_sends_what_differs_and_names_what_is_gone() -> None:
    client = Client(DELTA, snapshot({"a": 1, "b": 2, "c": 1}))
    client.state = client.state.opened()
    client.ask(CLUSTER, versions={**versions(AB[CLUSTER]), "gone": "1"})
    found = client.settle()
    assert names(found) == [("b",), ("c",), ()]
    assert found[-1].removed == ("gone",)


def test_delta_after_a_reconnect_says_that_a_name_does_not_exist_that_was_never_answered() -> None:
    client = Client(DELTA, AB)
    client.ask(ENDPOINT, "a", "nope", versions={"a": AB[ENDPOINT]["a"].version})
    assert [update.removed for update in client.updates()] == [("nope",)]


def test_what_a_client_claims_to_have_is_never_served_to_another() -> None:
    """Of a claim only names and versions are known; the bodies are not."""
    changed = snapshot({"a": 7})
    claiming = Client(DELTA, changed)
    claiming.ask(CLUSTER, versions=versions(AB[CLUSTER]))
    claiming.settle()
    other = subscribed(SOTW, CLUSTER)
    other.snapshot = changed
    listed = other.updates()[0]
    assert names([listed]) == [("a", "b")]
    assert all(resource.body for resource in listed.resources)


@both
def test_nothing_is_sent_after_a_reconnect_when_nothing_has_changed(variant: Variant) -> None:
    client = Client(variant, AB)
    client.known = {AB[CLUSTER].version: AB[CLUSTER]}
    client.ask(CLUSTER, version=AB[CLUSTER].version, versions=versions(AB[CLUSTER]))
    assert client.updates() == []


def test_delta_believes_versions_of_load_assignments_but_not_of_those_never_answered() -> None:
    client = Client(DELTA, AB)
    client.ask(CLUSTER, versions=versions(AB[CLUSTER]))
    client.ask(ENDPOINT, "a", "b", versions={"a": AB[ENDPOINT]["a"].version})
    assert names(client.updates()) == [("b",)]


def test_sotw_sends_named_resources_again_after_a_reconnect() -> None:
    """One version says nothing of single names: the last that was asked for may never have come."""
    client = Client(SOTW, AB)
    client.ask(ENDPOINT, "a", "b", version=AB[ENDPOINT].version)
    assert names(client.updates()) == [("a", "b")]


def test_delta_warms_a_cluster_that_was_sent_before_load_assignments_were_named() -> None:
    client = Client(DELTA, snapshot({"a": 2, "b": 1}))
    client.ask(CLUSTER, versions=versions(AB[CLUSTER]))
    assert names(client.updates()) == [("a",)]
    client.ask(ENDPOINT, "a", "b", versions=versions(AB[ENDPOINT]))
    assert names(client.updates()) == [("a",)]


def test_delta_warms_a_cluster_whose_load_assignment_the_client_says_it_has() -> None:
    """Although another model is gone, so that what the client has is nothing that was ever served as a whole."""
    client = Client(DELTA, snapshot({"a": 1}))
    client.ask(CLUSTER, versions=versions(AB[CLUSTER]))
    client.ask(ENDPOINT, "a", "b", versions=versions(AB[ENDPOINT]))
    assert client.updates() == []
    client.snapshot = snapshot({"a": 2})
    clusters, assignments = client.updates()
    assert (clusters.type, assignments.type) == (CLUSTER, ENDPOINT)
    assert names([clusters, assignments]) == [("a",), ("a",)]
    assert assignments.resources[0].body


def test_delta_lets_no_cluster_wait_for_a_load_assignment_that_only_the_client_ever_had() -> None:
    client = Client(DELTA, snapshot({"a": 1}))
    client.ask(CLUSTER, versions=versions(AB[CLUSTER]))
    client.ask(ENDPOINT, "a", "b", versions=versions(AB[ENDPOINT]))
    client.snapshot = snapshot({"a": 1, "b": 2})
    step = next_update(client.state, client.snapshot)
    assert step is not None
    update, client.state = step
    assert (update.type, names([update])) == (CLUSTER, [("b",)])
    client.snapshot = snapshot({"a": 1})
    (told,) = client.updates()
    assert (told.type, told.removed) == (ENDPOINT, ("b",))


@both
def test_a_client_that_returns_and_asks_for_no_clusters_is_warming_some_and_gets_all_load_assignments(
    variant: Variant,
) -> None:
    """An Envoy asks for clusters when those that an earlier stream sent are warm. Until then routes wait: they may
    lead to clusters that it has not been sent."""
    client = Client(variant, snapshot({"a": 2, "b": 1, "new": 1}))
    client.ask(RUNTIME, LAYER, version=AB[RUNTIME].version, versions=versions(AB[RUNTIME]))
    client.ask(ENDPOINT, "a", "b", version=AB[ENDPOINT].version, versions=versions(AB[ENDPOINT]))
    client.ask(LISTENER, version=AB[LISTENER].version, versions=versions(AB[LISTENER]))
    client.ask(ROUTE, TABLE, version=AB[ROUTE].version, versions=versions(AB[ROUTE]))
    found = [update for update in client.settle() if update.type is not RUNTIME]
    assert (types(found), names(found)) == ([ENDPOINT], [("a", "b")])
    client.ask(CLUSTER, version=AB[CLUSTER].version, versions=versions(AB[CLUSTER]))
    later = types(client.settle())
    assert (later[0], later[-1]) == (CLUSTER, ROUTE)


def test_delta_a_load_assignment_that_is_gone_keeps_no_cluster_of_an_earlier_stream_waiting() -> None:
    client = Client(DELTA, snapshot({"b": 1}))
    client.ask(ENDPOINT, "a", "b", version=AB[ENDPOINT].version, versions=versions(AB[ENDPOINT]))
    (update,) = client.updates()
    assert (names([update]), update.removed) == ([("b",)], ("a",))


def test_sotw_a_load_assignment_that_is_gone_is_sent_as_it_was_to_a_client_that_is_back() -> None:
    """Its cluster may be warming, or be warm and have routes that lead there."""
    client = Client(SOTW, snapshot({"b": 1}))
    client.known = {AB[ENDPOINT].version: AB[ENDPOINT]}
    client.ask(ENDPOINT, "a", "b", version=AB[ENDPOINT].version)
    (update,) = client.updates()
    assert (names([update]), update.removed) == ([("a", "b")], ())
    assert update.resources[0].body == AB[ENDPOINT]["a"].body


def test_sotw_a_load_assignment_that_is_gone_and_forgotten_is_emptied_after_the_first_seconds() -> None:
    client = Client(SOTW, snapshot({"b": 1}))
    client.ask(ENDPOINT, "a", "b", version=AB[ENDPOINT].version)
    (update,) = client.settle()
    assert (names([update]), update.removed) == ([("b",)], ())
    client.state = client.state.opened()
    (update,) = client.updates()
    assert (names([update]), update.removed) == ([()], ("a",))


@both
def test_a_client_may_say_what_it_has_before_there_is_a_snapshot(variant: Variant) -> None:
    """A server that has just started listens before it has compiled the policies."""
    client = Client(variant, AB)
    client.ask(CLUSTER, version=AB[CLUSTER].version, versions=versions(AB[CLUSTER]))
    assert client.known == {}
    assert client.updates() == []
    assert client.state.subscriptions[CLUSTER].acknowledged == AB[CLUSTER].version


@both
def test_a_client_that_never_answers_is_not_sent_more_and_more(variant: Variant) -> None:
    client = Client(variant, AB)
    client.subscribed()
    sent = []
    for content in range(2, 200):
        client.snapshot = snapshot({"a": 1, "b": 1}, {"a": content, "b": 1})
        sent += client.updates()
    assert len(sent) == len(client.state.subscriptions[ENDPOINT].outstanding) == MOST
    client.accept(sent[0])
    (newest,) = client.updates()
    assert newest.resources[0].version == client.snapshot[ENDPOINT]["a"].version


@both
def test_versions_are_not_believed_after_a_refusal_that_was_applied_in_part(variant: Variant) -> None:
    client = Client(variant, AB, believed=False)
    client.known = {AB[CLUSTER].version: AB[CLUSTER]}
    client.ask(CLUSTER, version=AB[CLUSTER].version, versions=versions(AB[CLUSTER]))
    assert sorted({name for one in names(client.settle()) for name in one}) == ["a", "b"]


def test_sotw_ignores_what_a_stale_request_asks_for() -> None:
    client = subscribed(SOTW, ENDPOINT, "a")
    first = client.state.subscriptions[ENDPOINT].nonce
    client.snapshot = snapshot({"a": 1, "b": 1}, {"a": 2, "b": 1})
    (second,) = client.updates()
    client._nonces[ENDPOINT] = first
    client.ask(ENDPOINT, "b")
    assert client.state.subscriptions[ENDPOINT].names == {"a"}
    client.accept(second)
    assert client.state.subscriptions[ENDPOINT].names == {"a", "b"}


def test_delta_takes_names_with_whatever_nonce_they_come() -> None:
    client = subscribed(DELTA, ENDPOINT, "a")
    client._receive(ENDPOINT, frozenset(["b"]), nonce="another stream's")
    assert names(client.updates()) == [("b",)]


@both
def test_a_nonce_of_another_stream_accepts_nothing(variant: Variant) -> None:
    client = Client(variant, AB)
    client.ask(CLUSTER)
    client.ask(LISTENER)
    client.updates()
    client._receive(CLUSTER, frozenset(), nonce="another stream's")
    assert client.updates() == []


@both
def test_after_an_acknowledgement_there_is_silence(variant: Variant) -> None:
    client = Client(variant, AB)
    client.subscribed()
    assert client.updates() == []


def test_sotw_empties_a_layer_that_is_gone_and_delta_removes_it() -> None:
    without = Snapshot({**AB.sets, RUNTIME: of(RUNTIME, {})})
    for variant in Variant:
        client = subscribed(variant, RUNTIME, "turnout")
        client.snapshot = without
        (update,) = client.settle()
        assert (types([update]), update.removed) == ([RUNTIME], ("turnout",))
        assert client.updates() == []


@both
def test_a_slow_reader_is_sent_the_newest_and_not_what_lies_between(variant: Variant) -> None:
    client = subscribed(variant, ENDPOINT, "a", "b")
    for content in (2, 3, 4):
        client.snapshot = snapshot({"a": 1, "b": 1}, {"a": content, "b": 1})
    (update,) = client.updates()
    assert update.resources[0].version == client.snapshot[ENDPOINT]["a"].version


@both
def test_a_client_that_returns_and_has_its_load_assignments_is_not_taken_for_a_warming_one_for_ever(
    variant: Variant,
) -> None:
    """It means to ask for no clusters: it has them from elsewhere, as from a bootstrap."""
    client = Client(variant, AB)
    client.ask(ENDPOINT, "a", "b", version=AB[ENDPOINT].version, versions=versions(AB[ENDPOINT]))
    client.ask(LISTENER)
    client.ask(ROUTE, TABLE)
    assignments = client.updates()
    assert types(assignments) == [ENDPOINT]
    client.accept(*assignments)
    client.state = client.state.opened()
    assert client.updates() == []
    client.state = client.state.warmed()
    assert types(client.settle()) == [LISTENER, ROUTE]


def test_sotw_a_version_of_some_clusters_is_not_taken_for_one_of_all() -> None:
    client = Client(SOTW, AB)
    client.ask(CLUSTER, "a")
    (some,) = client.settle()
    later = Client(SOTW, AB)
    later.known = {AB[CLUSTER].version: AB[CLUSTER]}
    later.ask(CLUSTER, version=some.version)
    assert names(later.updates()) == [("a", "b")]


def with_routes_refused() -> Client:
    """It keeps those to cluster b, which is gone from the policy."""
    client = Client(DELTA, AB)
    client.subscribed()
    client.ask(CLUSTER, "*")  # which it had asked for in the old way
    client.snapshot = snapshot({"a": 1})
    client.refuse(*client.updates())
    assert client.updates() == []
    return client


@pytest.mark.parametrize(("asked", "sent"), [("b", ("b",)), ("*", ("a", "b"))])
def test_delta_sends_a_cluster_again_that_goes_last(asked: str, sent: tuple[str, ...]) -> None:
    client = with_routes_refused()
    client.ask(CLUSTER, asked)
    (clusters, *_) = client.updates()
    assert (names([clusters]), clusters.removed) == ([sent], ())


def test_delta_has_no_doubts_about_what_is_no_longer_asked_for() -> None:
    client = Client(DELTA, AB)
    client.ask(ENDPOINT, "a", "b")
    client.refuse(*client.updates())
    assert client.state.doubtful
    client.drop(ENDPOINT, "a", "b")
    assert not client.state.doubtful


@pytest.mark.parametrize("asked", [("a",), ("a", "b")])
def test_delta_takes_a_refusal_of_what_is_no_longer_asked_for_as_none(asked: tuple[str, ...]) -> None:
    client = Client(DELTA, AB)
    client.ask(ENDPOINT, *asked)
    updates = client.updates()
    client.drop(ENDPOINT, *asked)
    client.refuse(*updates)
    assert not client.state.doubtful


def test_delta_owes_nothing_that_is_no_longer_asked_for() -> None:
    client = Client(DELTA, AB)
    client.ask(ENDPOINT, "a", "b")
    client.drop(ENDPOINT, "b")
    assert names(client.updates()) == [("a",)]


def test_delta_offers_what_was_refused_when_everything_is_asked_for_again() -> None:
    client = subscribed(DELTA, CLUSTER, "*")
    client.snapshot = snapshot({"a": 2, "b": 1})
    client.refuse(*client.updates())
    assert client.updates() == []
    client.ask(CLUSTER, "*")
    assert names(client.updates()) == [("a", "b")]
    assert client.state.subscriptions[CLUSTER].offered["a"].version == client.snapshot[CLUSTER]["a"].version


def test_delta_answers_everything_that_is_asked_for_again_even_with_nothing() -> None:
    client = subscribed(DELTA, CLUSTER, "*", at=snapshot({}))
    client.ask(CLUSTER, "*")
    assert names(client.updates()) == [()]


def test_delta_takes_the_new_wildcard_after_the_old_one_for_the_same_and_one_more_for_asking_again() -> None:
    client = subscribed(DELTA, CLUSTER)
    client.ask(CLUSTER, "*")
    assert client.updates() == []
    client.ask(CLUSTER, "*")
    assert names(client.updates()) == [("a", "b")]


def test_delta_does_not_send_a_cluster_again_that_goes_at_once() -> None:
    """No route can lead to it: it has not been accepted."""
    client = Client(DELTA, AB)
    client.ask(CLUSTER, "*")
    client.updates()
    client.snapshot = snapshot({"a": 1})
    client.ask(CLUSTER, "b")
    (update,) = client.updates()
    assert (names([update]), update.removed) == ([()], ("b",))


def test_sotw_a_nonce_of_an_earlier_stream_makes_no_request_stale_where_nothing_was_sent() -> None:
    client = Client(SOTW, AB)
    client.known = {AB[CLUSTER].version: AB[CLUSTER]}
    for wanted in ((), ("a",)):
        client.names[CLUSTER] = frozenset(wanted)
        client._receive(CLUSTER, frozenset(), nonce="of an earlier stream", version=AB[CLUSTER].version)
        client.state = client.state.resolved(client.snapshot, client.known.get)
    assert client.state.subscriptions[CLUSTER].names == {"a"}


def test_delta_what_was_accepted_is_known_in_whatever_order_the_answers_come() -> None:
    client = subscribed(DELTA, ENDPOINT, "a", "b")
    sent = []
    for content in (2, 3):
        client.snapshot = snapshot({"a": 1, "b": 1}, {"a": content, "b": 1})
        sent += client.updates()
    client.accept(*reversed(sent))
    told = client.state.subscriptions[ENDPOINT]
    assert told.acknowledged == told.sent == client.snapshot[ENDPOINT].version


def test_delta_no_more_names_are_said_to_be_gone_than_a_client_may_ask_for_until_it_answers() -> None:
    client = Client(DELTA, AB)
    sent = []
    for letter in "xyz":
        many = [f"{letter}{n}" for n in range(NAMES)]
        client.ask(ENDPOINT, *many)
        sent += client.updates()
        client.drop(ENDPOINT, *many)
    assert [len(update.removed) for update in sent] == [NAMES, NAMES]
    client.accept(*sent)
    client.ask(ENDPOINT, "z0")
    assert [update.removed for update in client.updates()] == [("z0",)]


def late(client: Client, type_: ResourceType, nonce: str, *wanted: str) -> None:
    """A request that was written before the client saw the last response."""
    client.state = sotw.received(client.state, type_, Request(type_, nonce, names=frozenset(wanted)))


def test_sotw_sends_a_name_again_that_the_client_did_without_while_a_response_was_on_its_way() -> None:
    client = subscribed(SOTW, ENDPOINT, "a", "b")
    seen = client.state.subscriptions[ENDPOINT].nonce
    client.snapshot = snapshot({"a": 1, "b": 1}, {"a": 1, "b": 2})
    on_its_way = client.updates()
    late(client, ENDPOINT, seen, "b")
    late(client, ENDPOINT, seen, "a", "b")
    assert client.updates() == []
    client.accept(*on_its_way)
    assert names(client.settle()) == [("a",)]


def test_sotw_takes_nothing_away_from_a_client_that_names_what_its_wildcard_covered() -> None:
    client = subscribed(SOTW, CLUSTER, "*", "a")
    seen = client.state.subscriptions[CLUSTER].nonce
    client.snapshot = snapshot({"a": 2, "b": 1})
    client.updates()
    late(client, CLUSTER, seen, "a", "b")
    client.snapshot = snapshot({"a": 3, "b": 1})
    assert names(client.updates()) == [("a", "b")]


def test_sotw_does_not_offer_again_what_was_refused_when_all_is_asked_for_instead() -> None:
    client = subscribed(SOTW, CLUSTER, "a", "b")
    client.snapshot = snapshot({"a": 1, "b": 2, "c": 1})
    client.refuse(*client.updates())
    client.names[CLUSTER] = frozenset()
    client.ask(CLUSTER, "*")
    (update,) = client.updates()
    had = {resource.name: resource.version for resource in update.resources}
    assert had == versions(snapshot({"a": 1, "b": 1, "c": 1})[CLUSTER])
