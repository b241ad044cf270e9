"""A control server in this process that can be made to translate wrongly, its policy repository, and a real Envoy."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.envoy.envoy_process import EnvoyProcess, envoy_process, free_port, wait_until
from tests.envoy.served import Served as Asked
from tests.envoy.upstream import upstreams
from tests.features import served
from xds.bootstrap import bootstrap

POLICY = """\
apiVersion: turnout.dev/v1
kind: Gateway
metadata: {{name: public}}
spec:
  hosts: ["*"]
  listeners:
    - {{port: 8080, protocol: HTTP}}
    - {{port: 8081, protocol: HTTP}}
---
apiVersion: turnout.dev/v1
kind: InferenceModel
metadata: {{name: other}}
spec:
  modelName: example/other
  traffic: {{connectionPool: {{connectTimeout: {turn}ms}}}}
  endpoints:
    - {{address: 127.0.0.1, port: {ports[other]}, zone: az-1}}
---
apiVersion: turnout.dev/v1
kind: InferenceModel
metadata: {{name: victim}}
spec:
  modelName: example/victim
  traffic:
    connectionPool: {{connectTimeout: {turn}ms}}
    timeouts: {{unary: {{total: {turn}s}}}}
  versions:
    - name: "1.0"
      weight: 90
      endpoints:
        - {{address: 127.0.0.1, port: {ports[victim]}, zone: az-1, weight: {weight}}}
    - name: "1.1"
      weight: 10
      endpoints:
        - {{address: 127.0.0.1, port: {ports[new]}, zone: az-1, weight: {weight}}}
"""
TURN = 1000
"""Of the first edit: a number that every resource of both models has in it, so that each edit changes all of them."""


@dataclass
class Arena:
    folder: Path
    status_url: str
    envoy: EnvoyProcess
    asked: Asked
    ports: dict[str, int]
    run: Callable[[Coroutine[Any, Any, Any]], Any]
    """On the control server's own event loop."""
    control: served.Served
    turn: int = TURN

    def status(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.status_url}/status", timeout=5) as response:
            found: dict[str, Any] = json.load(response)
            return found

    def edit(self, change: Callable[[str], str] = str) -> str:
        """Another turn, committed; the commit."""
        self.turn += 1
        write(self.folder, change(policy(self.turn, self.ports)))
        return commit(self.folder)

    def line(self, text: str) -> int:
        """Where `text` first stands in the policies."""
        lines = (self.folder / "models.yaml").read_text().splitlines()
        return next(number for number, line in enumerate(lines, 1) if text in line)

    def set_weights(self, model: str, weights: dict[str, int]) -> None:
        status, said = self.run(self.control.set_weights(model, weights))
        assert status == 200, said

    def take_weights_back(self, model: str) -> None:
        self.run(self.control.take_weights_back(model))

    def metric(self, series: str) -> float:
        with urllib.request.urlopen(f"{self.status_url}/metrics", timeout=5) as response:
            lines = str(response.read(), "utf-8").splitlines()
        return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{series} "))

    def turnout_status(self) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "xds.cli", "status", "--admin", self.status_url]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    def told(self) -> list[dict[str, Any]]:
        """What is held back or refused now."""
        status = self.status()
        refused = [
            {"code": "X101", "type": type_, **of}
            for envoy in status["envoys"]
            for type_, found in envoy["types"].items()
            for of in found["refused"]
        ]
        return [*status["held_back"], *refused]

    def has(self, cluster: str) -> int:
        """The turn of Envoy's cluster of this name; 0 where there is none."""
        found = json.loads(self.envoy.get("/config_dump?resource=dynamic_active_clusters"))["configs"]
        timeouts = {of["cluster"]["name"]: of["cluster"]["connect_timeout"] for of in found}
        return round(float(timeouts.get(cluster, "0s").removesuffix("s")) * 1000)

    def route_timeout(self, model: str) -> int:
        """Seconds that Envoy's route to this model gives a whole answer, its turn; 0 where it has no such route."""
        tables = json.loads(self.envoy.get("/config_dump?resource=dynamic_route_configs"))["configs"]
        routes = (of["route"] for of in within(tables) if of.get("name") == f"model/{model}" and "route" in of)
        return round(max((float(route["timeout"].removesuffix("s")) for route in routes), default=0))

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        wait_until(condition, what=what, detail=lambda: json.dumps(self.status()["envoys"]) + str(self.told()))

    def wait_until_well(self) -> None:
        """Until Envoy has all of this turn, and nothing is told."""

        def well() -> bool:
            status = self.status()
            synced = status["policy"]["state"] == "ok" and all(envoy["synced"] for envoy in status["envoys"])
            return synced and not self.told() and self.has("victim_1-0") == self.has("other_1") == self.turn

        self.wait(well, "all is well")

    def live_weights(self) -> dict[str, int]:
        """Of Envoy's runtime, by cluster."""
        entries = json.loads(self.envoy.get("/runtime"))["entries"]
        return {
            key.rpartition(".")[2]: int(of["final_value"]) for key, of in entries.items() if key.startswith("split.")
        }

    def answers(self, model: str) -> int:
        return self.asked.ask({"model": model}).status


