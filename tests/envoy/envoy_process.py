"""A real Envoy on loopback: started, waited for, asked, and ended with its log at hand."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from demo.processes import EPHEMERAL_FROM, is_free

ENVOY = Path(sys.executable).with_name("envoy")
START_TIMEOUT = 30.0
LOG_TAIL = 4000


class EnvoyStateError(AssertionError):
    """Envoy ended, or did not get where it should; the message carries the end of its log."""


def free_port(following: int = 0) -> int:
    """A port of 127.0.0.1 that is free, and as many after it.

    Below the range of outgoing connections, one of which could otherwise take the port of a server that is down.
    """
    while True:
        first = random.randrange(10_000, EPHEMERAL_FROM - following)
        if all(is_free(port) for port in range(first, first + following + 1)):
            return first


@dataclass
class EnvoyProcess:
    process: subprocess.Popen[bytes]
    directory: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def admin(self) -> str:
        """`127.0.0.1:port`, once Envoy has written it down."""
        return (self.directory / "admin-address").read_text()

    def log(self) -> str:
        path = self.directory / "envoy.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def get(self, path: str) -> str:
        """The admin page at `path`; raises OSError while there is none."""
        with urllib.request.urlopen(f"http://{self.admin}{path}", timeout=5) as response:
            return str(response.read(), "utf-8")

    def stats(self, pattern: str) -> dict[str, int]:
        """Counters and gauges whose name matches the regular expression."""
        stats = json.loads(self.get(f"/stats?format=json&filter={pattern}"))["stats"]
        return {stat["name"]: stat["value"] for stat in stats if "name" in stat}

    def listener_ports(self) -> dict[str, int]:
        """Name of each active listener, and its port."""
        statuses = json.loads(self.get("/listeners?format=json")).get("listener_statuses", [])
        return {status["name"]: status["local_address"]["socket_address"]["port_value"] for status in statuses}

    def host_health(self, cluster: str) -> dict[int, set[str]]:
        """Port of each host of `cluster`, and its health flags; an empty set is healthy."""
        hosts: dict[int, set[str]] = {}
        for line in self.get("/clusters").splitlines():
            name, _, rest = line.partition("::")
            address, _, flags = rest.partition("::health_flags::")
            if name == cluster and flags:
                hosts[int(address.rpartition(":")[2])] = set(flags.strip("/").split("/")) - {"healthy"}
        return hosts

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def is_ready(self) -> bool:
        if self.process.poll() is not None:
            raise EnvoyStateError(f"envoy ended with {self.process.returncode}\n{self.log()[-LOG_TAIL:]}")
        try:
            return self.get("/ready").strip() == "LIVE"
        except OSError:
            return False


@contextmanager
def envoy_process(bootstrap: str, directory: Path, *, wait: bool = True) -> Iterator[EnvoyProcess]:
    """Envoy with `bootstrap` (JSON) and files in `directory`, from LIVE on, or at once without `wait`."""
    config = directory / "bootstrap.json"
    config.write_text(bootstrap)
    command = [
        *(str(ENVOY), "--config-path", str(config), "--concurrency", "1", "--disable-hot-restart"),
        *("--admin-address-path", str(directory / "admin-address"), "--log-path", str(directory / "envoy.log")),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    envoy = EnvoyProcess(process, directory)
    try:
        if wait:
            wait_until(envoy.is_ready, what="envoy is LIVE", timeout=START_TIMEOUT, detail=envoy.log)
        yield envoy
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def validate(bootstrap: str, directory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """What `envoy --mode validate` says of a bootstrap; return code 0 is fine."""
    config = directory / "validate.json"
    config.write_text(bootstrap)
    command = [str(ENVOY), "--mode", "validate", "--config-path", str(config), "--disable-hot-restart", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def wait_until(
    condition: Callable[[], bool], *, what: str, timeout: float = 10.0, detail: Callable[[], str] = str
) -> None:
    """Returns once `condition()` holds; an AssertionError that names `what` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise EnvoyStateError(f"not within {timeout} s: {what}\n{detail()[-LOG_TAIL:]}")
        time.sleep(0.02)
