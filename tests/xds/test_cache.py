"""Snapshots of each group and placement, and what they share."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from compiler.fleet import Fleet
from compiler.pipeline import compile_policies
from tests.features.served import model
from xds.cache import Snapshots, UnknownGroupError
from xds.serve import TRANSLATION
from xds.snapshot import ResourceType
from xds.translate.group import Group, Placement


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
    assert snapshots.known(assignments.version) is assignments
    assert snapshots.known("never served") is None
