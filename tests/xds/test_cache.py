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
from compiler.kept import Kept
from compiler.pipeline import compile_policies
from tests.features.served import model
from xds.cache import Snapshots, Translation, UnknownGroupError
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


def test_a_route_table_shares_its_parts_with_those_of_other_groups_and_the_one_before(tmp_path: Path) -> None:
    texts = [model(name) for name in ("chat", "code", "embed")]
    snapshots = loaded(Snapshots(TRANSLATION), fleet(tmp_path, *texts))
    gateway, sidecar = (snapshots.groups[name][ResourceType.ROUTE][name] for name in ("default", "sidecar"))
    loaded(snapshots, fleet(tmp_path, model("chat", tail="  aliases: [talk]\n"), *texts[1:]))
    after = snapshots.groups["default"][ResourceType.ROUTE]["default"]
    shared = {id(part) for part in gateway.parts if len(part) > 10}
    entries = 4  # the three, and of a request that names none: each a head and its routes
    assert sum(id(part) in shared for part in sidecar.parts) == 2 * entries
    assert sum(id(part) in shared for part in after.parts) == 2 * entries  # chat is still called so
    assert after.version != gateway.version


def test_a_resource_names_the_line_where_it_stands_now(tmp_path: Path) -> None:
    snapshots = loaded(Snapshots(TRANSLATION), fleet(tmp_path, model("chat")))
    before = snapshots.get(Group("default"))
    loaded(snapshots, fleet(tmp_path, "# moved down\n" + model("chat")))
    after = snapshots.get(Group("default"))
    assert before is not None
    assert after is not None
    old, new = (at[ResourceType.CLUSTER]["chat_1"] for at in (before, after))
    assert (new.version, new.origin) == (old.version, old.origin._replace(line=old.origin.line + 1))


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


# Tenants


def tenants(*names: str) -> str:
    return "---\n".join(f"apiVersion: turnout.dev/v1\nkind: Tenant\nmetadata: {{name: {name}}}\n" for name in names)


def owned(name: str, of: str, *ports: int) -> str:
    return model(name, *ports, tail=f"  tenant: {of}\n")


def counting(made: list[str]) -> Translation:
    """Which groups are translated, in order."""

    def snapshot(of: Fleet, group: Group, kept: Kept) -> Snapshot:
        made.append(group.name)
        return TRANSLATION.snapshot(of, group, kept)

    return replace(TRANSLATION, snapshot=snapshot)


def clusters(snapshots: Snapshots, group: str) -> set[str]:
    found = snapshots.get(Group(group))
    assert found is not None
    return set(found[ResourceType.CLUSTER])


def test_a_thousand_tenants_without_models_of_their_own_cost_nothing(tmp_path: Path) -> None:
    made: list[str] = []
    names = [f"t{number}" for number in range(1000)]
    snapshots = loaded(Snapshots(counting(made)), fleet(tmp_path, model("chat"), tenants(*names)))
    shared = snapshots.get(Group("sidecar"))
    assert all(snapshots.get(Group(f"sidecar.{name}")) is shared for name in names)
    loaded(snapshots, fleet(tmp_path, model("chat", 9002), tenants(*names)))
    assert made == ["default", "sidecar"] * 2


def test_a_tenant_s_group_is_made_for_its_first_envoy_and_from_then_on_while_it_has_one(tmp_path: Path) -> None:
    made: list[str] = []

    def policies(port: int) -> Fleet:
        return fleet(
            tmp_path, model("chat", port), owned("fraud", "bank"), owned("cat", "shop"), tenants("bank", "shop")
        )

    snapshots = loaded(Snapshots(counting(made)), policies(9001))
    assert made == ["default", "sidecar"]
    assert clusters(snapshots, "sidecar.bank") == {"chat_1", "fraud_1"}
    assert snapshots.get(Group("sidecar.bank")) is snapshots.get(Group("sidecar.bank"))
    assert made == ["default", "sidecar", "sidecar.bank"]
    for port, groups in ((9002, ["sidecar.bank"]), (9003, ["sidecar.bank"]), (9004, ["sidecar.bank"]), (9005, [])):
        made.clear()
        loaded(snapshots, policies(port))
        assert made == ["default", "sidecar", *groups]
        if port == 9002:  # its Envoys are there for the last time; an edit that follows at once may come before them
            snapshots.get(Group("sidecar.bank"))


def test_a_group_that_is_made_late_is_the_same_as_one_that_is_made_with_the_others(tmp_path: Path) -> None:
    texts = (model("chat"), model("code"), owned("fraud", "bank"), owned("cat", "shop"), tenants("bank", "shop"))
    snapshots = loaded(Snapshots(TRANSLATION), fleet(tmp_path, *texts))
    for name in ("sidecar.bank", "sidecar.shop"):
        late = snapshots.get(Group(name))
        alone = TRANSLATION.snapshot(fleet(tmp_path, *texts), Group(name), Kept())
        assert late is not None
        assert late.sets == alone.sets
    again = loaded(snapshots, fleet(tmp_path, *texts))
    for name in ("sidecar.bank", "sidecar.shop", "sidecar", "default"):
        found = again.get(Group(name))
        assert found is not None
        assert found.sets == TRANSLATION.snapshot(fleet(tmp_path, *texts), Group(name), Kept()).sets


