"""The last good snapshot on the disk: what was kept, or an older one that is whole, or nothing."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.diagnostics import Position
from xds.snapshot import Resource, ResourceSet, ResourceType, Snapshot, resource
from xds.store.last_good import LastGood
from xds.store.served import KEPT, MOST_PACKS, ServedFolder

ROOT = Path(__file__).parents[3]
SINCE = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def resources(**contents: str) -> ResourceSet:
    made = (
        resource(name, text.encode(), Position("policies/a.yaml", n, 1))
        for n, (name, text) in enumerate(contents.items())
    )
    return ResourceSet(made)


def good(digest: str, **clusters: str) -> LastGood:
    """With routes that stay, and clusters as they are given."""
    sets = {type_: ResourceSet() for type_ in ResourceType} | {
        ResourceType.CLUSTER: resources(**clusters),
        ResourceType.ROUTE: resources(public="routes \n of 日本", other="\0\xff"),
    }
    groups = {"public": Snapshot(sets), "sidecar": Snapshot(sets | {ResourceType.ROUTE: resources(sidecar="1")})}
    files = (("policies/a.yaml", "kind: 日本\n"), ("policies/b.yaml", digest))
    return LastGood(digest, "", SINCE, files, groups, {"public": ("public-80",)}, {"sidecar.bank": "sidecar"})


def same(one: LastGood | None, other: LastGood) -> bool:
    """To the last byte, and the lines of policy."""
    return one is not None and _plain(one) == _plain(other)


def _plain(found: LastGood) -> object:
    groups = {
        name: {type_: list(map(_resource, snapshot[type_].values())) for type_ in ResourceType}
        for name, snapshot in found.groups.items()
    }
    return groups, replace(found, groups={})


def _resource(found: Resource) -> tuple[object, ...]:
    return found.name, found.version, found.body, found.origin


def kept(folder: Path, *goods: LastGood) -> ServedFolder:
    store = ServedFolder(folder)
    for each in goods:
        store.save(each)
    return store


def test_what_was_kept_last_is_there_for_another_process(tmp_path: Path) -> None:
    folder = tmp_path / "state" / "served"
    assert ServedFolder(folder).load() is None
    kept(folder, good("1", a="x"), good("2", a="y", b="z"))
    assert same(ServedFolder(folder).load(), good("2", a="y", b="z"))


def test_nobody_else_can_read_it(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        kept(tmp_path / "served", good("1"))
    finally:
        os.umask(before)
    assert (tmp_path / "served").stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in (tmp_path / "served").iterdir()} == {0o600}


def test_a_change_writes_what_has_changed(tmp_path: Path) -> None:
    many = {f"m{n}": f"{n}" * 1000 for n in range(100)}
    store = kept(tmp_path, good("1", **many))
    before = set(tmp_path.glob("*.pack"))
    store.save(good("2", **many | {"m7": "changed"}))
    (added,) = set(tmp_path.glob("*.pack")) - before
    assert b"changed" in added.read_bytes()
    assert b"8" * 1000 not in added.read_bytes()


def test_the_same_is_not_written_again_nor_by_the_server_after(tmp_path: Path) -> None:
    kept(tmp_path, good("1", a="x"))
    before = {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    store = ServedFolder(tmp_path)
    store.load()
    store.save(replace(good("1", a="x"), since=datetime.now(UTC)))
    assert {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()} == before


def test_another_line_of_policy_is_a_change(tmp_path: Path) -> None:
    first = good("1", a="x")
    moved = ResourceSet([replace(first.groups["public"][ResourceType.CLUSTER]["a"], origin=Position("b", 9, 9))])
    snapshot = first.groups["public"].having(ResourceType.CLUSTER, moved)
    second = replace(first, groups={**first.groups, "public": snapshot})
    kept(tmp_path, first, second)
    assert same(ServedFolder(tmp_path).load(), second)


def test_old_contents_are_collected_and_packs_do_not_grow_in_number(tmp_path: Path) -> None:
    store = ServedFolder(tmp_path)
    (tmp_path / "notes.txt").write_text("not ours")
    for n in range(3 * MOST_PACKS):
        store.save(good(str(n), a=str(n), **{f"b{n}": "y" * 1000}))
        assert len(list(tmp_path.glob("*.pack"))) <= 2 * MOST_PACKS
        assert same(ServedFolder(tmp_path).load(), good(str(n), a=str(n), **{f"b{n}": "y" * 1000}))
    assert len(list(tmp_path.glob("*.json"))) == KEPT
    assert sum(file.stat().st_size for file in tmp_path.glob("*.pack")) < 3 * MOST_PACKS * 1000
    assert (tmp_path / "notes.txt").exists()


def test_what_a_killed_server_has_half_written_is_collected(tmp_path: Path) -> None:
    store = kept(tmp_path, good("1"))
    (tmp_path / f".{'a' * 32}.pack.x1").write_bytes(b"half")
    (tmp_path / ".snapshot-00000002.json.x1").write_bytes(b"half")
    store.save(good("2"))
    assert not list(tmp_path.glob(".*"))


def _newest(folder: Path) -> Path:
    return max(folder.glob("*.json"))


def _pack_of_newest(folder: Path) -> Path:
    """The one that the manifest before it has not."""
    newest, before = (json.loads(f.read_text())["manifest"]["packs"] for f in sorted(folder.glob("*.json"))[::-1])
    (name,) = set(newest) - set(before)
    return folder / str(name)


@pytest.mark.parametrize("choose", [_newest, _pack_of_newest])
@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda content: content + b"x",
        lambda content: b'{"a": "file of somebody else"}',
        lambda content: b"[" * 100_000,
    ],
    ids=["empty", "half", "torn", "longer", "foreign", "nested"],
)
def test_damage_is_told_and_the_snapshot_before_is_given_back(
    choose: Callable[[Path], Path],
    damage: Callable[[bytes], bytes],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    first, second = good("1", a="x"), good("2", a="y")
    kept(tmp_path, first, second)
    file = choose(tmp_path)
    file.write_bytes(damage(file.read_bytes()))
    store = ServedFolder(tmp_path)
    found = store.load()
    assert str(file) in caplog.text
    only_longer = file.suffix == ".pack" and damage(b"") == b"x"
    assert same(found, second if only_longer else first)
    store.save(second)
    assert same(ServedFolder(tmp_path).load(), second)


def test_a_pack_that_is_gone_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    kept(tmp_path, good("1", a="x"), good("2", a="y"))
    file = _pack_of_newest(tmp_path)
    file.unlink()
    assert same(ServedFolder(tmp_path).load(), good("1", a="x"))
    assert str(file) in caplog.text


@settings(max_examples=60)
@given(st.data())
def test_a_flipped_bit_never_gives_back_anything_else(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("served")
    first, second = good("1", a="x", b="old"), good("2", a="y", c="new")
    kept(folder, first, second)
    file = data.draw(st.sampled_from(sorted(folder.iterdir())), "file")
    content = bytearray(file.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1), "byte")] ^= 1 << data.draw(st.integers(0, 7), "bit")
    file.write_bytes(content)
    found = ServedFolder(folder).load()
    assert found is None or same(found, first) or same(found, second)


def test_when_nothing_is_whole_there_is_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    kept(tmp_path, good("1", a="x"), good("2", a="y"))
    for file in tmp_path.iterdir():
        file.write_bytes(file.read_bytes()[:-3])
    assert ServedFolder(tmp_path).load() is None
    assert caplog.text.count("not whole, so it is not served") == KEPT


@pytest.mark.parametrize("at", [1, 2], ids=["the contents", "the manifest"])
def test_a_save_that_fails_leaves_what_was_kept_and_the_next_one_succeeds(
    at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a disk that is full."""
    first, second = good("1", a="x"), good("2", a="y")
    store, syncs, sync = kept(tmp_path, first), 0, os.fsync

    def full(handle: int) -> None:
        nonlocal syncs
        if os.path.isdir(f"/proc/self/fd/{handle}"):  # noqa: PTH112
            return
        syncs += 1
        if syncs == at:
            fail()
        sync(handle)

    def fail() -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            store.save(second)
    assert same(ServedFolder(tmp_path).load(), first)
    store.save(second)
    assert same(ServedFolder(tmp_path).load(), second)


