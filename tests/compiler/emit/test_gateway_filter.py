"""Patches of EnvoyFilters are configuration that Envoy takes, and stand where only Turnout's requests meet them."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
from envoy.config.accesslog.v3 import accesslog_pb2  # noqa: F401
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.listener.v3 import listener_components_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.filters.http.lua.v3 import lua_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from google.protobuf import json_format
from google.protobuf.message import Message

from compiler.emit import istio
from compiler.emit.object import Object
from compiler.fleet import Carrier, Fleet, Host, Retries
from compiler.kept import Kept
from tests.compiler.emit.fleets import fleet, gateway, model, seconds, version

MESSAGES: dict[str, type[Message]] = {
    "HTTP_FILTER": http_connection_manager_pb2.HttpFilter,
    "NETWORK_FILTER": listener_components_pb2.Filter,
    "VIRTUAL_HOST": route_components_pb2.VirtualHost,
    "HTTP_ROUTE": route_components_pb2.Route,
    "CLUSTER": cluster_pb2.Cluster,
}
"""What the value of a patch is part of, by what it applies to."""

Patch = dict[str, Any]


def patches(of: Fleet, apply_to: str, name: str = "turnout-mesh") -> list[Patch]:
    [spec] = [o.body["spec"] for o in istio.objects(of, Kept()) if o.body["metadata"]["name"] == name]
    return [patch for patch in spec["configPatches"] if patch["applyTo"] == apply_to]


def parsed(patch: Patch) -> Any:
    """Raises json_format.ParseError for an unknown field, type or value."""
    value = copy.deepcopy(patch["patch"]["value"])  # which is taken apart by the parser
    return json_format.ParseDict(value, MESSAGES[patch["applyTo"]]())


def test_every_value_is_what_envoy_takes(objects: tuple[Object, ...]) -> None:
    filters = [item.body["spec"] for item in objects if item.body["kind"] == "EnvoyFilter"]
    found = {patch["applyTo"]: parsed(patch) for spec in filters for patch in spec["configPatches"]}
    assert set(found) == set(MESSAGES)


def test_an_unknown_field_is_refused() -> None:
    [patch] = patches(fleet(model("a")), "HTTP_FILTER")
    patch["patch"]["value"]["typed_config"]["source_code"] = {}
    with pytest.raises(json_format.ParseError):
        parsed(patch)


def test_the_filter_reaches_the_pods_that_the_gateway_selects(objects: tuple[Object, ...]) -> None:
    """In Istio's root namespace: elsewhere it would reach its own namespace's pods only."""
    of_kind = {
        kind: [item.body for item in objects if (item.body["apiVersion"], item.body["kind"]) == (version, kind)]
        for version, kind in (
            ("networking.istio.io/v1", "Gateway"),
            ("networking.istio.io/v1alpha3", "EnvoyFilter"),
        )
    }
    assert len(of_kind["EnvoyFilter"]) == len(of_kind["Gateway"])
    selectors = [body["spec"]["selector"] for body in of_kind["Gateway"]]
    assert [body["spec"]["workloadSelector"]["labels"] for body in of_kind["EnvoyFilter"]] == selectors
    assert {body["metadata"]["namespace"] for body in of_kind["EnvoyFilter"]} == {"istio-system"}


def test_the_script_runs_for_virtual_hosts_that_call_for_it_and_no_other() -> None:
    [added] = patches(fleet(model("a")), "HTTP_FILTER")
    assert added["patch"]["operation"] == "INSERT_FIRST"
    lua = lua_pb2.Lua()
    parsed(added).typed_config.Unpack(lua)
    assert not lua.HasField("default_source_code")
    [host] = map(parsed, patches(fleet(model("a")), "VIRTUAL_HOST"))
    called = lua_pb2.LuaPerRoute()
    host.typed_per_filter_config[parsed(added).name].Unpack(called)
    assert called.name in lua.source_codes


def test_each_host_is_found_by_its_domain_in_lower_case() -> None:
    hosts = (Host("A.example.com", Carrier.ISTIO), Host("e.example.com", Carrier.ENVOY), Host("*", Carrier.ISTIO))
    of = fleet(model("a"), gateways=(replace(gateway("mesh", "a"), hosts=hosts, max_request_bytes=5),))
    found = {p["match"]["routeConfiguration"]["vhost"]["domainName"]: parsed(p) for p in patches(of, "VIRTUAL_HOST")}
    assert list(found) == ["a.example.com", "*"]
    assert {host.request_body_buffer_limit.value for host in found.values()} == {5}


def test_streams_have_limits_for_silence_and_for_the_whole() -> None:
    route = route_of(fleet(model("a")), "model/a/stream")
    assert (route.route.timeout.seconds, route.route.idle_timeout.seconds) == (0, 300)
    assert route.route.max_stream_duration.max_stream_duration.seconds == 3600
    assert not route.route.HasField("retry_policy")


def test_the_limit_for_the_first_byte_holds_without_retries_too() -> None:
    never = replace(model("a"), retries=Retries(0, ("reset",), (), seconds(0.025)))
    policy = route_of(fleet(never), "model/a/stream").route.retry_policy
    assert (policy.num_retries.value, policy.per_try_timeout.seconds) == (0, 60)
    assert policy.HasField("num_retries")


def test_durations_below_a_second_are_written_as_envoy_reads_them() -> None:
    short = replace(model("a"), timeouts=replace(model("a").timeouts, stream_idle=seconds(0.25)))
    assert route_of(fleet(short), "model/a/stream").route.idle_timeout.ToMilliseconds() == 250


def route_of(of: Fleet, name: str) -> Any:
    [patch] = [
        p for p in patches(of, "HTTP_ROUTE") if p["match"]["routeConfiguration"]["vhost"]["route"]["name"] == name
    ]
    return parsed(patch)


def test_the_route_of_requests_whose_body_is_not_read_yet_forwards() -> None:
    """A direct response would leave the body the listener's limit."""
    route = route_of(fleet(model("a")), "no-model").route
    assert route.cluster_header.startswith("x-turnout-")
    assert route.cluster_not_found_response_code == route_components_pb2.RouteAction.NOT_FOUND


def test_errors_are_reworded_for_requests_of_the_gateway_only() -> None:
    [patch] = patches(fleet(model("a")), "NETWORK_FILTER")
    manager = http_connection_manager_pb2.HttpConnectionManager()
    parsed(patch).typed_config.Unpack(manager)
    assert [field.name for field, _ in manager.ListFields()] == ["local_reply_config"]
    for mapper in manager.local_reply_config.mappers:
        first = mapper.filter.and_filter.filters[0].header_filter.header
        assert (first.name, first.string_match.exact) == ("x-turnout-gateway", "mesh")


def test_changes_of_every_versions_instances_are_taken_over_at_once() -> None:
    of = fleet(model("a", version("1", 100), version("2", 0)))
    found = {patch["match"]["cluster"]["service"]: parsed(patch) for patch in patches(of, "CLUSTER")}
    assert list(found) == ["a-1.ai-inference.svc.cluster.local", "a-2.ai-inference.svc.cluster.local"]
    assert all(cluster.common_lb_config.HasField("update_merge_window") for cluster in found.values())


def test_nothing_in_it_is_null(objects: tuple[Object, ...]) -> None:
    """Not everything that carries a custom resource to the cluster keeps a null."""
    assert not any("None" in str(item.body) for item in objects if item.body["kind"] == "EnvoyFilter")