def test_a_tenant_s_group_shares_the_resources_of_what_is_nobody_s(tmp_path: Path) -> None:
    texts = (model("chat"), owned("fraud", "bank"), tenants("bank"))
    snapshots = loaded(Snapshots(TRANSLATION), fleet(tmp_path, *texts))
    bank, everybody = (snapshots.get(Group(name)) for name in ("sidecar.bank", "sidecar"))
    assert bank is not None
    assert everybody is not None
    for type_ in (ResourceType.CLUSTER, ResourceType.ENDPOINT):
        assert bank[type_]["chat_1"] is everybody[type_]["chat_1"]
    assert bank[ResourceType.LISTENER] is everybody[ResourceType.LISTENER]


def test_a_tenant_that_loses_its_models_is_served_as_all_sidecars(tmp_path: Path) -> None:
    snapshots = loaded(Snapshots(TRANSLATION), fleet(tmp_path, model("chat"), owned("fraud", "bank"), tenants("bank")))
    assert clusters(snapshots, "sidecar.bank") == {"chat_1", "fraud_1"}
    loaded(snapshots, fleet(tmp_path, model("chat"), tenants("bank")))
    assert snapshots.get(Group("sidecar.bank")) is snapshots.get(Group("sidecar"))
    loaded(snapshots, fleet(tmp_path, model("chat")))
    with pytest.raises(UnknownGroupError):
        snapshots.get(Group("sidecar.bank"))


def test_live_weights_are_in_the_first_snapshot_of_a_tenant_s_group(tmp_path: Path) -> None:
    versions = "  versions: [{name: '1', weight: 90}, {name: '2', weight: 10}]\n  endpoints:"
    text = owned("fraud", "bank").replace("  endpoints:", versions).replace("port: 9001,", "port: 9001, version: '1',")
    snapshots = Snapshots(TRANSLATION)
    now = datetime(2026, 3, 1, tzinfo=UTC)
    live = LiveState({"fraud": Override({"1": 75, "2": 25}, now, now, "why")})
    prepared = snapshots.prepared(fleet(tmp_path, model("chat"), text, tenants("bank")))
    snapshots.replace(prepared, live)
    late = snapshots.get(Group("sidecar.bank"))
    assert late is not None
    assert late[ResourceType.RUNTIME] == TRANSLATION.layer(prepared.fleet, "sidecar.bank", live, ())
    assert late[ResourceType.RUNTIME] != snapshots.groups["sidecar"][ResourceType.RUNTIME]
    assert snapshots.replace_layers(LiveState())
    after = snapshots.get(Group("sidecar.bank"))
    assert after is not None
    assert after[ResourceType.RUNTIME] == snapshots.groups["sidecar"][ResourceType.RUNTIME]


def test_tenants_come_while_a_fleet_is_prepared(tmp_path: Path) -> None:
    """Their groups are made meanwhile, of the fleet that is served."""
    names = [f"t{number}" for number in range(20)]
    own = [owned(f"m{number}", name, 9100 + number) for number, name in enumerate(names)]
    snapshots = loaded(Snapshots(TRANSLATION), fleet(tmp_path, model("a"), *own, tenants(*names)))
    second = fleet(tmp_path, model("a", 9002), *own, tenants(*names))
    with ThreadPoolExecutor(1) as thread:
        preparing = thread.submit(snapshots.prepared, second)
        for number, name in enumerate(names):
            assert clusters(snapshots, f"sidecar.{name}") == {"a_1", f"m{number}_1"}
        snapshots.replace(preparing.result())
    for name in names:
        found = snapshots.get(Group(f"sidecar.{name}"))
        assert found is not None
        assert found.sets == TRANSLATION.snapshot(second, Group(f"sidecar.{name}"), Kept()).sets


def test_many_groups_crowd_out_none_of_their_versions(tmp_path: Path) -> None:
    names = [f"t{number}" for number in range(20)]
    own = [owned(f"m{number}", name, 9100 + number) for number, name in enumerate(names)]
    snapshots = loaded(Snapshots(TRANSLATION), fleet(tmp_path, model("a"), *own, tenants(*names)))
    for name in names:
        snapshots.get(Group(f"sidecar.{name}"))
    for found in snapshots.groups.values():
        assert all(snapshots.known(found[type_].version) for type_ in ResourceType)


def test_a_fleet_that_is_prepared_again_gives_each_tenant_its_own(tmp_path: Path) -> None:
    """Also where other groups are made than the last time, with all else the same objects."""
    of = fleet(tmp_path, model("chat"), owned("fraud", "bank"), owned("cat", "shop"), tenants("bank", "shop"))
    snapshots = loaded(Snapshots(TRANSLATION), of)
    assert clusters(snapshots, "sidecar.bank") == {"chat_1", "fraud_1"}
    for _ in range(3):
        loaded(snapshots, of)
    assert clusters(snapshots, "sidecar.shop") == {"chat_1", "cat_1"}
    loaded(snapshots, of)
    assert clusters(snapshots, "sidecar.shop") == {"chat_1", "cat_1"}