def test_packs_that_somebody_has_taken_away_are_written_again(tmp_path: Path) -> None:
    store = kept(tmp_path, good("1", a="x"))
    for file in tmp_path.iterdir():
        file.unlink()
    store.save(good("1", a="x"))
    assert same(ServedFolder(tmp_path).load(), good("1", a="x"))


KEEP_ON = """
import itertools, sys
from tests.xds.store.test_served import changing, kept
store = kept({folder})
for n in itertools.count({first}):
    store.save(changing(n))
    print(n, flush=True)
"""


def changing(number: int) -> LastGood:
    return good(str(number), a=str(number) * 50_000, b="stays")


def test_a_server_that_is_killed_while_it_keeps_leaves_what_it_had_kept_last(tmp_path: Path) -> None:
    first = 0
    for kills in range(3):
        code = KEEP_ON.format(folder=f"__import__('pathlib').Path({str(tmp_path)!r})", first=first)
        with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for _ in range(3 + 7 * kills):
                last = int(process.stdout.readline())
            process.kill()
            last = max([last, *(int(line) for line in process.stdout if line.endswith("\n"))])
        found = ServedFolder(tmp_path).load()
        assert found is not None
        assert last <= int(found.digest) <= last + 1
        assert same(found, changing(int(found.digest)))
        first = int(found.digest) + 1
