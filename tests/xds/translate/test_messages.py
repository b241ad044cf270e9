"""Large messages, put together from parts."""

from __future__ import annotations

import pytest
from envoy.config.route.v3 import route_components_pb2, route_pb2
from google.protobuf import any_pb2

from xds.wire import frame

SIZES = [0, 1, 127, 128, 2**14, 2**21 + 5]


def cluster_header(size: int) -> bytes:
    return route_components_pb2.RouteAction(cluster_header="x" * size).SerializeToString(deterministic=True)


@pytest.mark.parametrize("size", SIZES)
def test_a_field_put_into_a_serialized_message_gives_the_bytes_of_the_whole(size: int) -> None:
    message = route_components_pb2.Route(name="r", match={"prefix": "/"}, stat_prefix="s")
    payload = cluster_header(size)
    whole = route_components_pb2.Route.FromString(message.SerializeToString())
    whole.route.MergeFromString(payload)
    whole.route.SetInParent()
    assert b"".join(frame((message, "route")).around(payload)) == whole.SerializeToString(deterministic=True)


@pytest.mark.parametrize("size", SIZES)
def test_a_frame_of_several_messages_gives_the_bytes_of_the_whole(size: int) -> None:
    table = route_pb2.RouteConfiguration(name="t", validate_clusters={"value": True})
    host = route_components_pb2.VirtualHost(name="h", domains=["*"], include_request_attempt_count=True)
    route = route_components_pb2.Route(name="r", match={"prefix": "/"}, stat_prefix="s")
    payload = cluster_header(size)
    around = frame((table, "virtual_hosts"), (host, "routes"), (route, "route"))
    half = len(payload) // 2
    found = b"".join(around.around(payload[:half], payload[half:]))
    own = host.routes.add()
    own.CopyFrom(route)
    own.route.MergeFromString(payload)
    own.route.SetInParent()
    table.virtual_hosts.add().CopyFrom(host)
    assert found == table.SerializeToString(deterministic=True)


def test_frames_that_differ_in_what_stands_around_have_other_versions() -> None:
    before = frame((any_pb2.Any(type_url="one"), "value"))
    assert frame((any_pb2.Any(type_url="two"), "value")).version != before.version
    assert frame((any_pb2.Any(type_url="one"), "value")).version == before.version
    after = frame((route_components_pb2.Route(stat_prefix="one"), "route"))
    assert frame((route_components_pb2.Route(stat_prefix="two"), "route")).version != after.version
