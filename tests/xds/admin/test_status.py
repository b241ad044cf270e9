"""The status document, from values alone."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from compiler.diagnostics import Position, error
from compiler.fleet import Fallback, Hop, Member, OnExplicitModel
from tests.compiler.emit.fleets import fleet, model
from tests.xds.stream.client import Client
from tests.xds.stream.snapshots import ENDPOINT, ORIGIN, snapshot
from tests.xds.translate import fleets
from xds.admin.status import Document, status
from xds.control import Health, LastGood, Policy
from xds.keeping import Kept
from xds.snapshot import Snapshot
from xds.stream.node import Node
from xds.stream.peer import Peer
from xds.stream.state import Variant
from xds.translate.group import Group

NODE = Node("gw-1", Group("public"), "az-1")
AB = snapshot({"a": 1, "b": 1})


def envoy(client: Client, at: Snapshot | None) -> Document:
    (found,) = status(Policy(), None, [Peer(NODE, client.state)], lambda _: at)["envoys"]
    assert isinstance(found, dict)
    return found


def test_before_a_policy_is_loaded_there_is_a_document_too() -> None:
    assert status(Policy(), None, [], lambda _: None) == {
        "policy": {
            "state": "loading",
            "digest": "",
            "commit": "",
            "allowed_signers": None,
            "loaded_at": None,
            "diagnostics": [],
            "last_good": None,
        },
        "git": None,
        "kept": None,
        "gateways": [],
        "models": [],
        "overrides": [],
        "held_back": [],
        "envoys": [],
        "departed": [],
        "turned_away": [],
        "certificates": [],
    }


def test_the_policy_is_shown_with_its_diagnostics() -> None:
    found = error("P202", Position("policies/chat.yaml", 11, 13), "weights add up to 110", "set this weight to 20")
    policy = Policy(Health.BROKEN, "d1", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), (found,), commit="0c5d91ab44e0")
    assert status(policy, None, [], lambda _: None)["policy"] == {
        "state": "broken",
        "digest": "d1",
        "commit": "0c5d91ab44e0",
        "allowed_signers": None,
        "loaded_at": "2026-01-02T03:04:05.000+00:00",
        "diagnostics": [
            {
                "code": "P202",
                "severity": "error",
                "file": "policies/chat.yaml",
                "line": 11,
                "column": 13,
                "message": "weights add up to 110",
                "hint": "set this weight to 20",
            }
        ],
        "last_good": None,
    }


def test_what_is_served_from_the_disk_is_told_with_the_reason_and_what_cannot_be_kept_with_the_problem() -> None:
    since = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    policy = Policy(Health.BROKEN, "d1", since, last_good=LastGood(since, "policies: P010 no policies", fleet=False))
    found = status(policy, None, [], lambda _: None, kept=Kept("d0", "No space left on device"))
    shown = {"since": "2026-01-02T03:04:05.000+00:00", "reason": "policies: P010 no policies", "fleet": False}
    assert found["policy"]["last_good"] == shown
    assert found["kept"] == {"digest": "d0", "problem": "No space left on device"}


def test_models_and_gateways_are_shown_and_the_document_is_json() -> None:
    document = status(Policy(), fleet(model("chat")), [], lambda _: None)
    assert [m["name"] for m in document["models"]] == ["chat"]
    assert document["models"][0]["versions"][0]["cluster"].startswith("chat_")
    assert json.loads(json.dumps(document)) == document


def test_an_envoy_is_in_sync_when_it_has_accepted_all_that_it_is_to_have() -> None:
    client = Client(Variant.DELTA, AB)
    client.subscribed()
    assert envoy(client, AB)["synced"] is True
    assert envoy(client, snapshot({"a": 1, "b": 2}))["synced"] is False
    assert envoy(client, None)["synced"] is False
    client.snapshot = snapshot({"a": 1, "b": 2})
    client.updates()
    assert envoy(client, client.snapshot)["synced"] is False


@pytest.mark.parametrize("variant", list(Variant))
def test_an_envoy_that_warms_clusters_of_an_earlier_stream_is_not_in_sync(variant: Variant) -> None:
    client = Client(variant, AB)
    claims = {name: resource.version for name, resource in AB[ENDPOINT].items()}
    client.ask(ENDPOINT, "a", "b", version=AB[ENDPOINT].version, versions=claims)
    client.settle()
    assert envoy(client, AB)["synced"] is False


def test_an_envoy_that_refuses_something_is_not_in_sync_and_says_what_and_where() -> None:
    client = Client(Variant.DELTA, AB)
    client.subscribed()
    client.snapshot = snapshot({"a": 1, "b": 1}, {"a": 2, "b": 1})
    client.refuse(*client.updates(), reason="malformed IP address")
    found = envoy(client, client.snapshot)
    assert found["synced"] is False
    assert found["types"]["endpoint"]["refused"] == [
        {
            "name": "a",
            "route": None,
            "version": client.snapshot[ENDPOINT]["a"].version,
            "kept": AB[ENDPOINT]["a"].version,
            "detail": "malformed IP address",
            "origin": str(ORIGIN),
        }
    ]


def test_an_orchestrator_tells_how_it_chooses() -> None:
    chooser = replace(
        fleets.orchestrator("auto", ("chat", 100)),
        members=(Member("chat", ("chat", "code"), ORIGIN),),
        fallback=Fallback((Hop("chat", ("code",), ORIGIN),), OnExplicitModel.ALWAYS),
    )
    of = fleets.fleet(fleets.model("chat"), fleets.model("code"), orchestrator=chooser)
    told = status(Policy(), of, (), lambda _: None)
    assert told["gateways"][0]["orchestrator"] == {
        "name": "auto",
        "rules": [],
        "capabilities": [{"model": "chat", "has": ["chat", "code"]}],
        "default": [{"model": "chat", "weight": 100}],
        "fallback": {"onExplicitModel": "always", "chain": [{"model": "chat", "equivalentTo": ["code"]}]},
        "origin": "policies/test.yaml:1:1",
    }
