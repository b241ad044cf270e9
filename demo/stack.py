"""Model servers, a control server and Envoys that together serve one scratch copy of policies."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.policies import Instance, Policies
from demo.processes import ROOT, NotReadyError, Process, Processes, free_port, poll

ENVOY = Path(sys.executable).with_name("envoy")
TURNOUT = (sys.executable, "-m", "xds.cli")

STARTED = 20.0
"""Seconds that a program may take until it serves; far more than it needs, for a busy machine."""

_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True, slots=True)
class Control:
    process: Process
    xds: str
    """`address:port`."""
    url: str
    """Of the admin interface."""


@dataclass(frozen=True, slots=True)
class Envoy:
    process: Process
    url: str
    """Where requests to models go."""
    admin: str
    """URL of Envoy's own admin interface."""


class Stack:
    """Starts the parts; `processes` ends them."""

    def __init__(self, processes: Processes, policies: Policies, work: Path) -> None:
        """`work` is where bootstraps are written."""
        self.policies = policies
        self._processes = processes
        self._work = work

    def start_instances(self, instances: Iterable[Instance], *options: str) -> dict[Instance, Process]:
        """Each a process of its own, serving when this returns. `options` are the model server's."""
        started = {instance: self._start_instance(instance, options) for instance in instances}
        for instance, process in started.items():
            url = f"http://{instance.address}:{instance.port}"
            process.wait_until(lambda url=url: answers(f"{url}/health"), STARTED, "serving")  # type: ignore[misc]
        return started

    def _start_instance(self, instance: Instance, options: Iterable[str]) -> Process:
        identity = ("--model", instance.model, "--version", instance.version, "--tier", instance.tier)
        place = ("--zone", instance.zone, "--address", instance.address, "--port", str(instance.port))
        command = (sys.executable, "-m", "demo.model_server", *identity, *place, *options)
        return self._processes.start(instance.name, command)

    def start_control(self, *options: str) -> Control:
        """A control server that has a fleet to serve."""
        xds, admin = (f"127.0.0.1:{free_port()}" for _ in range(2))
        command = (*TURNOUT, "serve", str(self.policies.folder), "--listen", xds, "--admin", admin, *options)
        process = self._processes.start("turnout", command)
        process.wait_until(lambda: answers(f"http://{admin}/readyz"), STARTED, "serving")
        return Control(process, xds, f"http://{admin}")

    def start_envoy(self, control: Control, *options: str, node: str = "envoy", group: str = "default") -> Envoy:
        """An Envoy with all its configuration. `options` are those of `turnout bootstrap`: `--variant`, `sotw`."""
        port, admin = free_port(), free_port()
        bootstrap = self._work / f"{node}.json"
        where = ("--address", "127.0.0.1", "--port", str(port), "--admin-port", str(admin))
        who = ("--node", node, "--cluster", group, "--zone", "az-1", "--xds", control.xds)
        bootstrap.write_text(turnout("bootstrap", *who, *where, *options))
        command = (ENVOY, "-c", bootstrap, "--concurrency", "2", "--disable-hot-restart", "--log-level", "warning")
        process = self._processes.start(node, command)
        envoy = Envoy(process, f"http://127.0.0.1:{port}", f"http://127.0.0.1:{admin}")
        process.wait_until(lambda: answers(f"{envoy.admin}/ready"), STARTED, "having its configuration")
        return envoy

    def wait_for_healthy(self, envoy: Envoy, instances: Iterable[Instance], seconds: float = STARTED) -> None:
        """Until Envoy takes each of `instances` for healthy."""
        wanted = {(instance.address, instance.port) for instance in instances}
        if not poll(lambda: wanted <= healthy(envoy), seconds):
            raise NotReadyError(f"Envoy does not take these for healthy: {sorted(wanted - healthy(envoy))}")


def turnout(*arguments: str) -> str:
    """What the command says on standard output; raises `NotReadyError` when it fails."""
    run = subprocess.run((*TURNOUT, *arguments), cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    if run.returncode:
        raise NotReadyError(f"turnout {' '.join(arguments)} ended with {run.returncode}\n{run.stdout}{run.stderr}")
    return run.stdout


def healthy(envoy: Envoy) -> set[tuple[str, int]]:
    """Address and port of every host that Envoy would send a request to."""
    clusters = json.loads(fetch(f"{envoy.admin}/clusters?format=json")).get("cluster_statuses", [])
    hosts = (host for cluster in clusters for host in cluster.get("host_statuses", []))
    return {_place(host) for host in hosts if _is_healthy(host["health_status"])}


def _place(host: dict[str, Any]) -> tuple[str, int]:
    place = host["address"].get("socket_address", {})
    return place.get("address", ""), place.get("port_value", 0)


def _is_healthy(status: dict[str, Any]) -> bool:
    """Envoy lists each reason against a host as a field of its own, and leaves out those that do not apply."""
    return not (status.keys() - {"eds_health_status"}) and status.get("eds_health_status", "HEALTHY") == "HEALTHY"


def answers(url: str) -> bool:
    """Whether a GET of `url` is answered with success."""
    try:
        fetch(url)
    except OSError:
        return False
    return True


def fetch(url: str) -> bytes:
    """Without any proxy; raises OSError, for an answer with an error status too."""
    with _opener.open(url, timeout=5) as response:
        return bytes(response.read())
