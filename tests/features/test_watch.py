"""`turnout compile --watch`, most of it as a process: the rendered folder follows the policies."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from compiler.pipeline import compile_policies, manifests
from compiler.render import drift
from tests.features.served import DEADLINE, Folder, asynchronous, model
from tests.features.served import until as eventually
from xds import watch as watched
from xds.observe import policies as observed

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path / "policies")
    made.write("chat", model("chat"))
    made.write("embed", model("embed"))
    return made


@pytest.fixture
def watching(folder: Folder, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [
        sys.executable,
        "-m",
        "xds.cli",
        "compile",
        str(folder.path),
        "-o",
        str(tmp_path / "rendered"),
        "--watch",
    ]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def until(process: subprocess.Popen[str], pattern: str) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if re.search(pattern, line):
            return line
    raise AssertionError(process.stderr.read() if process.stderr else "")


def stale(folder: Folder, tmp_path: Path) -> str:
    fleet = compile_policies(folder.path).fleet
    assert fleet is not None
    return drift(manifests(fleet), tmp_path / "rendered")


def test_every_edit_is_written_and_nothing_else(
    watching: subprocess.Popen[str], folder: Folder, tmp_path: Path
) -> None:
    until(watching, r"files written in \d+ ms")
    assert stale(folder, tmp_path) == ""
    chat = tmp_path / "rendered" / "models" / "chat.yaml"
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "rendered").rglob("*.yaml")}
    folder.write("chat", model("chat").replace("modelName: ", "modelName: other/"))
    until(watching, r"1 of \d+ files written \(models/chat.yaml\)")
    assert stale(folder, tmp_path) == ""
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "rendered").rglob("*.yaml")}
    assert {path for path in after if after[path] != before[path]} == {chat}
    (folder.path / "embed.yaml").unlink()
    until(watching, r"\d+ of \d+ files written")
    assert stale(folder, tmp_path) == ""
    assert not (tmp_path / "rendered" / "models" / "embed.yaml").exists()


def test_policies_with_errors_leave_what_is_rendered(
    watching: subprocess.Popen[str], folder: Folder, tmp_path: Path
) -> None:
    until(watching, r"files written in \d+ ms")
    good = folder.path / "chat.yaml"
    text = good.read_text()
    folder.write("chat", text.replace("modelName", "modelNme"))
    until(watching, r"rendered stays as it was: the policies have errors")
    assert (tmp_path / "rendered" / "models" / "chat.yaml").exists()
    folder.write("chat", text)
    until(watching, r"files, none to write")
    watching.send_signal(signal.SIGINT)
    assert watching.wait(DEADLINE) == 0
    assert watching.stderr is not None
    said = watching.stderr.read()
    assert "chat.yaml:" in said
    assert "P101 unknown field 'spec.modelNme'" in said
    assert "Traceback" not in said


@asynchronous
async def test_each_edit_is_written_though_a_server_would_wait_for_the_next(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hour = 3600.0
    monkeypatch.setattr(observed, "PAUSE", hour)
    monkeypatch.setattr(observed, "BURST", hour)
    monkeypatch.setattr(watched, "policies", partial(observed.policies, burst=hour))
    chat = tmp_path / "rendered" / "models" / "chat.yaml"

    async def says(text: str) -> bool | None:
        return (chat.exists() and text in chat.read_text()) or None

    watching = asyncio.create_task(watched.watch(folder.path, tmp_path / "rendered", colour=False))
    await eventually(partial(says, "example/chat"))
    for edit in ("one", "two"):
        folder.write("chat", model("chat").replace("modelName: ", f"modelName: {edit}/"))
        await eventually(partial(says, f"{edit}/example/chat"))
    watching.cancel()
