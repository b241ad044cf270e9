"""Requests and responses as bytes."""

from __future__ import annotations

import pytest
from envoy.service.discovery.v3 import discovery_pb2
from envoy.service.runtime.v3 import rtds_pb2

from tests.xds.stream.client import Client
from tests.xds.stream.snapshots import CLUSTER, RUNTIME, of, snapshot
from xds.snapshot import Snapshot
from xds.stream import delta, sotw
from xds.stream.node import stated
from xds.stream.responses import Responses
from xds.stream.state import Variant
from xds.stream.update import Update
from xds.translate.group import Group, Placement


def update(variant: Variant, at: Snapshot) -> Update:
    client = Client(variant, at)
    client.ask(CLUSTER)
    (found,) = client.updates()
    return found


def test_a_sotw_request_says_what_is_wanted_and_what_became_of_the_last_response() -> None:
    message = discovery_pb2.DiscoveryRequest(
        type_url=CLUSTER, version_info="v", response_nonce="n", resource_names=["a", "b"]
    )
    message.error_detail.message = "no"
    request = sotw.as_request(message)
    assert (request.type_url, request.version, request.nonce, request.error) == (CLUSTER, "v", "n", "no")
    assert request.names == {"a", "b"}


def test_a_delta_request_says_what_has_changed_in_what_is_wanted() -> None:
    message = discovery_pb2.DeltaDiscoveryRequest(
        type_url=CLUSTER, resource_names_subscribe=["a"], resource_names_unsubscribe=["b"], response_nonce="n"
    )
    message.initial_resource_versions["a"] = "v"
    request = delta.as_request(message)
    assert (request.names, request.dropped) == (frozenset("a"), frozenset("b"))
    assert request.versions == {"a": "v"}
    assert request.error is None


def test_resources_may_be_named_by_locators() -> None:
    """Of a request that names none otherwise it would be read that it wants everything."""
    changed = discovery_pb2.DeltaDiscoveryRequest(type_url=CLUSTER)
    changed.resource_locators_subscribe.add(name="a").dynamic_parameters["env"] = "prod"
    changed.resource_locators_unsubscribe.add(name="b")
    request = delta.as_request(changed)
    assert (request.names, request.dropped) == (frozenset("a"), frozenset("b"))
    wanted = discovery_pb2.DiscoveryRequest(type_url=CLUSTER, resource_names=["a"])
    wanted.resource_locators.add(name="b")
    assert sotw.as_request(wanted).names == {"a", "b"}


def test_a_refusal_without_words_is_still_a_refusal() -> None:
    message = discovery_pb2.DiscoveryRequest(type_url=CLUSTER, response_nonce="n")
    message.error_detail.SetInParent()
    assert sotw.as_request(message).error == "no reason given"


def test_a_node_says_its_group_and_where_it_wants_its_listeners() -> None:
    message = discovery_pb2.DiscoveryRequest(type_url=CLUSTER)
    message.node.id, message.node.cluster, message.node.locality.zone = "gw-1", "public", "az-1"
    message.node.metadata.update({"turnout": {"port": 10001.0}, "other": ["ignored"]})
    node = stated(message.node)
    assert node is not None
    assert (node.id, node.zone, node.group) == ("gw-1", "az-1", Group("public", Placement(port=10001)))


def test_a_node_whose_metadata_make_no_sense_is_an_error() -> None:
    message = discovery_pb2.DeltaDiscoveryRequest(type_url=CLUSTER)
    message.node.id = "gw-1"
    message.node.metadata.update({"turnout": {"port": "many"}})
    with pytest.raises(ValueError, match="port"):
        stated(message.node)


def test_a_sotw_response_carries_bodies_and_one_version() -> None:
    at = snapshot({"a": 1, "b": 1})
    message = discovery_pb2.DiscoveryResponse.FromString(sotw.encoded(update(Variant.SOTW, at)))
    assert message.version_info == at[CLUSTER].version
    assert [(r.type_url, r.value) for r in message.resources] == [(CLUSTER, r.body) for r in at[CLUSTER].values()]


