"""What a change of endpoints does at hosts that Turnout's own Envoys carry."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from compiler.diff.changes import Changes, changes
from compiler.diff.document import document
from compiler.diff.profile import read_profile
from compiler.diff.summary import headline
from compiler.diff.text import as_text
from compiler.diff.words import differences
from tests.compiler.diff.test_steps import ENVOY, ISTIO, side
from tests.compiler.policies import document as policy
from tests.compiler.policies import model

ONE, TWO = (f"endpoints: [{{address: 10.0.0.{n}, port: 8000}}]" for n in (1, 2))
NONE = "endpoints: []"
GATEWAY = policy("Gateway", "public", "hosts: [a.example.com]")


def split(*endpoints: str) -> str:
    """A model with a version for each of these, the first of 55 %, the second of 45 %."""
    versions = (
        f"{{name: '{n}', weight: {weight}, {of}}}"
        for n, (weight, of) in enumerate(zip((55, 45), endpoints, strict=True), 1)
    )
    return model("chat", f"versions: [{', '.join(versions)}]\n{LIMITED}")


# Else more endpoints are higher limits.
LIMITED = "traffic: {connectionPool: {maxConnections: 9, http1MaxPendingRequests: 9, http2MaxRequests: 9}}"


def change(folder: Path, before: Iterable[str], after: Iterable[str], profile: bool = False) -> Changes:
    asked = {"host": "a.example.com", "body": {"model": "chat"}, "count": 20}
    recorded = read_profile([json.dumps(asked)], "requests.jsonl") if profile else None
    one, other = (side(folder / name, tuple(of)) for name, of in (("before", before), ("after", after)))
    return changes(one, other, recorded)


def said(found: Changes) -> list[tuple[str, str, str]]:
    return [(d.aspect, d.before, d.after) for each in found.classes.found for d in differences(each)]


def test_a_version_that_loses_its_last_endpoint_loses_its_requests(tmp_path: Path) -> None:
    found = change(tmp_path, (split(ONE, TWO), GATEWAY), (split(NONE, TWO), GATEWAY), profile=True)
    assert said(found) == [
        ("answer", "55 % chat 1, 45 % chat 2", "55 % nobody (chat 1 has no endpoint: 503), 45 % chat 2")
    ]
    assert headline(found) == "100 % of 20 recorded requests are treated otherwise; 55 % lose their route."
    profile = document(found, "main", "topic")["profile"]
    assert (profile["loseRoute"], profile["gainRoute"], profile["unanswered"]) == (11, 0, 0)
    assert profile["moves"] == [{"from": "chat 1", "to": "nobody", "requests": 11}]
    assert [step.what for step in found.steps] == [
        "list endpoints of chat 1, or send no requests there",
        "sends the change to Turnout's own Envoys",
    ]
    assert "  chat 1 → nobody     55 %" in as_text(found, "main → topic", colour=False)


def test_what_is_lost_in_part_is_said_without_a_profile_too(tmp_path: Path) -> None:
    found = change(tmp_path, (split(ONE, TWO), GATEWAY), (split(NONE, TWO), GATEWAY))
    assert headline(found).startswith("1 class of requests changes, and 55 % of its requests lose their route; ")
    back = change(tmp_path / "back", (split(NONE, TWO), GATEWAY), (split(ONE, TWO), GATEWAY))
    assert headline(back).startswith("1 class of requests changes, and none loses its route; ")
    assert [step.by for step in back.steps] == ["the control server"]


def test_classes_of_which_some_are_lost_in_part_are_counted(tmp_path: Path) -> None:
    other, gone = model("other", "endpoints: [{address: 10.0.0.9, port: 8000}]"), model("other")
    found = change(tmp_path, (split(ONE, TWO), other, GATEWAY), (split(NONE, TWO), gone, GATEWAY))
    assert ", and 2 of them lose their route, wholly or in part; " in headline(found)


def test_endpoints_that_come_and_go_beside_others_change_no_class(tmp_path: Path) -> None:
    more = "endpoints: [{address: 10.0.0.1, port: 8000}, {address: 10.0.0.3, port: 8000}]"
    found = change(tmp_path, (split(ONE, TWO), GATEWAY), (split(more, TWO), GATEWAY), profile=True)
    assert found.classes.found == ()
    assert headline(found) == "Of 20 recorded requests none is treated otherwise."
    assert [step.by for step in found.steps] == ["the control server"]


CHAIN = """
gateway: public
models: [{name: chat}, {name: small}]
routing: {defaultModel: chat, fallback: {onExplicitModel: onUnavailable, chain: [{model: small, equivalentTo: [chat]}]}}
"""


def test_who_stands_in_is_told(tmp_path: Path) -> None:
    rest = (
        model("small", "endpoints: [{address: 10.0.0.9, port: 8000}]"),
        GATEWAY,
        policy("ModelOrchestrator", "auto", CHAIN),
    )
    found = change(tmp_path, (split(ONE, TWO), *rest), (split(NONE, TWO), *rest), profile=True)
    answer = ("answer", "55 % chat 1, 45 % chat 2", "55 % small 1 (chat 1 has no endpoint), 45 % chat 2")
    assert set(said(found)) == {answer}
    assert headline(found) == "55 % of 20 recorded requests move from chat to small; none loses its route."
    assert [step.by for step in found.steps] == ["the control server"]


def test_a_version_that_gets_requests_and_has_no_endpoint_is_told(tmp_path: Path) -> None:
    before = model("chat", f"versions: [{{name: '1', weight: 100, {ONE}}}, {{name: '2', weight: 0}}]\n{LIMITED}")
    found = change(tmp_path, (before, GATEWAY), (split(ONE, NONE), GATEWAY), profile=True)
    assert said(found) == [("answer", "100 % chat 1", "55 % chat 1, 45 % nobody (chat 2 has no endpoint: 503)")]
    assert headline(found) == "100 % of 20 recorded requests are treated otherwise; 45 % lose their route."


@pytest.mark.parametrize(("platform", "commits"), [(ENVOY, 2), (ISTIO, 1)])
def test_endpoints_go_after_the_requests(platform: str, commits: int, tmp_path: Path) -> None:
    """tests/envoy/test_live_changes.py sees what becomes of requests."""
    moved = model("chat", f"versions: [{{name: '1', weight: 0}}, {{name: '2', weight: 100, {TWO}}}]\n{LIMITED}")
    steps = change(tmp_path, (platform, split(ONE, TWO), GATEWAY), (platform, moved, GATEWAY)).steps
    assert steps[-1].commit == commits
    if commits == 2:
        assert steps[-1].what == "take the endpoints of chat 1 away when its last request has been answered"


@pytest.mark.parametrize(("platform", "count"), [(ENVOY, 1), (ISTIO, 0)])
def test_who_else_carries_a_host_finds_pods_by_themselves(platform: str, count: int, tmp_path: Path) -> None:
    found = change(tmp_path, (platform, split(ONE, TWO), GATEWAY), (platform, split(NONE, TWO), GATEWAY))
    assert len(found.classes.found) == count


@pytest.mark.parametrize(("platforms", "lost"), [((ISTIO, ENVOY), 20), ((ENVOY, ISTIO), 0)])
def test_a_host_that_own_envoys_take_over_needs_endpoints(
    platforms: tuple[str, str], lost: int, tmp_path: Path
) -> None:
    """Also where policies list none at all."""
    before, after = ((platform, split(NONE, NONE), GATEWAY) for platform in platforms)
    found = change(tmp_path, before, after, profile=True)
    assert found.weighed is not None
    assert (found.weighed.changed, found.weighed.lose, found.weighed.gain) == (20, lost, 20 - lost)


def test_policies_that_list_no_instance_are_compared_as_if_each_version_had_some(tmp_path: Path) -> None:
    before = model("chat", f"versions: [{{name: '1', weight: 100}}, {{name: '2', weight: 0}}]\n{LIMITED}")
    found = change(tmp_path, (before, GATEWAY), (split(NONE, NONE), GATEWAY), profile=True)
    assert said(found) == [("answer", "100 % chat 1", "55 % chat 1, 45 % chat 2")]
    assert found.weighed is not None
    assert (found.weighed.lose, found.weighed.unanswered) == (0, 0)
