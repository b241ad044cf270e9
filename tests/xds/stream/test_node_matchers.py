"""Which nodes a matcher is true of, and which matchers are refused."""

from __future__ import annotations

import re
from typing import Any

import pytest
from envoy.config.core.v3 import base_pb2
from envoy.service.status.v3 import csds_pb2
from google.protobuf import json_format

from xds.stream.node_matchers import Matches, any_of

METADATA = {
    "zone": "az-1",
    "weight": 3,
    "spare": False,
    "nothing": None,
    "labels": {"app": "Gateway", "x": {"y": "deep"}},
    "tags": ["a", "b"],
}


def matcher(*documents: Any) -> Matches:
    request = json_format.ParseDict({"nodeMatchers": list(documents)}, csds_pb2.ClientStatusRequest())
    return any_of(request.node_matchers)


def node(id_: str = "gateway-7") -> Any:
    return json_format.ParseDict({"id": id_, "metadata": METADATA}, base_pb2.Node())


def at(value: Any, *path: str) -> dict[str, Any]:
    return {"nodeMetadatas": [{"path": [{"key": key} for key in path], "value": value}]}


def text(value: str) -> dict[str, Any]:
    return {"stringMatch": {"exact": value}}


@pytest.mark.parametrize(
    ("by_id", "found"),
    [
        ({"exact": "gateway-7"}, True),
        ({"exact": "gateway"}, False),
        ({"prefix": "gate"}, True),
        ({"prefix": "way"}, False),
        ({"suffix": "-7"}, True),
        ({"suffix": "-"}, False),
        ({"contains": "way"}, True),
        ({"contains": "WAY"}, False),
        ({"contains": "WAY", "ignoreCase": True}, True),
        ({"exact": "Gateway-7", "ignoreCase": True}, True),
        ({"safeRegex": {"regex": "gateway-[0-9]"}}, True),
        ({"safeRegex": {"regex": "gateway"}}, False),
    ],
    ids=str,
)
def test_an_id_matches(by_id: dict[str, Any], found: bool) -> None:
    assert matcher({"nodeId": by_id})(node()) is found


@pytest.mark.parametrize(
    ("by_metadata", "found"),
    [
        (at(text("az-1"), "zone"), True),
        (at(text("az-2"), "zone"), False),
        (at(text("deep"), "labels", "x", "y"), True),
        (at(text("deep"), "labels", "x"), False),
        (at(text("az-1"), "zone", "further"), False),
        (at({"doubleMatch": {"exact": 3}}, "weight"), True),
        (at({"doubleMatch": {"exact": 4}}, "weight"), False),
        (at({"doubleMatch": {"range": {"start": 3, "end": 4}}}, "weight"), True),
        (at({"doubleMatch": {"range": {"start": 2, "end": 3}}}, "weight"), False),
        (at({"doubleMatch": {"exact": 0}}, "zone"), False),
        (at({"boolMatch": False}, "spare"), True),
        (at({"boolMatch": True}, "spare"), False),
        (at({"boolMatch": False}, "absent"), False),
        (at({"nullMatch": {}}, "nothing"), True),
        (at({"nullMatch": {}}, "absent"), False),
        (at({"presentMatch": True}, "zone"), True),
        (at({"presentMatch": True}, "absent"), False),
        (at({"presentMatch": False}, "absent"), True),
        (at({"presentMatch": True}, "nothing"), True),
        (at({"presentMatch": True}, "labels"), False),
        (at({"presentMatch": False}, "labels"), False),
        (at({"presentMatch": True}, "tags"), False),
        (at({"listMatch": {"oneOf": text("b")}}, "tags"), True),
        (at({"listMatch": {"oneOf": text("c")}}, "tags"), False),
        (at({"orMatch": {"valueMatchers": [text("c"), text("az-1")]}}, "zone"), True),
        (at({"orMatch": {"valueMatchers": [text("c"), text("d")]}}, "zone"), False),
    ],
    ids=str,
)
def test_metadata_match(by_metadata: dict[str, Any], found: bool) -> None:
    assert matcher(by_metadata)(node()) is found


def test_all_parts_of_a_matcher_must_match_and_any_matcher_is_enough() -> None:
    here, elsewhere = at(text("az-1"), "zone"), at(text("az-2"), "zone")
    mine, other = {"nodeId": {"exact": "gateway-7"}}, {"nodeId": {"exact": "gateway-8"}}
    assert matcher({**mine, **here})(node())
    assert not matcher({**mine, **elsewhere})(node())
    assert not matcher({**other, **here})(node())
    both = {"nodeMetadatas": [*here["nodeMetadatas"], *elsewhere["nodeMetadatas"]]}
    assert not matcher(both)(node())
    assert matcher(other, mine)(node())
    assert not matcher(other, elsewhere)(node())


def test_without_a_matcher_every_node_is_meant() -> None:
    assert matcher()(node())
    assert matcher({})(node())


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({"nodeId": {}}, "a string matcher with no pattern"),
        (
            {"nodeId": {"custom": {"name": "mine"}}},
            "a string matcher with custom, not exact, ",
        ),
        ({"nodeId": {"safeRegex": {"regex": "("}}}, "safe_regex '(': missing )"),
        ({"nodeId": {"safeRegex": {"regex": "a(?=b)"}}}, "safe_regex 'a(?=b)': "),
        (at(text("x")), "without a path"),
        (at({}, "zone"), "a value matcher that says nothing"),
        (at({"stringMatch": {}}, "zone"), "a string matcher with no pattern"),
        (at({"doubleMatch": {}}, "zone"), "a number matcher that says nothing"),
        (at({"listMatch": {}}, "zone"), "a list matcher that is not one_of"),
        (at({"orMatch": {"valueMatchers": [{}]}}, "zone"), "a value matcher that says nothing"),
    ],
    ids=str,
)
def test_what_cannot_be_evaluated_is_refused_with_a_reason(document: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        matcher(document)
