"""`turnout serve` as a process."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.features.ads import stream
from tests.features.served import DEADLINE, Folder, asynchronous, model, served
from xds.client import NotAnsweredError, ask
from xds.stream.state import Variant

ROOT = Path(__file__).parents[2]


@contextmanager
def turnout_serve(
    policies: Folder | Path,
    *options: str,
    listen: str = "127.0.0.1:0",
    environment: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[str]]:
    folder = policies.path if isinstance(policies, Folder) else policies
    where = (str(folder), "--listen", listen, "--admin", "127.0.0.1:0")
    command = [sys.executable, "-m", "xds.cli", "serve", *where, *options]
    variables = os.environ | (environment or {})
    with subprocess.Popen(command, cwd=ROOT, env=variables, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def until_it_says(process: subprocess.Popen[str], pattern: str) -> re.Match[str]:
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if found := re.search(pattern, line):
            return found
    raise AssertionError("".join(said))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(folder: Folder, number: signal.Signals) -> None:
    with turnout_serve(folder) as process:
        until_it_says(process, r"policy loaded digest=\w+ models=2")
        process.send_signal(number)
        until_it_says(process, "INFO stopped")
        assert process.wait(DEADLINE) == 0


def test_it_says_which_ports_it_chose(folder: Folder) -> None:
    with turnout_serve(folder) as process:
        found = until_it_says(process, r"listening xds=127\.0\.0\.1:(\d+) admin=http://127\.0\.0\.1:(\d+)")
        for port in found.groups():
            socket.create_connection(("127.0.0.1", int(port)), DEADLINE).close()


def test_a_port_that_is_taken_is_an_error_with_a_reason(folder: Folder) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with turnout_serve(folder, listen=address) as process:
            _, said = process.communicate(timeout=DEADLINE)
            assert process.returncode == 1
            assert f"turnout serve: --listen {address}: Address already in use" in said
            assert "Traceback" not in said


def test_a_broken_policy_is_shown_with_its_line_and_the_server_runs_on(folder: Folder) -> None:
    folder.write("models", "apiVersion: turnout.dev/v1\nkind: InferenceModel\nmetadata: {name: chat}\nspec: {}\n")
    with turnout_serve(folder) as process:
        until_it_says(process, r"models\.yaml:4:\d+: P\d+")
        until_it_says(process, r"ERROR policy broken errors=\d+ serving=nothing")
        folder.models("chat")
        until_it_says(process, r"policy loaded digest=\w+ models=1")


def test_a_token_that_is_none_is_an_error_with_a_reason(folder: Folder, tmp_path: Path) -> None:
    file = tmp_path / "token"
    for text in ("", " \n", "two words", "héllo"):
        file.write_text(text)
        with turnout_serve(folder, "--admin-token-file", str(file)) as process:
            _, said = process.communicate(timeout=DEADLINE)
            assert process.returncode == 1
            assert f"turnout serve: {file} holds no token: one word of ASCII" in said
            assert text.strip() == "" or text not in said


def test_a_token_that_everybody_can_read_is_warned_of(folder: Folder, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("for-tests-only")
    file.chmod(0o644)
    with turnout_serve(folder, "--admin-token-file", str(file)) as process:
        until_it_says(process, "is open to everybody on this machine: chmod 600")
        until_it_says(process, "policy loaded")


def test_a_state_folder_that_cannot_be_written_to_is_told_at_the_start(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("no folder")
    command = [sys.executable, "-m", "xds.cli", "serve", str(folder.path), "--state", str(tmp_path / "state")]
    run = subprocess.run(
        [*command, "--listen", ":0", "--admin", ":0"], cwd=ROOT, stderr=subprocess.PIPE, text=True, check=False
    )
    assert run.returncode == 1
    assert f"turnout serve: --state {tmp_path / 'state'}: " in run.stderr
    assert "Traceback" not in run.stderr


@asynchronous
async def test_a_port_that_speaks_no_http_is_no_admin_port(folder: Folder) -> None:
    async with served(folder.path) as server:
        with pytest.raises(NotAnsweredError, match="no control server's admin port"):
            await asyncio.to_thread(ask, f"http://{server.xds}", "/status")


def test_the_log_as_json_is_an_object_a_line_with_fields(folder: Folder) -> None:
    with turnout_serve(folder, "--log-format", "json", "--drain", "0s") as process:
        until_it_says(process, '"event": "policy loaded"')
        folder.write("models", "apiVersion: turnout.dev/v1\nkind: InferenceModel\nmetadata: {name: chat}\nspec: {}\n")
        until_it_says(process, '"event": "policy broken"')
        folder.write("models", "kind: [")
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=DEADLINE)[1]
        assert process.returncode == 0
    events = [json.loads(line) for line in said.splitlines()]
    assert events[-1]["event"] == "stopped"


def committed(folder: Folder) -> str:
    """The commit of what is in `folder` now, in a repository of its own."""
    git = ("git", "-C", str(folder.path), "-c", "user.name=test", "-c", "user.email=test@example.com")
    for words in (("init", "-q"), ("add", "."), ("commit", "-qm", "first")):
        subprocess.run((*git, *words), check=True)
    said = subprocess.run((*git, "rev-parse", "--short=12", "HEAD"), check=True, capture_output=True, text=True)
    return said.stdout.strip()


def test_a_broken_policy_and_a_refusal_are_events_with_fields(folder: Folder) -> None:
    commit = committed(folder)
    with turnout_serve(folder, "--log-format", "json") as process:
        xds = json.loads(until_it_says(process, '.*"event": "listening".*')[0])["xds"]
        until_it_says(process, '"event": "policy loaded"')
        asyncio.run(_refusing(xds, folder))
        refused = json.loads(until_it_says(process, '.*"event": "response refused".*')[0])
        folder.write("models", "apiVersion: turnout.dev/v1\nkind: InferenceModel\nmetadata: {name: chat}\nspec: {}\n")
        problem = json.loads(until_it_says(process, '.*"event": "policy problem".*')[0])
    assert refused.pop("time")
    assert refused.pop("commit") == f"{commit}-dirty"
    assert refused.pop("version")
    assert refused == {
        "level": "warning",
        "event": "response refused",
        "code": "X101",
        "node": "gw-1",
        "group": "default",
        "type": "endpoint",
        "resources": ["chat_1"],
        "detail": "no",
        "file": "policies/models.yaml",
        "line": 3,
        "column": 18,
    }
    assert (problem["level"], problem["file"], problem["line"]) == ("error", "policies/models.yaml", 4)
    assert problem["code"].startswith("P1")


async def _refusing(xds: str, folder: Folder) -> None:
    async with stream(xds, Variant.DELTA) as envoy:
        await envoy.synced()
        folder.write("models", model("chat", 9002) + "---\n" + model("embed"))
        await envoy.refuse(await envoy.read(), "no")
        await envoy.quiet()
