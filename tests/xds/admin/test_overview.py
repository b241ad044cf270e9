"""What `turnout status` says, from the document of `/status` alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from compiler.diagnostics import Position
from tests.xds.stream.client import Client
from tests.xds.stream.snapshots import CLUSTER, ENDPOINT, ORIGIN, snapshot
from xds.admin.following import standing_document
from xds.admin.overview import MANY, as_text, overview
from xds.admin.status import status
from xds.control import Health, LastGood, Policy
from xds.git.standing import Standing
from xds.keeping import Kept
from xds.snapshot import Snapshot
from xds.stream.node import Node
from xds.stream.peer import Peer
from xds.stream.refusals import refusal
from xds.stream.services import ADS, SEPARATE, Service
from xds.stream.state import Variant
from xds.translate.group import Group

AB = snapshot({"a": 1, "b": 1})
OK = Policy(Health.OK, "d1")
CDS = SEPARATE[1]


def peer(client: Client, id_: str = "gw-1", group: str = "public", service: Service = ADS) -> Peer:
    return Peer(Node(id_, Group(group), "az-1"), client.state, service)


def seen(*peers: Peer, at: Snapshot | None = AB, policy: Policy = OK) -> dict[str, Any]:
    return overview(status(policy, None, peers, lambda _: at))


def text(document: dict[str, Any], *, everyone: bool = False) -> str:
    return as_text(document, everyone=everyone, colour=False)


def synced() -> Client:
    client = Client(Variant.DELTA, AB)
    client.subscribed()
    return client


def refusing() -> Client:
    client = synced()
    client.snapshot = snapshot({"a": 1, "b": 1}, {"a": 2, "b": 1})
    client.refuse(*client.updates(), reason="malformed IP address")
    return client


def state(client: Client, at: Snapshot | None = AB, policy: Policy = OK) -> str:
    (envoy,) = seen(peer(client), at=at, policy=policy)["envoys"]
    assert envoy["synced"] is (envoy["state"] == "synced")
    return str(envoy["state"])


def test_an_envoy_tells_what_it_waits_for_or_refuses() -> None:
    client = synced()
    assert state(client) == "synced"
    client.snapshot = snapshot({"a": 1, "b": 1, "c": 1})
    client.updates()
    assert state(client, client.snapshot) == "has not answered yet: cluster; is to be sent: endpoint, route"
    newer = snapshot({"a": 1, "b": 1, "c": 2})
    assert state(client, newer) == "has not answered yet: cluster; is to be sent: endpoint, route"
    client = refusing()
    assert state(client, client.snapshot) == "refuses 1 endpoint"
    assert state(synced(), None) == "its group is not in the policy"
    assert state(Client(Variant.DELTA, AB), None, Policy()) == "waits for a policy that can be served"


@pytest.mark.parametrize("variant", list(Variant))
def test_an_envoy_that_warms_clusters_of_an_earlier_stream_waits(variant: Variant) -> None:
    client = Client(variant, AB)
    claims = {name: resource.version for name, resource in AB[ENDPOINT].items()}
    client.ask(ENDPOINT, "a", "b", version=AB[ENDPOINT].version, versions=claims)
    client.settle()
    assert state(client) == "waits for its other types"


def test_all_is_well_when_the_policy_and_every_envoy_are() -> None:
    assert seen()["ok"] is True
    assert seen(peer(synced()))["ok"] is True
    assert seen(peer(synced()), policy=Policy(Health.BROKEN, "d1"))["ok"] is False
    assert seen(policy=Policy())["ok"] is False
    assert seen(peer(synced()), peer(synced(), "gw-2"), at=snapshot({"a": 2}))["ok"] is False


def test_a_refusal_has_the_words_of_the_log() -> None:
    client = refusing()
    found = refusal("gw-1", ENDPOINT, client.state.subscriptions[ENDPOINT].refused["a"])
    line = f"{ORIGIN}: X101 {found.message}\n"
    assert line in text(seen(peer(client), at=client.snapshot))
    assert f"hint: {found.hint}" in text(seen(peer(client), at=client.snapshot))
    assert found.position == Position("policies/models.yaml", 4, 18)


def test_what_many_refuse_alike_is_one_line() -> None:
    client = refusing()
    said = text(seen(*(peer(client, f"gw-{n}") for n in range(6)), at=client.snapshot))
    assert said.count("X101") == 1
    assert "X101 envoys gw-0, gw-1, gw-2 and 3 more refused endpoint 'a': malformed IP address" in said
    two = text(seen(peer(client, "one"), peer(client, "two"), at=client.snapshot))
    assert "X101 envoys one, two refused endpoint" in two


def test_of_many_envoys_there_is_a_summary_and_a_line_for_those_that_are_not_in_sync() -> None:
    client, bad = synced(), refusing()
    groups = ("public", "sidecar")
    many = [peer(client, f"gw-{n}", groups[n % 2]) for n in range(MANY)]
    few = seen(*many, at=AB)
    assert "GROUP    ENVOYS" not in text(few)
    assert text(few).count("synced") == MANY
    document = seen(*many, peer(bad, "odd"), at=AB)
    assert document["groups"] == [
        {"group": "public", "envoys": 16, "synced": 15, "refusing": 1, "waiting": 0},
        {"group": "sidecar", "envoys": 15, "synced": 15, "refusing": 0, "waiting": 0},
    ]
    said = text(document)
    assert "public   16      15      1         0\n" in said
    assert "gw-" not in said
    assert "odd    public  az-1  ADS delta  refuses 1 endpoint\n" in said
    assert text(document, everyone=True).count("gw-") == MANY


def test_streams_of_one_node_are_one_envoy_and_a_later_one_of_a_service_counts() -> None:
    clusters, old, new = Client(Variant.SOTW, AB), Client(Variant.DELTA, AB), Client(Variant.DELTA, AB)
    clusters.ask(CLUSTER)
    clusters.settle()
    for client in (old, new):
        client.ask(ENDPOINT, "a")
    old.updates()
    new.settle()
    document = seen(peer(clusters, service=CDS), peer(old), peer(new))
    (envoy,) = document["envoys"]
    assert envoy["synced"] is True
    assert envoy["streams"] == [{"service": "CDS", "variant": "sotw"}, {"service": "ADS", "variant": "delta"}]
    assert "CDS+ADS delta+sotw" in text(document)


def test_the_policy_comes_first_with_its_problems() -> None:
    found = {"code": "P202", "severity": "error", "file": "policies/chat.yaml", "line": 11, "column": 13}
    policy = {"state": "broken", "digest": "d1", "commit": "0c5d91ab44e0", "loaded_at": "2026-01-02T03:04:05.000+00:00"}
    diagnostics = [{**found, "message": "weights add up to 110", "hint": "set this weight to 20"}]
    nothing: dict[str, list[object]] = {
        "overrides": [],
        "envoys": [],
        "turned_away": [],
        "held_back": [],
        "certificates": [],
    }
    document = overview({"policy": {**policy, "diagnostics": diagnostics}, **nothing})
    assert text(document) == (
        "policy broken, 1 error, serving d1 of commit 0c5d91ab44e0 since 2026-01-02T03:04:05.000+00:00\n"
        "policies/chat.yaml:11:13: P202 weights add up to 110\n"
        "   = hint: set this weight to 20\n"
        "\n"
        "no Envoy is connected\n"
    )


def test_the_last_good_is_told_and_what_it_lacks() -> None:
    since = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    policy = Policy(Health.BROKEN, "d1", since, last_good=LastGood(since, "", fleet=True))
    whole = text(seen(policy=policy))
    assert "that is the last good, from the disk, as of 2026-01-02T03:04:05.000+00:00\n" in whole
    alone = text(seen(policy=replace(policy, last_good=LastGood(since, "", fleet=False))))
    assert "its resources alone: nothing live can be set, nothing explained\n" in alone


def test_a_branch_that_is_pinned_refused_or_lost_is_told_and_one_that_is_lost_is_not_well() -> None:
    at = Standing("file:///policy.git#main", head="b" * 40, served="a" * 40)
    pinned = followed(replace(at, pinned="a" * 40))
    assert "pinned to aaaaaaaaaaaa, while file:///policy.git#main is at bbbbbbbbbbbb\n" in text(pinned)
    assert pinned["ok"] is True
    refused = text(followed(replace(at, refused="b" * 40, reason="it is not signed")))
    assert "file:///policy.git#main is at bbbbbbbbbbbb, which is refused: it is not signed\n" in refused
    lost = followed(replace(at, problem="no route\nto host"))
    assert "file:///policy.git#main cannot be read: no route\ufffdto host\n" in text(lost)
    assert lost["ok"] is False
    assert "policy.git" not in text(followed(at))


def followed(standing: Standing) -> dict[str, Any]:
    return overview(status(OK, None, [], lambda _: None, git=standing_document(standing)))


def test_what_cannot_be_kept_is_told_and_is_not_well() -> None:
    document = overview(status(OK, None, [], lambda _: None, kept=Kept("d0", "No space left on device")))
    assert document["ok"] is False
    assert "not kept on the disk, which has that of d0: No space left on device\n" in text(document)
    assert overview(status(OK, None, [], lambda _: None, kept=Kept("d1")))["ok"] is True


def test_what_is_held_back_is_told_with_its_line_and_commit_and_is_not_well() -> None:
    held = {"code": "X102", "type": "cluster", "name": "chat_1", "breaks": "name: not empty", "kept": True}
    where = {"groups": ["public"], "origin": "policies/chat.yaml:4:18"}
    policy = {"state": "ok", "digest": "d1", "commit": "0c5d91ab44e0", "loaded_at": "now", "diagnostics": []}
    nothing: dict[str, list[object]] = {"overrides": [], "envoys": [], "turned_away": [], "certificates": []}
    document = overview({"policy": policy, **nothing, "held_back": [{**held, **where}]})
    assert document["ok"] is False
    assert document["held_back"] == [{**held, **where}]
    assert text(document).endswith(
        "policies/chat.yaml:4:18: X102 held back: cluster 'chat_1' breaks name: not empty · commit 0c5d91ab44e0\n"
        "  = hint: the version before stays in service\n"
    )


def test_names_cannot_command_the_terminal() -> None:
    assert "\x1b" not in text(seen(peer(synced(), "gw\x1b[31m")))
