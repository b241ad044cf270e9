"""The route table: what each name leads to, and with which split, tries and time limits."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from envoy.config.route.v3 import route_components_pb2, route_pb2
from google.protobuf.json_format import MessageToDict

from compiler.fleet import (
    Fleet,
    HashAlgorithm,
    HashKey,
    HashSource,
    LoadBalancing,
    Retries,
    Rule,
    SlowStart,
    Strategy,
    Target,
    Timeouts,
)
from compiler.fleet import routes as fleet_routes
from compiler.kept import Kept
from tests.xds.translate.fleets import ORIGIN, fleet, model, orchestrator, seconds, version
from xds.translate.routes import route_configurations


def table(given: Fleet) -> Any:
    made = route_configurations(given.gateways[0], fleet_routes(given, given.gateways[0]), Kept())
    [resource] = made.values()
    message = route_pb2.RouteConfiguration.FromString(resource.body)
    # It is put together from parts, and as long as if it were serialized as a whole: only entries of a map may differ,
    # in their order.
    assert len(message.SerializeToString(deterministic=True)) == len(resource.body)
    return message


def routes_of(given: Fleet, name: str) -> list[dict[str, Any]]:
    """The routes that are tried for a model's name, with Envoy's field names."""
    [host] = table(given).virtual_hosts
    found = host.matcher.matcher_tree.exact_match_map.map[name]
    routes = route_components_pb2.RouteList()
    assert found.action.typed_config.Unpack(routes)
    return [MessageToDict(route, preserving_proto_field_name=True) for route in routes.routes]


def names(given: Fleet) -> set[str]:
    [host] = table(given).virtual_hosts
    return set(host.matcher.matcher_tree.exact_match_map.map)


def test_a_model_is_found_by_name_and_alias_and_an_orchestrator_by_its_name_or_none() -> None:
    given = fleet(model("chat", aliases=("c", "talk")), model("code"), orchestrator=orchestrator("auto", ("code", 100)))
    assert names(given) == {"chat", "c", "talk", "code", "auto", ""}
    assert routes_of(given, "talk") == routes_of(given, "chat")
    assert routes_of(given, "") == routes_of(given, "auto")
    assert routes_of(given, "auto")[-1]["route"]["cluster"] == "code_1"


def test_without_a_default_no_name_leads_nowhere() -> None:
    [route] = routes_of(fleet(model("chat")), "")
    assert route["name"] == "no-model"
    assert route["route"] == {
        "cluster_header": "x-turnout-cluster",
        "cluster_not_found_response_code": "NOT_FOUND",
    }


def test_a_stream_is_limited_in_silence_and_in_all_but_not_by_a_timeout() -> None:
    timeouts = Timeouts(seconds(1), seconds(2), seconds(3), seconds(4))
    stream, _ = routes_of(fleet(model("chat", timeouts=timeouts)), "chat")
    assert stream["name"] == "model/chat/stream"
    assert stream["match"] == {
        "prefix": "/",
        "headers": [{"name": "x-turnout-stream", "string_match": {"exact": "true"}}],
    }
    action = stream["route"]
    assert action["timeout"] == "0s"
    assert action["retry_policy"]["per_try_timeout"] == "1s"
    assert action["idle_timeout"] == "2s"
    assert action["max_stream_duration"] == {"max_stream_duration": "3s"}


def test_a_whole_answer_is_limited_as_a_whole() -> None:
    timeouts = Timeouts(seconds(1), seconds(2), seconds(3), seconds(4))
    given = fleet(model("chat", timeouts=timeouts))
    _, unary = routes_of(given, "chat")
    assert (unary["name"], unary["match"]) == ("model/chat", {"prefix": "/"})
    action = unary["route"]
    assert (action["timeout"], action["idle_timeout"]) == ("4s", "4s")
    assert "max_stream_duration" not in action
    [host] = table(given).virtual_hosts
    assert "retry_policy" not in action  # it is the virtual host's
    assert not host.retry_policy.HasField("per_try_timeout")


def test_one_version_is_a_cluster_and_several_are_a_split_with_those_of_weight_zero() -> None:
    split = model("chat.1", (version("1", 90), version("2", 10), version("3", 0)))
    given = fleet(split, model("code"))
    assert routes_of(given, "code")[0]["route"]["cluster"] == "code_1"
    for route in routes_of(given, "chat.1"):
        assert route["route"]["weighted_clusters"] == {
            "clusters": [
                {"name": "chat-1_1", "weight": 9000},
                {"name": "chat-1_2", "weight": 1000},
                {"name": "chat-1_3", "weight": 0},
            ],
            "runtime_key_prefix": "split.model-chat-1",
        }


def test_a_split_of_splits_is_exact() -> None:
    chat = model("chat", (version("1", 67), version("2", 33)))
    given = fleet(chat, model("code"), orchestrator=orchestrator("auto", ("chat", 33), ("code", 67)))
    weighted = routes_of(given, "auto")[0]["route"]["weighted_clusters"]
    assert {cluster["name"]: cluster["weight"] for cluster in weighted["clusters"]} == {
        "chat_1": 2211,
        "chat_2": 1089,
        "code_1": 6700,
    }
    assert weighted["runtime_key_prefix"] == "split.orchestrator-auto"


def test_tries_go_to_other_hosts_and_other_tiers() -> None:
    retries = Retries(5, ("reset", "connect-failure"), (500, 503), seconds(0.1))
    policy = routes_of(fleet(model("chat", retries=retries)), "chat")[0]["route"]["retry_policy"]
    assert policy["num_retries"] == 5
    assert policy["retry_on"] == "reset,connect-failure,retriable-status-codes"
    assert policy["retriable_status_codes"] == [500, 503]
    assert policy["retry_back_off"] == {"base_interval": "0.100s", "max_interval": "1s"}
    assert policy["host_selection_retry_max_attempts"] == "20"
    [predicate] = policy["retry_host_predicate"]
    assert predicate["typed_config"]["@type"].endswith("PreviousHostsPredicate")
    assert policy["retry_priority"]["typed_config"]["update_frequency"] == 1


def test_no_retries_are_written_as_none() -> None:
    policy = routes_of(fleet(model("chat", retries=Retries(0, (), (), seconds(0.001)))), "chat")[0]["route"][
        "retry_policy"
    ]
    assert policy["num_retries"] == 0
    assert policy["retry_back_off"] == {"base_interval": "0.001s", "max_interval": "0.010s"}


def test_the_retries_of_most_routes_stand_at_the_virtual_host_and_others_at_their_own() -> None:
    usual, other = (Retries(tries, ("reset",), (), seconds(0.1)) for tries in (2, 3))
    given = fleet(*(model(name, retries=usual) for name in "abc"), model("d", retries=other))
    [host] = table(given).virtual_hosts
    assert host.retry_policy.num_retries.value == 2
    assert "retry_policy" not in routes_of(given, "a")[-1]["route"]
    assert routes_of(given, "d")[-1]["route"]["retry_policy"]["num_retries"] == 3


def test_hash_keys_are_policies_of_the_route() -> None:
    def hashed(source: HashSource) -> Any:
        policy = LoadBalancing(
            Strategy.CONSISTENT_HASH, HashKey(source, "who"), HashAlgorithm.MAGLEV, SlowStart(seconds(0), 10)
        )
        return routes_of(fleet(model("chat", load_balancing=policy)), "chat")[0]["route"]["hash_policy"]

    assert hashed(HashSource.HEADER) == [{"header": {"header_name": "who"}, "terminal": True}]
    assert hashed(HashSource.COOKIE) == [{"cookie": {"name": "who", "ttl": "0s"}, "terminal": True}]
    assert hashed(HashSource.QUERY_PARAMETER) == [{"query_parameter": {"name": "who"}, "terminal": True}]


def listed(given: Fleet) -> str:
    """The body of `GET /v1/models`."""
    routes = route_components_pb2.RouteList()
    table(given).virtual_hosts[0].matcher.on_no_match.action.typed_config.Unpack(routes)
    return str(routes.routes[0].direct_response.body.inline_string)


def test_the_model_list_fits_however_long_it_is() -> None:
    given = fleet(*(model(f"model-{number}") for number in range(500)))
    body = listed(given)
    assert len(json.loads(body)["data"]) == 500
    assert table(given).max_direct_response_body_size_bytes.value == len(body)


def test_the_model_list_has_each_name_once_however_many_routes_it_leads_to() -> None:
    base = model("chat")
    rule = Rule("all", 1, (), (Target("chat", 100),), base.retries, base.timeouts, ORIGIN)
    chooser = replace(orchestrator("auto", ("chat", 100)), rules=(rule, replace(rule, name="again")))
    assert [entry["id"] for entry in json.loads(listed(fleet(base, orchestrator=chooser)))["data"]] == ["auto", "chat"]


def test_the_body_limit_is_the_gateways() -> None:
    [host] = table(fleet(model("chat"), max_request_bytes=12345)).virtual_hosts
    assert host.request_body_buffer_limit.value == 12345
