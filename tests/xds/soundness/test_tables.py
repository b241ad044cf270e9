"""A route table is looked into by its parts, as it would be by its bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.xds.soundness.spoiling import routed
from tests.xds.test_cache import fleet, loaded, model
from xds.cache import Snapshots
from xds.serve import TRANSLATION
from xds.snapshot import Resource, ResourceType, Snapshot, resource
from xds.soundness import problems
from xds.soundness.problems import Examiner
from xds.soundness.tables import Entry, frame_examined, parts, routes_examined, with_entries


def snapshot(tmp_path: Path, *models: str) -> Snapshot:
    return loaded(Snapshots(TRANSLATION), fleet(tmp_path, *models)).groups["default"]


def joined(table: Resource) -> Resource:
    """As it is given back from the disk: bytes alone."""
    return resource(table.name, table.body, table.origin)


def test_it_is_the_same_by_its_parts_and_by_its_bytes(tmp_path: Path) -> None:
    table = snapshot(tmp_path, model("chat", tail="  aliases: [talk]\n"), model("code"))[ResourceType.ROUTE]["default"]
    by_parts, by_bytes = parts(table), parts(joined(table))
    assert by_parts.routes == by_bytes.routes
    assert {entry.key for entry in by_parts.routes} == {"", "chat", "code", "talk"}
    assert frame_examined(table, by_parts.frame) == frame_examined(table, by_bytes.frame)


def test_other_entries_give_the_same_bytes_by_parts_as_by_a_message(tmp_path: Path) -> None:
    table = snapshot(tmp_path, model("chat"), model("code"))[ResourceType.ROUTE]["default"]
    changed = {Entry(0, "chat"): parts(table).routes[Entry(0, "code")], Entry(0, "code"): None, Entry(0, "none"): None}
    by_parts, by_bytes = with_entries(table, changed), with_entries(joined(table), changed)
    assert parts(by_parts).routes == parts(by_bytes).routes
    assert parts(joined(by_parts)).routes == parts(by_bytes).routes


def test_entries_that_are_put_back_give_the_version_before(tmp_path: Path) -> None:
    table = snapshot(tmp_path, model("chat"), model("code"))[ResourceType.ROUTE]["default"]
    chat = Entry(0, "chat")
    spoilt = with_entries(table, {chat: b"spoilt"})
    assert spoilt.version != table.version
    assert with_entries(spoilt, {chat: parts(table).routes[chat]}).version == table.version


def test_of_a_table_an_edit_examines_what_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of = snapshot(tmp_path, *(model(name) for name in ("chat", "code", "embed")))
    examiner, seen = Examiner(), list[bytes]()
    monkeypatch.setattr(problems, "routes_examined", lambda routes: seen.append(routes) or routes_examined(routes))
    assert not examiner.problems(of, None)
    assert len(seen) == 4  # a request that names none, too
    seen.clear()
    assert not examiner.problems(routed(of, "code", lambda routes: setattr(routes.routes[0], "name", "other")), None)
    assert len(seen) == 1


def test_a_spoilt_entry_is_found_beside_those_that_were_examined_before(tmp_path: Path) -> None:
    of = snapshot(tmp_path, *(model(name) for name in ("chat", "code", "embed")))
    examiner = Examiner()
    assert not examiner.problems(of, None)
    spoilt = routed(of, "code", lambda routes: routes.routes[0].ClearField("match"))
    [(place, _), *_] = examiner.problems(spoilt, None)
    assert place == (ResourceType.ROUTE, "default", Entry(0, "code"))
