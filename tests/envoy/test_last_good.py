"""A control server that is killed and comes back to broken policies, and Envoys that never notice."""

from __future__ import annotations

import errno
import http.client
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import pytest

from demo.processes import ROOT, NotReadyError
from demo.stack import turnout
from tests.envoy.envoy_process import envoy_process, free_port, wait_until
from tests.envoy.served import Served
from tests.envoy.upstream import upstreams
from tests.features.served import Folder, model

STARTED = 20.0
"""Seconds; far more than a server takes."""
BROKEN = "kind: [\n"


def at(port: int, name: str, tail: str = "") -> str:
    """A model with one instance on this machine."""
    spec = model(name, port, tail=tail)
    return re.sub(r"address: [0-9.]+", "address: 127.0.0.1", spec)


class Disk:
    """A folder on a disk of its own that can be full; where nothing may be mounted, files that cannot grow."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)]
        self._mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
        self.problem = os.strerror(errno.ENOSPC if self._mounted else errno.EFBIG)

    def fill(self, pid: int) -> None:
        if not self._mounted:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
            return
        with (self.folder / "filler").open("wb", buffering=0) as filler, suppress(OSError):
            while True:
                filler.write(b"x" * 1024)

    def free(self) -> None:
        (self.folder / "filler").unlink(missing_ok=True)

    def close(self) -> None:
        if self._mounted:
            subprocess.run(["umount", "-l", str(self.folder)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    made = Disk(tmp_path / "disk")
    yield made
    made.close()


@dataclass
class Server:
    """`turnout serve` on the same ports each time."""

    policies: Path
    state: Path
    port: int = field(default_factory=lambda: free_port(following=1))
    log: list[str] = field(default_factory=list)
    process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        where = ("--listen", f"127.0.0.1:{self.port}", "--admin", f"127.0.0.1:{self.port + 1}")
        command = (sys.executable, "-m", "xds.cli", "serve", *self.source, *where, "--state", str(self.state))
        self.log, self.process = [], subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        threading.Thread(target=self._read, args=[self.process, self.log], daemon=True).start()

    @property
    def source(self) -> tuple[str, ...]:
        """What it is told to serve."""
        return (str(self.policies),)

    def _read(self, process: subprocess.Popen[str], log: list[str]) -> None:
        assert process.stderr is not None
        log.extend(process.stderr)

    def kill(self) -> None:
        """Nothing that it could do before its end."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port + 1}{path}", timeout=5) as answer:
            return bytes(answer.read())

    def until(self, wanted: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
        """The status when `wanted` is true of it."""
        found: dict[str, Any] = {}

        def there() -> bool:
            try:
                found.update(self.status())
            except OSError:
                return False
            return wanted(found)

        wait_until(there, what=what, timeout=STARTED, detail=lambda: "".join(self.log) + json.dumps(found)[:1000])
        return found

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.get("/status"))
        return found

    def dump(self) -> Any:
        """Everything that is served, with its versions."""
        return json.loads(self.get("/config_dump"))

    def pushed(self) -> float:
        """Responses that Envoys were sent by this process."""
        lines = [line for line in self.get("/metrics").decode().splitlines() if line.startswith("turnout_pushes_total")]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    def until_it_says(self, text: str) -> None:
        wait_until(lambda: any(text in line for line in self.log), what=text, detail=lambda: "".join(self.log))


class Load:
    """One request after the other, until it is told to stop."""

    def __init__(self, port: int) -> None:
        self.sent, self.failed = 0, list[str]()
        self._port, self._stop = port, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.003):
            self.sent += 1
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
            try:
                body = b'{"model": "chat", "messages": []}'
                connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    self.failed.append(str(answer.status))
            except OSError as problem:
                self.failed.append(repr(problem))
            finally:
                connection.close()


def in_sync(status: dict[str, Any]) -> bool:
    return any(envoy["synced"] and "route" in envoy["types"] for envoy in status["envoys"])


def kept(status: dict[str, Any]) -> bool:
    here = status["policy"]["digest"]
    return status["policy"]["state"] == "ok" and status["kept"] == {"digest": here, "problem": ""}


@contextmanager
def joined(server: Server, work: Path, node: str = "edge-1") -> Iterator[Served]:
    """An Envoy of the server."""
    port = free_port()
    place = ("--port", str(port), "--address", "127.0.0.1", "--admin-port", "1")
    start = turnout("bootstrap", "--node", node, "--xds", f"127.0.0.1:{server.port}", *place)
    free = json.loads(start)
    free["admin"]["address"]["socket_address"]["port_value"] = 0
    with envoy_process(json.dumps(free), work) as envoy:
        yield Served(envoy, port)


@dataclass
class World:
    server: Server
    folder: Folder
    disk: Disk
    chat: str
    """The policy that is good."""

    def mend(self) -> None:
        if not self.folder.path.exists():
            self.hidden.rename(self.folder.path)
        self.disk.free()
        for name in ("broken", "late"):
            (self.folder.path / f"{name}.yaml").unlink(missing_ok=True)

    @property
    def hidden(self) -> Path:
        return self.folder.path.with_name("hidden")


def as_they_are(world: World) -> None:
    world.server.kill()


def broken(world: World) -> None:
    world.server.kill()
    world.folder.write("broken", BROKEN)


def missing(world: World) -> None:
    world.server.kill()
    world.folder.path.rename(world.hidden)


