"""`turnout explain --live`: where a request goes as it is served now, and who is healthy."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.envoy.upstream import Upstream, upstreams
from tests.features.served import DEADLINE, Folder
from tests.features.test_serve import turnout_serve, until_it_says

ROOT = Path(__file__).parents[2]
POLICIES = """
apiVersion: turnout.dev/v1
kind: InferenceModel
metadata: {{name: large}}
spec:
  modelName: org/large
  endpoints:
    - {{address: 127.0.0.1, port: {one}, zone: az-1}}
    - {{address: 127.0.0.1, port: {two}, zone: az-2, tier: hot}}
---
apiVersion: turnout.dev/v1
kind: InferenceModel
metadata: {{name: small}}
spec:
  modelName: org/small
  endpoints: [{{address: 127.0.0.1, port: {three}}}]
---
apiVersion: turnout.dev/v1
kind: InferenceModel
metadata: {{name: unborn}}
spec: {{modelName: org/unborn}}
---
apiVersion: turnout.dev/v1
kind: ModelOrchestrator
metadata: {{name: auto}}
spec:
  models: [{{name: large}}, {{name: small}}]
  routing: {{defaultModel: large, fallback: {{chain: [{{model: small}}]}}}}
"""


class Running:
    def __init__(self, url: str, folder: Folder, servers: dict[str, Upstream]) -> None:
        self.url, self.folder, self.servers = url, folder, servers

    def explain(self, *options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "xds.cli", "explain", "--live", self.url, *options]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE * 6, check=False)

    def document(self, *options: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.explain(*options, "--format", "json").stdout)
        return found


@pytest.fixture
def running(folder: Folder) -> Iterator[Running]:
    with upstreams("one", "two", "three") as servers:
        ports = {name: server.port for name, server in servers.items()}
        folder.write("models", POLICIES.format(**ports))
        with turnout_serve(folder) as process:
            admin = until_it_says(process, r"admin=(http://127\.0\.0\.1:\d+)")[1]
            until_it_says(process, "policy loaded")
            yield Running(admin, folder, servers)


def test_it_tells_of_each_tier_who_is_healthy(running: Running) -> None:
    running.servers["two"].health = 503
    found = running.document()
    assert (found["stage"], found["live"]["policy"]) == ("default", "ok")
    (target,) = found["targets"]
    assert [(t["tier"], t["instances"], t["healthy"], t["zones"]) for t in target["tiers"]] == [
        ("active", 1, 1, ["az-1"]),
        ("hot", 1, 0, ["az-2"]),
    ]
    assert "active 1 of 1 healthy in az-1, then hot 0 of 1 healthy in az-2" in running.explain().stdout


def test_who_has_nothing_healthy_is_stood_in_for_and_in_the_end_there_is_an_error(running: Running) -> None:
    running.servers["one"].health = running.servers["two"].health = 503
    found = running.document()
    assert (found["stage"], [target["model"] for target in found["targets"]]) == ("fallback", ["small"])
    assert found["targets"][0]["insteadOf"] == [{"model": "large", "version": "1"}]
    running.servers["three"].health = 503
    last = running.explain()
    assert last.returncode == 1
    assert "nobody: 503 no_healthy_instance" in last.stdout
    assert "0 of 3 instances are healthy" in last.stdout
    assert running.document("--header", "model-name: unborn")["error"]["code"] == "model_not_ready"


def test_a_share_that_nobody_answers_is_told(running: Running) -> None:
    one, three = (running.servers[name].port for name in ("one", "three"))
    split = "\n".join(
        (
            "apiVersion: turnout.dev/v1",
            "kind: InferenceModel",
            "metadata: {name: split}",
            "spec:",
            "  modelName: org/split",
            "  versions:",
            f"    - {{name: '1', weight: 70, endpoints: [{{address: 127.0.0.1, port: {one}}}]}}",
            f"    - {{name: '2', weight: 30, endpoints: [{{address: 127.0.0.1, port: {three}}}]}}\n",
        )
    )
    running.folder.write("models", split)
    running.servers["one"].health = 503
    found: dict[str, Any] = {}
    for _ in range(100):
        found = running.document("--header", "model-name: split")
        if found["stage"] == "explicit":
            break
    assert [(target["version"], target["share"]) for target in found["targets"]] == [("2", 0.3)]
    assert found["unanswered"] == 0.7
    assert "70.00 %  nobody" in running.explain("--header", "model-name: split").stdout


def test_a_broken_edit_is_told_and_what_is_served_is_explained(running: Running) -> None:
    running.folder.write("broken", "kind: Nonsense\n")
    said = ""
    for _ in range(100):
        said = running.explain("--header", "model-name: small").stdout
        if "the last edit is broken" in said:
            break
    assert "the last edit is broken" in said
    assert "small 1" in said


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (("--gateway", "nowhere"), 2, "no gateway 'nowhere'; there is default"),
        (("--curl", "curl http://x/v1/completions -d '{'"), 1, "400 before any route is asked"),
    ],
)
def test_what_cannot_be_explained_is_told_as_it_is_without_a_server(
    running: Running, options: tuple[str, ...], status: int, said: str
) -> None:
    found = running.explain(*options)
    assert (found.returncode, said in found.stdout + found.stderr) == (status, True), found


def test_an_address_without_a_control_server_is_an_error_with_a_reason(running: Running) -> None:
    elsewhere = Running(f"http://127.0.0.1:{running.servers['one'].port}", running.folder, running.servers)
    found = elsewhere.explain()
    assert (found.returncode, "no control server's admin port" in found.stderr) == (1, True)
    running.servers["one"].status = 404
    assert "no control server's admin port" in elsewhere.explain().stderr
    nobody = Running("http://127.0.0.1:1", running.folder, running.servers).explain()
    assert (nobody.returncode, "Connection refused" in nobody.stderr, "Traceback" in nobody.stderr) == (1, True, False)


def test_an_instance_that_points_elsewhere_is_not_healthy(running: Running) -> None:
    """Envoy does not follow, and nobody is to send the server where it was not told to go."""
    running.servers["one"].health = 302
    running.servers["one"].health_headers = {"location": f"http://127.0.0.1:{running.servers['two'].port}/health"}
    (target,) = running.document()["targets"]
    assert [tier["healthy"] for tier in target["tiers"]] == [0, 1]


@pytest.mark.parametrize("text", [b"[" * 200_000, b"{", b"[]", b"\xff", b'{"method": 1, "path": "/", "headers": []}'])
def test_what_is_no_request_is_refused(running: Running, text: bytes) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(urllib.request.Request(f"{running.url}/explain", text), timeout=DEADLINE)
    assert refused.value.code == 400
    assert "no request" in refused.value.read().decode()
