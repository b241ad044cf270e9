"""What is held back of groups and placements that are made when they are asked for, and what is said of it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.xds.soundness.spoiling import changed
from tests.xds.translate.fleets import endpoint, fleet, gateway, model, tenant, version
from xds.cache import Snapshots
from xds.logs import parted
from xds.serve import TRANSLATION
from xds.snapshot import ResourceType, Snapshot
from xds.translate.group import Group, Placement

CLUSTER, LISTENER = ResourceType.CLUSTER, ResourceType.LISTENER


class Bug:
    """In the translation, for as long as `change` is there."""

    def __init__(self, type_: ResourceType, name: str, change: Callable[[Any], Any]) -> None:
        self.change: Callable[[Any], Any] | None = change
        self._type, self._name = type_, name

    def in_(self, made: Snapshot) -> Snapshot:
        if self.change is None or self._name not in made[self._type]:
            return made
        return changed(made, self._type, self._name, self.change)


def snapshots(bug: Bug) -> Snapshots:
    made, place = TRANSLATION.snapshot, TRANSLATION.place
    return Snapshots(
        replace(
            TRANSLATION,
            snapshot=lambda *of: bug.in_(made(*of)),
            place=lambda *of: bug.in_(place(*of)),
        )
    )


def load(found: Snapshots, port: int, commit: str = "") -> None:
    models = (model("chat", (version(endpoints=(endpoint(port),)),)), model("fraud", tenant="risk"))
    of = fleet(*models, gateways=(gateway(("chat",)),), tenants=(tenant("risk"),))
    found.replace(replace(found.prepared(of), commit=commit))


def got(found: Snapshots, group: str, placement: Placement | None = None) -> Snapshot:
    snapshot = found.get(Group(group, placement or Placement()))
    assert snapshot is not None
    return snapshot


def no_chain(listener: Any) -> None:
    listener.ClearField("filter_chains")


def too_many(cluster: Any) -> None:
    cluster.outlier_detection.max_ejection_percent.value = 101


def test_a_group_that_is_made_when_it_is_asked_for_is_examined_too() -> None:
    bug = Bug(CLUSTER, "fraud_1", too_many)
    found = snapshots(bug)
    load(found, 9001)
    assert not found.held_back
    assert {*got(found, "sidecar.risk")[CLUSTER]} == {"chat_1"}
    assert {(held.name, *groups) for held, groups in found.held_back.items()} == {
        ("fraud_1", "sidecar.risk"),
        ("model/fraud", "sidecar.risk"),
    }
    bug.change = None
    load(found, 9002)
    assert {*got(found, "sidecar.risk")[CLUSTER]} == {"chat_1", "fraud_1"}
    assert not found.held_back
    bug.change = too_many
    load(found, 9003)
    assert {*got(found, "sidecar.risk")[CLUSTER]} == {"chat_1", "fraud_1"}
    assert [(held.name, held.kept) for held in found.held_back] == [("fraud_1", True)]


def test_a_placements_listener_stays_as_it_was_for_as_long_as_it_is_asked_for() -> None:
    bug = Bug(LISTENER, "default-8080", no_chain)
    bug.change = None
    found, placed = snapshots(bug), Placement(port=10080)
    load(found, 9001)
    before = got(found, "default", placed)
    bug.change = no_chain
    for port in (9002, 9003):
        load(found, port)
        now = got(found, "default", placed)
        assert now[LISTENER]["default-8080"] is before[LISTENER]["default-8080"]
        assert now[ResourceType.ENDPOINT] != before[ResourceType.ENDPOINT]
        assert found.held_back
    assert "default-8080" not in got(found, "default", Placement(port=10090))[LISTENER]
    bug.change = None
    load(found, 9004)
    assert got(found, "default", placed)[LISTENER] == before[LISTENER]
    assert not found.held_back


def test_the_log_says_once_what_is_held_back_and_once_when_it_is_no_more(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    bug = Bug(CLUSTER, "chat_1", too_many)
    found = snapshots(bug)
    load(found, 9001, "0c5d91ab44e0")
    load(found, 9002, "1d6e02bc55f1")
    got(found, "default", Placement(port=10080))
    line = "policies/test.yaml:1:1: X102 held back: cluster 'chat_1' breaks outlier_detection.max_ejection_percent: "
    said = [record.getMessage() for record in caplog.records]
    assert [text.partition("; ")[0] for text in said if "cluster 'chat_1' breaks" in text] == [
        f"{line}at most 100, not 101 · commit 0c5d91ab44e0"
    ]
    caplog.clear()
    bug.change = None
    load(found, 9003)
    said = [record.getMessage() for record in caplog.records]
    assert "policies/test.yaml:1:1: X102 no longer held back: cluster 'chat_1'" in said


def test_what_is_held_back_is_an_event_with_fields_in_a_log_of_json(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    bug = Bug(CLUSTER, "chat_1", too_many)
    found = snapshots(bug)
    load(found, 9001, "0c5d91ab44e0")
    bug.change = None
    load(found, 9002)
    held, over = (
        fields
        for event, fields in map(parted, caplog.records)
        if event in ("held back", "no longer held back") and fields["type"] == "cluster"
    )
    place = {"code": "X102", "type": "cluster", "resources": ["chat_1"], "file": "policies/test.yaml", "line": 1}
    assert over == {**place, "column": 1}
    assert held.items() >= {**over, "commit": "0c5d91ab44e0"}.items()
    assert "max_ejection_percent: at most 100, not 101" in str(held["message"])
