"""Pushes to a real repository, good ones and bad ones, and Envoys that never notice the bad ones."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Self

import pytest

from demo.processes import ROOT
from tests.envoy.envoy_process import wait_until
from tests.envoy.served import Served
from tests.envoy.test_last_good import Server, in_sync, joined, split
from tests.envoy.upstream import upstreams
from tests.git_repository import Key, Origin, ssh_key
from xds.git.bell import AT_ONCE

if shutil.which("ssh-keygen") is None:
    pytest.skip("commits are signed with ssh-keygen: Debian's package openssh-client", allow_module_level=True)

PUSHES = 100
SECRET, TOKEN = "for-webhooks-only", "for-tests-only"
Files = Mapping[str, str | None]


@dataclass
class Following(Server):
    """`turnout serve --git`, which looks by itself so seldom that a webhook is what it hears of pushes by."""

    origin: Origin | None = None
    files: Path = Path()

    @property
    def source(self) -> tuple[str, ...]:
        assert self.origin is not None
        return (
            *("--git", f"{self.origin.url}#{self.origin.branch}", "--git-poll", "10m"),
            *("--git-webhook-secret-file", secret(self.files / "secret", SECRET)),
            *("--admin-token-file", secret(self.files / "token", TOKEN)),
            *("--allowed-signers", str(self.files / "allowed")),
        )

    def webhook(self) -> None:
        body = b'{"ref": "refs/heads/main"}'
        signed = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        headers = {"X-Hub-Signature-256": f"sha256={signed}"}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port + 1}/webhook", body, headers)
        with urllib.request.urlopen(request, timeout=5) as answer:
            assert answer.status == 202

    def rollback(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = (sys.executable, "-m", "xds.cli", "rollback", *words, "--admin", f"127.0.0.1:{self.port + 1}")
        environment = os.environ | {"TURNOUT_ADMIN_TOKEN": TOKEN}
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
        )


def secret(file: Path, text: str) -> str:
    file.touch(mode=0o600)
    file.write_text(text)
    return str(file)


class Load:
    """Requests one after the other, each with who answered it."""

    def __init__(self, port: int) -> None:
        self.answers: list[tuple[float, str]] = []
        """When, by the monotonic clock, and who; of one that failed, why."""
        self._port, self._stop = port, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def failed(self) -> list[str]:
        return [who for _, who in self.answers if who not in ("one", "two")]

    def first(self, who: str, after: float) -> float:
        """Seconds from `after` to the first answer of `who`."""

        def there() -> list[float]:
            return [at for at, found in self.answers[-500:] if found == who and at > after]

        wait_until(lambda: bool(there()), what=f"{who} answers", detail=lambda: str(self.answers[-5:]))
        return there()[0] - after

    def _run(self) -> None:
        while not self._stop.wait(0.002):
            self.answers.append((time.monotonic(), self._asked()))

    def _asked(self) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        try:
            body = b'{"model": "chat", "messages": []}'
            connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            return str(json.loads(text)["upstream"]) if answer.status == 200 else str(answer.status)
        except OSError as problem:
            return repr(problem)
        finally:
            connection.close()


@dataclass
class World:
    server: Following
    origin: Origin
    signer: Key
    stranger: Key
    ports: tuple[int, int]
    good: str = ""
    """The last commit that is to be served."""
    to: str = "one"
    """Who gets all requests by it."""
    since: float = 0.0
    """When the first request came to them, by the monotonic clock."""
    refused: list[str] = field(default_factory=list)

    def chat(self, to: str) -> Files:
        """All requests to that upstream."""
        text = split(*self.ports)
        weights = (100, 0) if to == "one" else (0, 100)
        for version, weight in zip("12", weights, strict=True):
            text = text.replace(f'name: "{version}", weight: 50', f'name: "{version}", weight: {weight}')
        return {"policies/chat.yaml": text}

    def push(self, *words: str) -> None:
        self.origin.push(*words)
        self.server.webhook()

    def serve_next(self, load: Load | None = None) -> float:
        """Pushes a good commit that shifts all requests, and gives the seconds until the first is shifted."""
        if load is not None and self.since:
            strayed = [who for at, who in load.answers if at > self.since and who != self.to]
            assert not strayed, f"{strayed[:5]} after a commit that is refused"
        self.to = "two" if self.to == "one" else "one"
        self.good = self.origin.commit(self.chat(self.to), self.signer)
        began = time.monotonic()
        self.push()
        seconds = 0.0 if load is None else load.first(self.to, began)
        self.since = began + seconds
        self.server.until(
            lambda s: s["policy"]["commit"] == self.good[:12] and s["git"]["served"] == self.good, "served"
        )
        return seconds

    def refuse(self, files: Files, key: Key | None, reason: str, *words: str) -> None:
        """Pushes what must not be served, and undoes it."""
        commit = self.origin.commit(files, key)
        self.push(*words)
        found = self.server.until(
            lambda s: (s["git"]["refused"], s["policy"]["state"]) == (commit, "broken"), "refused"
        )
        assert reason in found["git"]["reason"]
        assert found["policy"]["commit"] == self.good[:12]
        self.server.until_it_says(f"commit refused commit={commit[:12]} serving={self.good[:12]} reason=")
        self.refused.append(commit)


def is_good(world: World, load: Load) -> float:
    return world.serve_next(load)


def is_broken(world: World, _: Load) -> None:
    other = "two" if world.to == "one" else "one"
    files = {**world.chat(other), "policies/late.yaml": "kind: ["}
    world.refuse(files, world.signer, "P001 not YAML")
    world.origin.write({"policies/late.yaml": None})


def is_unsigned(world: World, _: Load) -> None:
    world.refuse(world.chat("two" if world.to == "one" else "one"), None, "it is not signed")


def is_a_strangers(world: World, _: Load) -> None:
    world.refuse(world.chat("two" if world.to == "one" else "one"), world.stranger, "none of an allowed signer")


def is_forced(world: World, _: Load) -> None:
    """Signed and valid, and without what is served in its history. It is taken back by the next push."""
    head = world.origin.head
    world.origin.git("reset", "--quiet", "--hard", f"{world.good}~1")
    world.refuse(world.chat("two" if world.to == "one" else "one"), world.signer, "has been rewritten", "--force")
    world.origin.git("reset", "--quiet", "--hard", head)
    world.origin.push("--force")


ROUND: tuple[Callable[[World, Load], float | None], ...] = (
    *(is_good, is_broken, is_good, is_good, is_unsigned, is_good, is_forced, is_good, is_a_strangers, is_good),
)


@contextmanager
def world_of(tmp_path: Path) -> Iterator[World]:
    origin = Origin(tmp_path / "git")
    signer, stranger = ssh_key(tmp_path, "ada"), ssh_key(tmp_path, "eve")
    (tmp_path / "allowed").write_text(signer.public)
    with upstreams("one", "two") as instances:
        server = Following(Path(), tmp_path / "state", origin=origin, files=tmp_path)
        world = World(server, origin, signer, stranger, (instances["one"].port, instances["two"].port))
        world.good = origin.pushed(world.chat("one"), signer)
        server.start()
        try:
            server.until(lambda s: s["policy"]["commit"] == world.good[:12], "served")
            yield world
        finally:
            server.kill()


@contextmanager
def ready(world: World, work: Path, node: str) -> Iterator[Served]:
    work.mkdir()
    with joined(world.server, work, node) as envoy:
        wait_until(lambda: node in synced(world.server.status()), what=f"{node} in sync")
        for version, port in zip("12", world.ports, strict=True):
            envoy.wait_for_health(f"chat_{version}", [port])
        yield envoy


def synced(status: dict[str, Any]) -> set[str]:
    return {envoy["node"] for envoy in status["envoys"] if envoy["synced"] and "route" in envoy["types"]}


def told(seconds: list[float]) -> str:
    return f"p50 {median(seconds) * 1000:.0f} ms, longest {seconds[-1] * 1000:.0f} ms ({len(seconds)} good)"


def test_a_hundred_pushes_under_load_lose_no_request_and_serve_every_good_commit_and_no_bad_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with world_of(tmp_path) as world, ready(world, tmp_path / "edge-1", "edge-1") as envoy, Load(envoy.port) as load:
        load.first("one", 0.0)
        seconds = [push(world, load) for push in ROUND * (PUSHES // len(ROUND))]
        world.server.until(in_sync, "in sync")
        shown = envoy.envoy.get("/stats?filter=control_plane.identifier")
    shifts = [found for found in seconds if found is not None]
    # From then on the server hears one webhook a second, and a machine that is quick enough waits for that.
    at_once, rationed = (sorted(filter(None, part)) for part in (seconds[:AT_ONCE], seconds[AT_ONCE:]))
    with capsys.disabled():
        print(
            f"\n{len(seconds)} pushes, {len(shifts)} good, {len(load.answers):,} requests; from git push to the first "
            f"shifted request: {told(at_once)} of {AT_ONCE} pushes whose webhooks are heard at once, {told(rationed)} "
            "of the rest"
        )
    assert not load.failed, f"{len(load.failed)} of {len(load.answers)}: {load.failed[:5]}"
    assert (len(shifts), len(set(world.refused))) == (60, 40)
    assert world.good[:12] in shown


def test_a_rollback_under_load_ends_with_the_last_envoy_or_names_whom_it_cannot_reach(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with world_of(tmp_path) as world, ExitStack() as envoys:
        first = world.good
        one, two = (envoys.enter_context(ready(world, tmp_path / node, node)) for node in ("edge-1", "edge-2"))
        load = envoys.enter_context(Load(one.port))
        world.serve_next(load)
        began = time.monotonic()
        done = world.server.rollback(first[:12])
        seconds = time.monotonic() - began
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"pinned to {first[:12]}, until turnout rollback --release\n")
        assert done.stdout.endswith("confirmed by 2 Envoys\n")
        load.first("one", time.monotonic())
        back = next(at for at, who in load.answers if at > began and who == "one") - began
        with capsys.disabled():
            print(
                f"\nturnout rollback: first request back after {back * 1000:.0f} ms, over after {seconds * 1000:.0f} ms"
            )
        os.kill(two.envoy.pid, signal.SIGSTOP)
        try:
            some = world.server.rollback("--release", "--timeout", "2s")
        finally:
            os.kill(two.envoy.pid, signal.SIGCONT)
        assert some.returncode == 1
        assert some.stdout.endswith("confirmed by 1 of 2 Envoys\n")
        assert some.stderr.startswith("turnout: not confirmed within 2 s by 1 Envoy:\n  edge-2: ")
        load.first("two", time.monotonic())
        wait_until(lambda: synced(world.server.status()) == {"edge-1", "edge-2"}, what="both in sync again")
        assert world.server.rollback(first).returncode == 0
        two.envoy.process.kill()
        world.server.until(lambda s: [found["node"] for found in s["departed"]] == ["edge-2"], "one has left")
        rest = world.server.rollback("--release")
        assert (rest.returncode, rest.stdout.splitlines()[-1]) == (0, "confirmed by 1 Envoy")
        assert rest.stderr.startswith("warning: not asked, as it has left before: 1 Envoy; ")
        assert "\n  edge-2: without a stream since 20" in rest.stderr
        assert not load.failed, f"{len(load.failed)} of {len(load.answers)}: {load.failed[:5]}"