def within(found: Any) -> Iterator[dict[str, Any]]:
    """Every object of a JSON document."""
    if isinstance(found, dict):
        yield found
    for value in found.values() if isinstance(found, dict) else found if isinstance(found, list) else ():
        yield from within(value)


def policy(turn: int, ports: dict[str, int]) -> str:
    return POLICY.format(turn=turn, weight=turn - TURN + 1, ports=ports)


def write(folder: Path, text: str) -> None:
    fresh = folder / ".new"
    fresh.write_text(text)
    fresh.replace(folder / "models.yaml")


def commit(folder: Path) -> str:
    git(folder, "commit", "-qam", "edit")
    return git(folder, "rev-parse", "--short=12", "HEAD")


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=test", "-c", "user.email=test@example.com")
    return subprocess.run(
        ("git", "-C", str(folder), *who, *arguments), check=True, capture_output=True, text=True
    ).stdout.strip()


@contextmanager
def arena(work: Path) -> Iterator[Arena]:
    folder = work / "policies"
    folder.mkdir()
    with upstreams("victim", "new", "other") as servers:
        ports = {name: server.port for name, server in servers.items()}
        write(folder, policy(TURN, ports))
        git(folder, "init", "-q")
        git(folder, "add", ".")
        commit(folder)
        with _serving(folder) as (run, control):
            port = free_port(following=1)
            made = bootstrap(
                node_id="envoy-1",
                cluster="public",
                zone="az-1",
                xds_address=control.xds,
                port=port,
                address="127.0.0.1",
                secrets=str(work / "secrets"),
            )
            with envoy_process(made, work) as envoy:
                found = Arena(folder, control.url, envoy, Asked(envoy, port), ports, run, control)
                found.wait_until_well()
                found.asked.wait_for_health("victim_1-0", [ports["victim"]])
                found.asked.wait_for_health("victim_1-1", [ports["new"]])
                found.asked.wait_for_health("other_1", [ports["other"]])
                yield found


@contextmanager
def _serving(folder: Path) -> Iterator[tuple[Callable[[Coroutine[Any, Any, Any]], Any], served.Served]]:
    """In a thread with an event loop of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(served.DEADLINE)

    serving = served.served(folder)
    try:
        control = run(serving.__aenter__())
        try:
            yield run, control
        finally:
            run(serving.__aexit__(None, None, None))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextmanager
def spoiled(where: str, spoil: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Iterator[None]:
    """As long as it lasts, the function `where`, `module.name` of the translation, has a bug."""
    module, _, name = where.rpartition(".")
    # `xds.translate` has functions of the same names as some of its modules.
    found = import_module(f"xds.translate.{module}")
    forget = import_module("xds.translate.listeners")._listeners.cache_clear
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(found, name, spoil(getattr(found, name)))
        forget()
        yield
    forget()