def broken_after_what_could_not_be_kept(world: World) -> None:
    """A good edit meets a full disk. It is served all the same, and the last good is the one before."""
    before = world.server.status()["policy"]["digest"]
    assert world.server.process is not None
    world.disk.fill(world.server.process.pid)
    world.folder.write("late", model("late"))
    full = world.server.until(lambda s: bool(s["kept"]["problem"]) and in_sync(s), "served, and not kept")
    assert full["policy"]["digest"] != before
    assert full["kept"] == {"digest": before, "problem": world.disk.problem}
    world.server.until_it_says("snapshot cannot be kept")
    broken(world)


STARTS = (
    *(as_they_are, broken, as_they_are, missing, as_they_are),
    *(broken_after_what_could_not_be_kept, as_they_are, broken, broken, as_they_are),
)


def test_ten_kills_under_load_with_broken_policies_and_a_full_disk_lose_no_request(tmp_path: Path, disk: Disk) -> None:
    folder = Folder(tmp_path / "policies")
    with upstreams("chat") as instances:
        port = instances["chat"].port
        world = World(Server(folder.path, disk.folder / "state"), folder, disk, at(port, "chat"))
        folder.write("chat", world.chat)
        world.server.start()
        try:
            world.server.until(kept, "kept")
            with joined(world.server, tmp_path) as envoy:
                world.server.until(in_sync, "in sync")
                envoy.wait_for_health("chat_1", [port])
                with Load(envoy.port) as load:
                    for start in STARTS:
                        restart(world, start)
                        sent = load.sent
                        wait_until(lambda sent=sent: load.sent > sent + 20, what="load goes on")  # type: ignore[misc]
                        world.mend()
                        world.server.until(lambda s: kept(s) and in_sync(s), "mended")
            assert not load.failed, f"{len(load.failed)} of {load.sent}: {load.failed[:5]}"
        finally:
            world.server.kill()


def restart(world: World, start: Callable[[World], None]) -> None:
    """The server after it serves what the one before it had kept, to the last byte, and says so if it has to."""
    server = world.server
    good, expected = server.status()["policy"], server.dump()
    start(world)
    server.start()
    if start is as_they_are:
        now = server.until(lambda s: kept(s) and in_sync(s), "good")
        assert now["policy"]["last_good"] is None
    else:
        now = server.until(lambda s: s["policy"]["state"] == "broken" and in_sync(s), "broken")
        assert now["policy"]["last_good"]["fleet"]
        server.until_it_says(f"last good served digest={good['digest']}")
    assert now["policy"]["digest"] == good["digest"]
    assert server.dump() == expected
    if start is not broken_after_what_could_not_be_kept:
        assert server.pushed() == 0, "the Envoy was sent what it has"


@pytest.mark.parametrize("kept_by", ["policies", "the last good on the disk"])
def test_an_envoy_starts_and_answers_without_any_control_server(kept_by: str, tmp_path: Path) -> None:
    """Splits, hops and runtime settings too, at the place where it is told to listen."""
    folder = Folder(tmp_path / "policies")
    with upstreams("one", "two", "spare") as instances:
        ports = {name: server.port for name, server in instances.items()}
        folder.write("spare", at(ports["spare"], "spare"))
        folder.write("chat", split(ports["one"], ports["two"]))
        source = [str(folder.path)]
        if kept_by != "policies":
            server = Server(folder.path, tmp_path / "state")
            server.start()
            try:
                server.until(kept, "kept")
            finally:
                server.kill()
            shutil.rmtree(folder.path)
            source = ["--state", str(tmp_path / "state")]
        port = free_port()
        place = ("--port", str(port), "--address", "127.0.0.1", "--admin-port", str(free_port()), "--zone", "az-1")
        start = turnout("bootstrap", "--static", *source, "--node", "alone", *place)
        assert "ads" not in json.dumps(json.loads(start)["static_resources"]).split('"')
        with envoy_process(start, tmp_path) as process:
            envoy = Served(process, port)
            envoy.wait_for_health("chat_1", [ports["one"]])
            envoy.wait_for_health("chat_2", [ports["two"]])
            answers = [envoy.ask({"model": "chat"}) for _ in range(60)]
            assert {answer.status for answer in answers} == {200}
            assert {answer.upstream for answer in answers} == {"one", "two"}
            assert envoy.ask({"model": "spare"}).upstream == "spare"
            assert envoy.ask({"model": "nope"}).status == 404
            assert "max_program_size" in process.get("/runtime")


def split(one: int, two: int) -> str:
    place = "    - {{address: 127.0.0.1, port: {}, zone: az-1, version: {}}}\n"
    versions = '  versions: [{name: "1", weight: 50}, {name: "2", weight: 50}]\n'
    head = model("chat").partition("  endpoints:")[0]
    return head + "  endpoints:\n" + place.format(one, '"1"') + place.format(two, '"2"') + versions


def test_a_static_bootstrap_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "policies")
    folder.write("chat", model("chat"))
    for words, why in (
        ((str(folder.path), "--cluster", "nope"), "no group 'nope': default, sidecar"),
        ((str(folder.path), "--port", "65535", "--state", "x"), "either POLICIES or --state"),
        (("--state", str(tmp_path)), "no last good snapshot in"),
        ((str(tmp_path / "missing"),), "P010"),
    ):
        with pytest.raises(NotReadyError, match=why):
            turnout("bootstrap", "--static", "--node", "alone", *words)
    with pytest.raises(NotReadyError, match="are for --static"):
        turnout("bootstrap", "--node", "gw-1", str(folder.path))
