"""Snapshots of each group and placement, and what they share."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import pytest

from compiler.fleet import Fleet
from compiler.pipeline import compile_policies
from tests.features.served import model
from xds.cache import Snapshots, UnknownGroupError
from xds.live.state import LiveState, Override
from xds.serve import TRANSLATION
from xds.snapshot import ResourceType, Snapshot
from xds.translate.group import Group, Placement, PlacementError


def fleet(folder: Path, *texts: str) -> Fleet:
    folder.mkdir(exist_ok=True)
    (folder / "models.yaml").write_text("---\n".join(texts))
    found = compile_policies(folder).fleet
    assert found is not None
    return found


def loaded(snapshots: Snapshots, of: Fleet) -> Snapshots:
    snapshots.replace(snapshots.prepared(of))
    return snapshots


def test_there_is_no_snapshot_before_a_fleet_is_loaded() -> None:
    assert Snapshots(TRANSLATION).get(Group("default")) is None


def test_an_unknown_group_is_an_error_once_groups_are_known(tmp_path: Path) -> None:
    snapshots = loaded(Snapshots(TRANSLATION), fleet(tmp_path, model("chat")))
    with pytest.raises(UnknownGroupError):
        snapshots.get(Group("nope"))


def test_placements_of_a_group_share_all_but_the_listeners(tmp_path: Path) -> None:
    snapshots = loaded(Snapshots(TRANSLATION), fleet(tmp_path, model("chat")))
    one, two = (snapshots.get(Group("default", Placement(port))) for port in (10001, 10002))
    assert one is not None
    assert two is not None
    assert {type_ for type_ in ResourceType if one[type_] is not two[type_]} == {ResourceType.LISTENER}


def test_groups_that_see_the_same_share_the_same_objects(tmp_path: Path) -> None:
    snapshots = loaded(Snapshots(TRANSLATION), fleet(tmp_path, model("chat"), model("embed")))
    gateway, sidecar = (snapshots.get(Group(name)) for name in ("default", "sidecar"))
    assert gateway is not None
    assert sidecar is not None
    assert gateway[ResourceType.CLUSTER] is sidecar[ResourceType.CLUSTER]
    assert gateway[ResourceType.ENDPOINT] is sidecar[ResourceType.ENDPOINT]


def test_a_change_of_one_model_leaves_the_resources_of_others_the_same_objects(tmp_path: Path) -> None:
    snapshots = loaded(Snapshots(TRANSLATION), fleet(tmp_path, model("chat", 9001), model("embed")))
    before = snapshots.get(Group("default"))
    loaded(snapshots, fleet(tmp_path, model("chat", 9002), model("embed")))
    after = snapshots.get(Group("default"))
    assert before is not None
    assert after is not None
    old, new = before[ResourceType.ENDPOINT], after[ResourceType.ENDPOINT]
    assert {name for name in new if new[name] is not old[name]} == {"chat_1"}
    assert after[ResourceType.CLUSTER] is before[ResourceType.CLUSTER]


def test_a_resource_names_the_line_where_it_stands_now(tmp_path: Path) -> None:
    snapshots = loaded(Snapshots(TRANSLATION), fleet(tmp_path, model("chat")))
    before = snapshots.get(Group("default"))
    loaded(snapshots, fleet(tmp_path, "# moved down\n" + model("chat")))
    after = snapshots.get(Group("default"))
    assert before is not None
    assert after is not None
    old, new = (at[ResourceType.CLUSTER]["chat_1"] for at in (before, after))
    assert (new.version, new.origin) == (old.version, replace(old.origin, line=old.origin.line + 1))


def test_versions_that_were_served_before_are_still_known(tmp_path: Path) -> None:
    snapshots = loaded(Snapshots(TRANSLATION), fleet(tmp_path, model("chat", 9001)))
    before = snapshots.get(Group("default"))
    loaded(snapshots, fleet(tmp_path, model("chat", 9002)))
    assert before is not None
    assignments = before[ResourceType.ENDPOINT]
    assert snapshots.known(assignments.version) == assignments
    assert snapshots.known("never served") is None


def test_a_thousand_placements_crowd_out_no_version(tmp_path: Path) -> None:
    snapshots = loaded(Snapshots(TRANSLATION), fleet(tmp_path, model("chat", 9001)))
    before = snapshots.groups["default"]
    for port in range(1000):
        snapshots.get(Group("default", Placement(10_000 + port)))
    loaded(snapshots, fleet(tmp_path, model("chat", 9002)))
    assert all(snapshots.known(before[type_].version) for type_ in ResourceType)


def test_placements_are_made_again_only_for_envoys_that_are_still_there(tmp_path: Path) -> None:
    placed: list[Group] = []

    def place(of: Snapshot, fleet: Fleet, group: Group) -> Snapshot:
        placed.append(group)
        return TRANSLATION.place(of, fleet, group)

    snapshots = loaded(Snapshots(replace(TRANSLATION, place=place)), fleet(tmp_path, model("chat", 9001)))
    here, gone = (Group("default", Placement(port)) for port in (10_001, 10_002))
    before, _ = (snapshots.get(group) for group in (here, gone))
    placed.clear()
    loaded(snapshots, fleet(tmp_path, model("chat", 9002)))
    assert placed == []
    after = snapshots.get(here)
    assert placed == [here]
    assert before is not None
    assert after is not None
    assert after[ResourceType.LISTENER] is before[ResourceType.LISTENER]


def test_live_weights_change_the_runtime_layer_alone_and_nothing_is_made_again(tmp_path: Path) -> None:
    text = model("chat").replace(
        "  endpoints:", "  versions: [{name: '1', weight: 90}, {name: '2', weight: 10}]\n  endpoints:"
    )
    of = fleet(tmp_path, text.replace("port: 9001,", "port: 9001, version: '1',"))

    def again(*_: object) -> NoReturn:
        raise AssertionError("made again")

    snapshots = loaded(Snapshots(TRANSLATION), of)
    groups = (Group("default"), Group("default", Placement(10_001)), Group("sidecar"))
    before = [snapshots.get(group) for group in groups]
    snapshots._translation = replace(TRANSLATION, snapshot=again, place=again)
    now = datetime(2026, 3, 1, tzinfo=UTC)
    live = LiveState({"chat": Override({"1": 75, "2": 25}, now, now, "why")})
    assert snapshots.replace_layers(live)
    assert not snapshots.replace_layers(live)
    for group, old in zip(groups, before, strict=True):
        new = snapshots.get(group)
        assert old is not None
        assert new is not None
        assert {type_ for type_ in ResourceType if new[type_] is not old[type_]} == {ResourceType.RUNTIME}
        assert new[ResourceType.RUNTIME] != old[ResourceType.RUNTIME]
    assert all(snapshots.known(snapshots.groups[g.name][ResourceType.RUNTIME].version) for g in groups)


def test_envoys_come_while_a_fleet_is_prepared(tmp_path: Path) -> None:
    """In another thread: nothing that it reads may change under it."""
    ports = iter(range(10_000, 60_000))

    def place(of: Snapshot, fleet: Fleet, group: Group) -> Snapshot:
        if threading.current_thread() is not threading.main_thread():
            raise AssertionError("placed in the thread that prepares")
        return TRANSLATION.place(of, fleet, group)

    snapshots = loaded(Snapshots(replace(TRANSLATION, place=place)), fleet(tmp_path, model("a")))
    snapshots.get(Group("default", Placement(next(ports))))
    second = fleet(tmp_path, model("a", 9002))
    with ThreadPoolExecutor(1) as thread:
        preparing = thread.submit(snapshots.prepared, second)
        while not preparing.done():
            snapshots.get(Group("default", Placement(next(ports))))
        snapshots.replace(preparing.result())
    assert snapshots.fleet is second


def test_a_placement_whose_last_listener_has_no_port_is_an_error_with_a_reason(tmp_path: Path) -> None:
    gateway = "apiVersion: turnout.dev/v1\nkind: Gateway\nmetadata: {name: two}\nspec:\n  hosts: ['*']\n"
    gateway += "  listeners: [{port: 80, protocol: HTTP}, {port: 81, protocol: HTTP}]\n"
    snapshots = loaded(Snapshots(TRANSLATION), fleet(tmp_path, model("chat"), gateway))
    assert snapshots.get(Group("two", Placement(65534))) is not None
    with pytest.raises(PlacementError, match="65535: with 2 listeners the last would be at port 65536"):
        snapshots.get(Group("two", Placement(65535)))