def test_a_delta_response_carries_names_and_a_version_for_each() -> None:
    at = snapshot({"a": 1, "b": 1})
    message = discovery_pb2.DeltaDiscoveryResponse.FromString(delta.encoded(update(Variant.DELTA, at)))
    assert [(r.name, r.version) for r in message.resources] == [(r.name, r.version) for r in at[CLUSTER].values()]
    bodies = [(r.resource.type_url, r.resource.value) for r in message.resources]
    assert bodies == [(CLUSTER, r.body) for r in at[CLUSTER].values()]
    assert (message.type_url, message.system_version_info) == (CLUSTER, at[CLUSTER].version)


def test_a_response_says_whose_commit_it_is_and_versions_and_nonces_do_not() -> None:
    found = update(Variant.SOTW, snapshot({"a": 1}))
    said = discovery_pb2.DiscoveryResponse.FromString(sotw.encoded(found, "0c5d91ab44e0"))
    changes = discovery_pb2.DeltaDiscoveryResponse.FromString(delta.encoded(found, "0c5d91ab44e0"))
    assert said.control_plane.identifier == changes.control_plane.identifier == "0c5d91ab44e0"
    assert said.nonce == changes.nonce == found.nonce
    assert not discovery_pb2.DiscoveryResponse.FromString(sotw.encoded(found)).HasField("control_plane")


def test_a_response_of_one_commit_is_not_sent_as_that_of_another() -> None:
    """Else a replica that has sent it before would say something else than one that has not."""
    responses, (found,) = Responses(), updates(1)
    said = [responses.encoded(Variant.DELTA, found, at, delta.encoded) for at in ("a", "b", "a")]
    assert said[0] is said[2]
    assert said[1] == delta.encoded(found, "b") != said[0]


def test_a_layer_that_is_gone_is_sent_empty_where_leaving_it_out_would_keep_it() -> None:
    at = snapshot({"a": 1})
    client = Client(Variant.SOTW, at)
    client.ask(RUNTIME, "turnout")
    client.settle()
    client.snapshot = Snapshot({**at.sets, RUNTIME: of(RUNTIME, {})})
    message = discovery_pb2.DiscoveryResponse.FromString(sotw.encoded(*client.updates()))
    (layer,) = message.resources
    assert rtds_pb2.Runtime.FromString(layer.value) == rtds_pb2.Runtime(name="turnout", layer={})


@pytest.mark.parametrize("variant", list(Variant))
def test_streams_that_need_the_same_get_the_same_bytes_nonce_included(variant: Variant) -> None:
    at, again = snapshot({"a": 1, "b": 1}), snapshot({"b": 1, "a": 1})
    assert update(variant, at) == update(variant, again)


def test_the_nonce_names_the_content() -> None:
    nonces = {update(Variant.DELTA, snapshot(c)).nonce for c in ({"a": 1}, {"a": 2}, {"b": 1}, {"a": 1, "b": 1}, {})}
    assert len(nonces) == 5


def test_a_response_is_serialized_once_and_forgotten_when_there_are_too_many() -> None:
    responses, made, (one, two, three) = Responses(limit=10), Made(), updates(3)
    for found in (one, one, two, two, one, two, three, three, one):
        responses.encoded(Variant.DELTA, found, "", made)
    assert made == [one.nonce, two.nonce, three.nonce, one.nonce]


def test_a_response_that_nobody_is_sent_any_more_is_forgotten_two_changes_later() -> None:
    responses, made, (old, used) = Responses(), Made(), updates(2)
    responses.encoded(Variant.DELTA, old, "", made)
    for _ in range(3):
        responses.encoded(Variant.DELTA, used, "", made)
        responses.turn()
    responses.encoded(Variant.DELTA, used, "", made)
    assert made == [old.nonce, used.nonce]
    responses.encoded(Variant.DELTA, old, "", made)
    assert made == [old.nonce, used.nonce, old.nonce]


class Made(list[str]):
    """The nonces of what has been serialized, each to six bytes."""

    def __call__(self, found: Update, identifier: str) -> bytes:
        self.append(found.nonce)
        return b"123456"


def updates(number: int) -> tuple[Update, ...]:
    return tuple(update(Variant.DELTA, snapshot({name: 1})) for name in "abcdef"[:number])
