"""Envoy's own rules: all of them are known, and what they say of messages is what protoc-gen-validate says."""

from __future__ import annotations

import importlib
import pkgutil
from datetime import timedelta
from typing import Any

import envoy
import pytest
from envoy.config.cluster.v3 import cluster_pb2, outlier_detection_pb2
from envoy.config.core.v3 import base_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from google.protobuf import any_pb2
from google.protobuf.message import Message

from xds.soundness.constraints import Constraints
from xds.soundness.rules import HEADERS, count_rule, kind_of, rules_of, value_rule


def broken(message: Message) -> list[str]:
    return [str(found) for found in Constraints().examined(message).broken]


def modules() -> list[str]:
    """Of Envoy's API as Envoys speak it now, but for its own admin pages."""
    found = pkgutil.walk_packages(envoy.__path__, "envoy.")
    return [of.name for of in found if of.name.endswith("_pb2") and ".v3." in of.name]


def test_every_rule_in_envoys_api_is_known() -> None:
    """A release that has others raises here."""
    asked = 0
    for name in modules():
        for type_ in importlib.import_module(name).DESCRIPTOR.message_types_by_name.values():
            asked += fields_asked(type_)
    assert asked > 1000


def fields_asked(type_: Any) -> int:
    asked = sum(map(fields_asked, type_.nested_types))
    for field in type_.fields:
        rules: Any = rules_of(field)
        if rules is None:
            continue
        asked += 1
        kind = kind_of(rules)
        count_rule(rules)
        if kind == "map":
            for part, own in (("key", rules.map.keys), ("value", rules.map.values)):
                value_rule(field.message_type.fields_by_name[part], own)
        elif kind == "repeated":
            value_rule(field, rules.repeated.items)
        else:
            value_rule(field, rules)
    return asked


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (base_pb2.HeaderValue(), "key: not empty"),
        (base_pb2.HeaderValue(key="a\nb"), "key: the name of a header"),
        (base_pb2.HeaderValue(key="é" * 9000), "key: at most 16,384 long, not 18,000"),
        (base_pb2.Metadata(filter_metadata={"": {}}), "filter_metadata[]: not empty"),
        (route_components_pb2.Route(match={"prefix": "/"}), "action: one of them, not none"),
        (route_components_pb2.VirtualHost(name="x"), "domains: at least 1, not 0"),
        (route_components_pb2.VirtualHost(name="x", domains=["a\n"]), "domains[0]: the value of a header"),
        (route_components_pb2.DirectResponseAction(status=99), "status: at least 200, not 99"),
        (outlier_detection_pb2.OutlierDetection(interval=timedelta(0)), "interval: more than 0s, not 0s"),
        (outlier_detection_pb2.OutlierDetection(max_ejection_percent={"value": 101}), "percent: at most 100, not 101"),
        (cluster_pb2.Cluster(name="x", lb_policy=77), "lb_policy: one of LbPolicy, not 77"),
    ],
)  # fmt: skip
def test_what_is_broken_is_told_with_its_path(message: Message, said: str) -> None:
    assert any(found.endswith(said) for found in broken(message))


@pytest.mark.parametrize(
    "message",
    [
        outlier_detection_pb2.OutlierDetection(),
        outlier_detection_pb2.OutlierDetection(max_ejection_percent={"value": 0}),
        route_components_pb2.RetryPolicy(retry_back_off={"base_interval": timedelta(milliseconds=1)}),
        route_components_pb2.WeightedCluster.ClusterWeight(name="x", weight={"value": 0}),
    ],
)
def test_what_is_absent_or_at_its_limit_is_not_broken(message: Message) -> None:
    assert not broken(message)


def test_what_is_packed_is_examined_too() -> None:
    action = route_components_pb2.Route(match={"prefix": "/"}, direct_response={"status": 42})
    action.typed_per_filter_config["x"].Pack(route_components_pb2.VirtualHost(domains=["a"]))
    action.typed_per_filter_config["y"].type_url = "x/nobody.v3.Nobody"
    action.typed_per_filter_config["z"].CopyFrom(
        any_pb2.Any(type_url="type.googleapis.com/envoy.config.route.v3.Route", value=b"\xff")
    )
    assert sorted(
        broken(route_pb2.RouteConfiguration(virtual_hosts=[{"name": "h", "domains": ["*"], "routes": [action]}]))
    ) == [
        "virtual_hosts[0].routes[0].direct_response.status: at least 200, not 42",
        "virtual_hosts[0].routes[0].typed_per_filter_config[x].name: not empty",
        "virtual_hosts[0].routes[0].typed_per_filter_config[y]: of a type that there is, not 'x/nobody.v3.Nobody'",
        "virtual_hosts[0].routes[0].typed_per_filter_config[z]: a Route, which these bytes are not",
    ]


def test_what_must_be_there_is_asked_for_where_it_is_no_choice_of_several() -> None:
    manager = http_connection_manager_pb2.HttpConnectionManager
    assert "stat_prefix: not empty" in broken(manager())
    assert "route_specifier: one of them, not none" in broken(manager())
    # `rds` and `scoped_routes` are required, each where it is the one that is chosen.
    assert not broken(manager(stat_prefix="x", rds={"config_source": {"ads": {}}}))


def test_a_value_is_never_told() -> None:
    """It may be a secret."""
    assert "s3cret" not in str(broken(base_pb2.HeaderValue(key="x", value="s3cret\n")))


def test_header_patterns_are_those_of_protoc_gen_validate() -> None:
    strict, loose = (HEADERS[1, how] for how in (True, False))
    assert strict.fullmatch(":authority")
    assert not strict.fullmatch("a b")
    assert loose.fullmatch("a b")
    assert loose.fullmatch("")
    assert not loose.fullmatch("a\n")
