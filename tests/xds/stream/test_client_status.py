"""How each resource stands, from the values of streams alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from envoy.admin.v3.config_dump_shared_pb2 import ClientResourceStatus
from envoy.config.core.v3 import base_pb2
from envoy.service.status.v3 import csds_pb2
from google.protobuf import any_pb2

from tests.xds.stream.client import Client
from tests.xds.stream.snapshots import CLUSTER, ENDPOINT, ROUTE, TABLE, snapshot
from xds.snapshot import ResourceType, Snapshot
from xds.stream.client_status import client_config, clients
from xds.stream.node import Node
from xds.stream.peer import Peer
from xds.stream.state import Variant
from xds.translate.group import Group

both = pytest.mark.parametrize("variant", list(Variant))
AB = snapshot({"a": 1, "b": 1})
Row = tuple[str, str, str]
"""Its server's view, its client's view, its version."""


def peer(client: Client, id_: str = "gw-1", zone: str = "az-1") -> Peer:
    said = base_pb2.Node(id=id_, cluster="public", locality={"zone": zone}).SerializeToString()
    return Peer(Node(id_, Group("public"), zone, said), client.state)


def config(*streams: Client, at: Snapshot | None = None) -> Any:
    return client_config([(peer(client), at or client.snapshot) for client in streams], None)


def rows(found: Any, type_: ResourceType) -> dict[str, Row]:
    return {
        entry.name: (
            csds_pb2.ConfigStatus.Name(entry.config_status),
            ClientResourceStatus.Name(entry.client_status),
            entry.version_info,
        )
        for entry in found.generic_xds_configs
        if entry.type_url == type_
    }


def versions(at: Snapshot, type_: ResourceType) -> dict[str, str]:
    return {name: resource.version for name, resource in at[type_].items()}


def synced(variant: Variant) -> Client:
    client = Client(variant, AB)
    client.subscribed()
    return client


@both
def test_what_is_accepted_is_synced_and_the_types_come_in_order(variant: Variant) -> None:
    found = config(synced(variant))
    for type_ in ResourceType:
        assert rows(found, type_) == {n: ("SYNCED", "ACKED", v) for n, v in versions(AB, type_).items()}
    order = [entry.type_url for entry in found.generic_xds_configs]
    assert list(dict.fromkeys(order)) == list(ResourceType)


@both
def test_what_was_not_sent_is_requested(variant: Variant) -> None:
    client = Client(variant, AB)
    client.ask(ENDPOINT, "a", "nope")
    assert rows(config(client), ENDPOINT) == {
        "a": ("NOT_SENT", "REQUESTED", ""),
        "nope": ("UNKNOWN", "DOES_NOT_EXIST", ""),
    }


@both
def test_what_is_on_its_way_is_stale(variant: Variant) -> None:
    client = Client(variant, AB)
    client.ask(CLUSTER)
    client.updates()
    assert rows(config(client), CLUSTER) == {n: ("STALE", "REQUESTED", v) for n, v in versions(AB, CLUSTER).items()}
    client = synced(variant)
    client.snapshot = snapshot({"a": 1, "b": 2})
    client.updates()
    assert rows(config(client), CLUSTER) == {
        "a": ("SYNCED", "ACKED", AB[CLUSTER]["a"].version),
        "b": ("STALE", "ACKED", client.snapshot[CLUSTER]["b"].version),
    }


@both
def test_what_has_a_newer_version_that_waits_is_not_sent(variant: Variant) -> None:
    """Routes wait for the cluster."""
    client = synced(variant)
    client.snapshot = snapshot({"a": 1, "b": 1, "c": 1})
    client.updates()
    assert rows(config(client), ROUTE) == {TABLE: ("NOT_SENT", "ACKED", AB[ROUTE][TABLE].version)}


@both
def test_what_is_refused_is_an_error_with_both_versions(variant: Variant) -> None:
    client = synced(variant)
    client.snapshot = snapshot({"a": 1, "b": 1}, {"a": 2, "b": 1})
    client.refuse(*client.updates(), reason="malformed IP address")
    found = config(client)
    assert rows(found, ENDPOINT)["a"] == ("ERROR", "NACKED", AB[ENDPOINT]["a"].version)
    (refused,) = [entry for entry in found.generic_xds_configs if entry.HasField("error_state")]
    assert (refused.name, refused.error_state.details) == ("a", "malformed IP address")
    assert refused.error_state.version_info == client.snapshot[ENDPOINT]["a"].version


@both
def test_what_is_refused_and_never_was_there_has_no_version(variant: Variant) -> None:
    client = Client(variant, snapshot({"a": 1}))
    client.ask(CLUSTER)
    client.refuse(*client.updates())
    assert rows(config(client), CLUSTER) == {"a": ("ERROR", "NACKED", "")}


@both
def test_of_a_refused_response_with_several_all_are_errors_until_they_have_been_offered_apart(variant: Variant) -> None:
    client = Client(variant, AB)
    client.ask(CLUSTER)
    client.refuse(*client.updates())
    assert {row[:2] for row in rows(config(client), CLUSTER).values()} == {("ERROR", "NACKED")}


@both
def test_what_is_to_go_and_waits_is_still_there(variant: Variant) -> None:
    client = synced(variant)
    client.snapshot = snapshot({"b": 1})
    client.updates()
    assert rows(config(client), CLUSTER)["a"] == ("NOT_SENT", "ACKED", AB[CLUSTER]["a"].version)


@both
def test_before_there_is_a_policy_nothing_is_known(variant: Variant) -> None:
    client = Client(variant, AB)
    client.ask(ENDPOINT, "a")
    found = client_config([(peer(client), None)], None)
    assert rows(found, ENDPOINT) == {"a": ("UNKNOWN", "DOES_NOT_EXIST", "")}


def test_streams_with_different_types_are_one_client() -> None:
    clusters, assignments = Client(Variant.DELTA, AB), Client(Variant.SOTW, AB)
    clusters.ask(CLUSTER)
    clusters.settle()
    assignments.ask(ENDPOINT, "a")
    found = config(clusters, assignments)
    assert {row[0] for row in rows(found, CLUSTER).values()} == {"SYNCED"}
    assert rows(found, ENDPOINT) == {"a": ("NOT_SENT", "REQUESTED", "")}


def test_of_two_streams_with_one_type_the_last_counts_and_names_add_up() -> None:
    old, new = synced(Variant.DELTA), Client(Variant.DELTA, AB)
    new.ask(CLUSTER)
    new.ask(ENDPOINT, "a")
    found = config(old, new)
    assert {row[0] for row in rows(found, CLUSTER).values()} == {"NOT_SENT"}
    assert {name: row[0] for name, row in rows(found, ENDPOINT).items()} == {"a": "NOT_SENT", "b": "SYNCED"}


def test_clients_are_told_apart_by_their_ids_and_the_last_introduction_counts() -> None:
    client = synced(Variant.DELTA)
    streams = [(peer(client, *who), AB) for who in (("gw-1", "az-1"), ("gw-2", "az-1"), ("gw-1", "az-2"))]
    assert ids(clients(streams, lambda _: True)) == [("gw-1", "az-2", 2), ("gw-2", "az-1", 1)]
    assert ids(clients(streams, lambda node: node.locality.zone == "az-2")) == [("gw-1", "az-2", 2)]


def ids(found: Iterable[Any]) -> list[tuple[str, str, int]]:
    made = [(client_config(streams, None).node, len(streams)) for streams in found]
    return [(node.id, node.locality.zone, count) for node, count in made]


def test_of_whole_lists_the_last_stream_alone_counts() -> None:
    """What only its predecessor had is gone."""
    old, new, at = synced(Variant.DELTA), Client(Variant.DELTA, snapshot({"a": 1})), snapshot({"a": 1})
    new.ask(CLUSTER)
    new.settle()
    assert list(rows(config(old, new, at=at), CLUSTER)) == ["a"]


def test_what_an_envoy_has_brought_along_is_known_by_its_version_and_its_content_is_found() -> None:
    client = Client(Variant.DELTA, AB)
    client.ask(CLUSTER, versions={**versions(AB, CLUSTER), "b": "older"})
    shown = client_config([(peer(client), AB)], lambda _, resource: any_pb2.Any(value=resource.body))
    a, b = shown.generic_xds_configs
    assert a.xds_config.value == AB[CLUSTER]["a"].body
    assert rows(shown, CLUSTER)["a"] == ("SYNCED", "ACKED", AB[CLUSTER]["a"].version)
    assert not b.HasField("xds_config")
    assert rows(shown, CLUSTER)["b"] == ("NOT_SENT", "ACKED", "older")


def test_names_come_in_order() -> None:
    client = Client(Variant.SOTW, snapshot({f"c{number}": 1 for number in range(30)}))
    client.ask(CLUSTER)
    names = list(rows(config(client), CLUSTER))
    assert names == sorted(names)
