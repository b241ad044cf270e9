"""`turnout weights` against `turnout serve`, each a process, and what `turnout explain --live` says of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.features.served import DEADLINE, Folder
from tests.features.test_live_weights import split
from tests.features.test_serve import turnout_serve, until_it_says

ROOT = Path(__file__).parents[2]
TOKEN = "for-tests-only"
SET = ("split", "1=75", "2=25", "--for", "15m", "--why", "INC-7: 2 is slow")


class Server:
    def __init__(self, url: str, process: subprocess.Popen[str] | None = None) -> None:
        self.url, self._process = url, process

    def crash(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(DEADLINE)

    def turnout(self, *words: str, token: str = TOKEN) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "xds.cli", *words]
        environment = os.environ | {"TURNOUT_ADMIN_TOKEN": token}
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=DEADLINE * 3, check=False
        )

    def weights(self, *words: str, token: str = TOKEN) -> subprocess.CompletedProcess[str]:
        return self.turnout("weights", *words, "--admin", self.url, token=token)

    def explained(self, *words: str) -> str:
        found = self.turnout("explain", "--live", self.url, "--header", "model-name: split", *words)
        assert found.stderr == ""
        return found.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path / "policies")
    made.write("models", split(v1=90, v2=10))
    return made


@pytest.fixture
def server(folder: Folder, tmp_path: Path) -> Iterator[Server]:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    file.chmod(0o600)
    with turnout_serve(folder, "--admin-token-file", str(file), "--state", str(tmp_path / "state")) as process:
        admin = until_it_says(process, r"admin=(http://127\.0\.0\.1:\d+)")[1]
        until_it_says(process, "policy loaded")
        yield Server(admin, process)


def test_weights_are_set_listed_explained_and_taken_back(server: Server) -> None:
    assert server.weights().stdout == "nothing is live: policy holds\n"
    done = server.weights(*SET)
    assert (done.returncode, done.stderr) == (0, "")
    line = done.stdout
    assert line.startswith("split: live 1=75 2=25 until 20")
    assert line.endswith(" UTC, policy 1=90 2=10; why: INC-7: 2 is slow\n")
    assert server.weights().stdout == line
    assert line in server.explained()
    assert line in server.turnout("status", "--admin", server.url).stdout
    found = json.loads(server.explained("--format", "json"))
    assert [override["model"] for override in found["live"]["overrides"]] == ["split"]
    back = server.weights("split", "--clear")
    assert (back.returncode, back.stdout) == (0, "split: policy 1=90 2=10 again\n")
    assert json.loads(server.weights("--format", "json").stdout) == {"overrides": []}
    assert "live 1=" not in server.explained()


def test_what_the_server_refuses_exits_1_with_all_reasons_and_hints(server: Server) -> None:
    refused = server.weights("splt", "1=75", "2=30", "--for", "25h", "--why", "x")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == (
        "turnout: no model 'splt'\n"
        "  = hint: did you mean 'split'?\n"
        "turnout: weights of model 'splt' add up to 75 + 30 = 105, not 100\n"
        "  = hint: set version '2' to 25\n"
        "turnout: 'for': 25h is out of range\n"
        "  = hint: more than 0s, at most 24h; then policy\n"
    )
    told = server.weights("split", "--clear", "--format", "json")
    assert (told.returncode, json.loads(told.stdout)["error"]) == (1, "no live weights for 'split'")


def test_a_token_that_is_wrong_is_refused_and_never_repeated(server: Server, tmp_path: Path) -> None:
    for token, said in (("", "this needs the server's token"), ("wrong-one", "that is not this server's token")):
        refused = server.weights(*SET, token=token)
        assert (refused.returncode, said in refused.stderr) == (1, True)
        assert "wrong-one" not in refused.stderr
    odd = server.weights(*SET, token="two\nlines")
    assert (odd.returncode, odd.stderr) == (1, "turnout: TURNOUT_ADMIN_TOKEN holds no token: one word of ASCII\n")
    assert server.weights(*SET, "--token-file", str(tmp_path / "token"), token="wrong-one").returncode == 0


def test_a_server_that_was_given_no_token_says_how_to_give_it_one(folder: Folder) -> None:
    with turnout_serve(folder) as process:
        admin = until_it_says(process, r"admin=(http://127\.0\.0\.1:\d+)")[1]
        refused = Server(admin).weights(*SET)
    assert refused.returncode == 1
    assert "start turnout serve with --admin-token-file" in refused.stderr


def test_what_is_live_outlives_a_crash(folder: Folder, server: Server, tmp_path: Path) -> None:
    assert server.weights(*SET).returncode == 0
    server.crash()
    with turnout_serve(folder, "--state", str(tmp_path / "state")) as process:
        admin = until_it_says(process, r"admin=(http://127\.0\.0\.1:\d+)")[1]
        until_it_says(process, "policy loaded")
        assert Server(admin).weights().stdout.startswith("split: live 1=75 2=25")


def test_two_servers_do_not_share_a_state_folder(folder: Folder, server: Server, tmp_path: Path) -> None:
    with turnout_serve(folder, "--state", str(tmp_path / "state")) as process:
        _, said = process.communicate(timeout=DEADLINE)
        assert process.returncode == 1
        assert f"turnout serve: --state {tmp_path / 'state'}: another server has it" in said
    assert server.weights().returncode == 0
