"""Live weights on real Envoys: what requests see when one is set, runs out, and is caught up with by policy."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from compiler.fleet import Mirror
from demo.policies import save
from demo.processes import poll
from demo.traffic import Load, chat, send
from tests.envoy.envoy_process import wait_until
from tests.envoy.live import Live, live
from tests.envoy.served import served
from tests.envoy.static_files import write_snapshot
from tests.envoy.test_live_changes import VARIANTS, assert_split
from tests.envoy.upstream import upstreams
from tests.xds.translate.fleets import endpoint, fleet, model, version
from xds.live.state import LiveState, Override
from xds.snapshot import ResourceType
from xds.translate import Group, Placement, layer, snapshot

WHY = ("--why", "a test")
OLD, NEW = "split_1-0", "split_1-1"


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_live_weight_is_what_requests_see_until_it_is_taken_back(variant: str, tmp_path: Path) -> None:
    with live(tmp_path, variant) as fleet:
        said = fleet.live_weights("split", "1.0=75", "1.1=25", "--for", "15m", *WHY)
        assert "live 1.0=75 1.1=25 until" in said
        fleet.wait_for_live_weights(**{OLD: 7500, NEW: 2500})
        assert_split(send(fleet.envoy.url, 2000, chat("split")), 25)
        assert fleet.weights().items() >= {OLD: 9000, NEW: 1000}.items()  # the table has not been sent again
        fleet.live_weights("split", "--clear")
        fleet.wait_for_live_weights()
        assert_split(send(fleet.envoy.url, 2000, chat("split")), 10)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_live_weight_runs_out_by_itself_and_no_request_fails(variant: str, tmp_path: Path) -> None:
    with live(tmp_path, variant, "--answer-time", "5ms") as fleet:
        with Load(fleet.envoy.url, 10, chat("split"), chat("split", stream=True)) as load:
            fleet.live_weights("split", "1.1=100", "--for", "2s", *WHY)
            fleet.wait_for_live_weights(**{OLD: 0, NEW: 10000})
            load.wait_for_answer(lambda answer: answer.version == "1.1", "by the version that has all")
            assert poll(lambda: fleet.runtime() == {}, 20)
            ended = time.monotonic()
            load.wait_for_answer(lambda answer: answer.sent > ended and answer.version == "1.0", "by policy's version")
        assert not load.tally().failures
        assert_split(send(fleet.envoy.url, 2000, chat("split")), 10)


Edit = Callable[[dict[str, Any]], None]
"""Of the policies by name."""


def say_the_same(documents: dict[str, Any]) -> None:
    old, new = documents["split"]["spec"]["versions"]
    old["weight"], new["weight"] = 0, 100


def remove_the_drained_version(documents: dict[str, Any]) -> None:
    _, new = documents["split"]["spec"]["versions"]
    documents["split"]["spec"]["versions"] = [new | {"weight": 100}]


def bring_a_model(documents: dict[str, Any]) -> None:
    """Its cluster has to get warm before routes are sent: for so long the layer is new and the routes are old."""
    spec = {"modelName": "example/extra", "endpoints": [{"address": "127.0.0.1", "port": 1}]}
    kind = {"apiVersion": "turnout.dev/v1", "kind": "InferenceModel"}
    documents["extra"] = {**kind, "metadata": {"name": "extra"}, "spec": spec}


def commit(fleet: Live, *edits: Edit) -> None:
    """In one save; returns when Envoy has it."""
    before = fleet.status()["policy"]["digest"]
    file = fleet.policies.folder / "fleet.yaml"
    documents = {document["metadata"]["name"]: document for document in yaml.safe_load_all(file.read_text())}
    for edit in edits:
        edit(documents)
    save(file, yaml.safe_dump_all(documents.values()))
    fleet.wait_for_edit(before)


@pytest.mark.parametrize("edit", [say_the_same, remove_the_drained_version])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_commit_of_what_is_live_lets_no_request_go_back_and_none_fail(
    variant: str, edit: Edit, tmp_path: Path
) -> None:
    """A version is drained by hand, and policy follows: from then on it gets not one request."""
    with live(tmp_path, variant, "--answer-time", "5ms") as fleet:
        with Load(fleet.envoy.url, 20, chat("split"), chat("split", stream=True)) as load:
            load.wait_for_answer(lambda answer: answer.version == "1.0", "by the version that has most")
            fleet.live_weights("split", "1.1=100", "--for", "15m", *WHY)
            fleet.wait_for_live_weights(**{OLD: 0, NEW: 10000})
            drained = time.monotonic()
            load.wait_for(200)
            commit(fleet, edit, bring_a_model)
            load.wait_for(500)
        tally = load.tally()
        assert not tally.failures, tally.failures
        assert set(tally.since(drained).by("version")) == {("1.1",)}
        assert fleet.status()["overrides"] == []


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_policy_says_after_it_has_agreed_holds(variant: str, tmp_path: Path) -> None:
    with live(tmp_path, variant) as fleet:
        fleet.live_weights("split", "1.1=100", "--for", "15m", *WHY)
        fleet.wait_for_live_weights(**{OLD: 0, NEW: 10000})
        commit(fleet, say_the_same)
        fleet.wait_for_weights(**{OLD: 0, NEW: 10000})
        assert fleet.runtime() == {OLD: 0, NEW: 10000}
        fleet.policies.set_weights("split", {"1.0": 50, "1.1": 50})
        fleet.wait_for_weights(**{OLD: 5000, NEW: 5000})
        fleet.wait_for_live_weights()
        assert_split(send(fleet.envoy.url, 2000, chat("split")), 50)


def test_copies_follow_the_live_weights_of_who_gets_them(tmp_path: Path) -> None:
    """Envoy reads a fraction, where a number would be percent."""
    requests = 1_000
    with upstreams("chat", "shadow-1", "shadow-2") as servers:
        versions = tuple(version(n, w, (endpoint(servers[f"shadow-{n}"].port),)) for n, w in (("1", 75), ("2", 25)))
        asked = model(
            "chat", (version(endpoints=(endpoint(servers["chat"].port),)),), mirror=Mirror("shadow", None, 40)
        )
        of = fleet(asked, model("shadow", versions))
        with served(of, tmp_path) as envoy:
            now = datetime.now(UTC)
            state = LiveState({"shadow": Override({"1": 0, "2": 100}, now, now + timedelta(hours=1), "a test")})
            group = Group("default", Placement(port=envoy.port, address="127.0.0.1"))
            changed = snapshot(of, group).having(ResourceType.RUNTIME, layer(of, "default", state))
            write_snapshot(changed, envoy.envoy.directory)
            wait_until(lambda: "mirror.model-chat" in envoy.envoy.get("/runtime"), what="the layer is there")
            assert {envoy.ask({"model": "chat"}).status for _ in range(requests)} == {200}
            sent: dict[str, Any] = {}

            def arrived() -> bool:
                sent.update(envoy.envoy.stats(r"^cluster.shadow_.\.upstream_rq_total$"))
                return sum(sent.values()) == sum(len(servers[f"shadow-{n}"].received) for n in (1, 2))

            wait_until(arrived, what="all copies have arrived")
        assert len(servers["shadow-1"].received) == 0
        copies = len(servers["shadow-2"].received)
        assert abs(copies - 0.4 * requests) <= 4 * math.sqrt(requests * 0.4 * 0.6), copies
