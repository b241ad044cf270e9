"""Live state on the disk: whole or not at all, and for nobody else to read."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.xds.live.test_state import DRAINED, override
from xds.live.document import document
from xds.live.state import NOTHING_LIVE, LiveState
from xds.store import Forgetful
from xds.store.file import ASIDE, NAME, StateFile

STATE = LiveState({**DRAINED.overrides, "embed": replace(override(v1=100), agreed=True, why="日本")})


def test_what_was_saved_last_is_there_for_another_process(tmp_path: Path) -> None:
    store = StateFile(tmp_path / "state")
    assert store.load() == NOTHING_LIVE
    store.save(DRAINED)
    store.save(STATE)
    assert StateFile(tmp_path / "state").load() == STATE
    assert [file.name for file in (tmp_path / "state").iterdir()] == [NAME]


def test_nobody_else_can_read_it(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        StateFile(tmp_path / "state").save(STATE)
    finally:
        os.umask(before)
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "state" / NAME).stat().st_mode & 0o777 == 0o600


def broken(**changes: Any) -> str:
    found = document(DRAINED)
    found["overrides"]["chat"] |= changes
    return json.dumps(found)


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "[" * 100_000, '{"version": 2, "overrides": {}}', '{"version": 1}', "\udcff",
        broken(weights={"1": 0, "2": 0}), broken(weights={"1": 200, "2": -100}), broken(weights={"1": True, "2": 99}),
        broken(until="soon"), broken(until="2026-03-01T12:00:00"), broken(agreed="yes"), broken(more=1),
    ],
    ids=lambda text: ascii(text[:40]),
)  # fmt: skip
def test_a_file_that_is_not_live_state_is_kept_aside_and_told(
    text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = text.encode(errors="surrogateescape")
    (tmp_path / NAME).write_bytes(content)
    store = StateFile(tmp_path)
    assert store.load() == NOTHING_LIVE
    assert "live state cannot be read" in caplog.text
    assert (tmp_path / ASIDE).read_bytes() == content
    store.save(STATE)
    assert store.load() == STATE


def test_a_save_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a disk that is full."""
    store = StateFile(tmp_path)
    store.save(DRAINED)

    def full(_: int) -> NoReturn:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            store.save(STATE)
    assert store.load() == DRAINED
    assert [file.name for file in tmp_path.iterdir()] == [NAME]


def test_a_folder_is_one_servers_at_a_time(tmp_path: Path) -> None:
    first, second = StateFile(tmp_path), StateFile(tmp_path)
    first.prepare()
    with pytest.raises(OSError, match="another server has it"):
        second.prepare()
    del first
    StateFile(tmp_path).prepare()


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = StateFile(tmp_path / "file" / "state")
    with pytest.raises(OSError, match="Not a directory"):
        store.save(STATE)
    assert store.load() == NOTHING_LIVE


def test_without_a_folder_nothing_lasts() -> None:
    store = Forgetful()
    store.save(STATE)
    assert store.load() == NOTHING_LIVE
    assert not store.lasts
