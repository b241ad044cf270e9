"""Many Envoys of both variants and three groups, the policies that they are served, and instances to ask."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from compiler.source import load_sources
from demo.policies import Policies
from demo.processes import Processes, free_port, poll
from demo.stack import Control, Stack, answers, fetch
from tests.envoy import changing_policies
from tests.envoy.asking import WHO, Book, Clients, Door, askable
from tests.envoy.changing_policies import GROUPS, Chance, Draft
from tests.envoy.envoy_process import EnvoyProcess, envoy_process
from tests.envoy.upstream import Upstream
from xds.bootstrap import bootstrap
from xds.observe.compiling import digest

BURSTS = (1, 1, 2, 4, 8)
"""Edits between two moments at which everything has arrived everywhere."""
PACE = (0, 0.02, 0.06)
"""Seconds after an edit: less and more than the server waits for the end of a save."""
INSTANCES = 48
DEADLINE = 30.0
"""Seconds, for a burst to arrive everywhere; it takes a fraction of one."""
GONE = 410
"""What an instance answers that has been taken away: no Envoy tries again after this status."""


def burst(fleet: Fleet, instances: Instances, book: Book, clients: Clients, chance: Chance) -> list[str]:
    """Some edits, and all that follows from them; their names."""
    (draft,) = book.pages[-1]
    chance.settled, listed = frozenset(draft.instances()), set(draft.instances())
    names = []
    for _ in range(chance.random.choice(BURSTS)):
        before = draft
        name, draft = changing_policies.edited(before, chance)
        names.append(name)
        instances.take_up(draft)
        listed.update(draft.instances())
        book.saving(draft)
        clients.ask_only(askable(*book.pages[-1]))
        changing_policies.write(fleet.policies, before, draft)
        time.sleep(chance.random.choice(PACE))
    fleet.wait_for_everything()
    chance.free += instances.settle(listed, set(draft.instances()))
    book.settled()
    clients.ask_only(askable(draft))
    return names


@dataclass
class Instances:
    """Upstreams by port. One that is taken away goes on answering until the burst after that has arrived too."""

    by_port: dict[int, Upstream]
    draining: set[int] = field(default_factory=set)

    def take_up(self, draft: Draft) -> None:
        for port, who in draft.instances().items():
            server = self.by_port[port]
            server.status, server.headers, server.first_byte_delay = 200, {WHO: who}, 0.005

    def settle(self, listed: set[int], left: set[int]) -> list[int]:
        """Those that are free now. `listed` are all that were in the burst, `left` those that are at its end."""
        gone, self.draining = self.draining, listed - left
        for port in gone:
            self.by_port[port].status = GONE
        return sorted(gone)


@dataclass
class Fleet:
    control: Control
    policies: Path
    envoys: dict[Door, EnvoyProcess]
    processes: Processes
    last: ExitStack
    """What is done when all is over."""

    def restart(self) -> None:
        """The control server, which has ended, on the same ports."""
        again = self.processes.start("turnout", self.control.process.command)
        again.wait_until(lambda: answers(f"{self.control.url}/readyz"), DEADLINE, "serving")
        self.control = replace(self.control, process=again)

    def replace_envoy(self, door: Door) -> None:
        """As when its machine is lost. Nobody should be asking it."""
        old = self.envoys[door]
        old.process.kill()
        old.process.wait()
        bootstrap = (old.directory / "bootstrap.json").read_text()
        self.envoys[door] = new = self.last.enter_context(envoy_process(bootstrap, old.directory, wait=False))
        assert poll(new.is_ready, DEADLINE), new.log()

    def wait_for_everything(self) -> None:
        """Until each Envoy has the policies as they stand in the folder, and takes every instance for healthy."""
        wanted = digest(load_sources(self.policies))

        def synced() -> bool:
            status = self.status()
            return status["policy"]["digest"] == wanted and sum(e["synced"] for e in status["envoys"]) == len(
                self.envoys
            )

        assert poll(synced, DEADLINE), f"{wanted}: {self.behind()}\n{self.control.process.last_words()}"
        for door, envoy in self.envoys.items():
            assert poll(lambda envoy=envoy: is_well(envoy), DEADLINE), f"{door}: {envoy.get('/clusters')}"  # type: ignore[misc]

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(fetch(f"{self.control.url}/status"))
        return found

    def behind(self) -> list[dict[str, Any]]:
        return [envoy for envoy in self.status()["envoys"] if not envoy["synced"]]

    def refusals(self) -> float:
        return self.metric("turnout_nacks_total{")

    def metric(self, beginning: str) -> float:
        """The sum of the series whose lines begin so."""
        lines = fetch(f"{self.control.url}/metrics").decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(beginning))


def is_well(envoy: EnvoyProcess) -> bool:
    return "::health_flags::/" not in envoy.get("/clusters")


@contextmanager
def in_service(work: Path, folder: Path, envoys: int, *options: str) -> Iterator[Fleet]:
    """`options` are those of `turnout serve`."""
    logs = work / "logs"
    logs.mkdir()
    with Processes(logs) as processes, ExitStack() as last:
        control = Stack(processes, Policies(folder), work).start_control(*options)
        started = {}
        for number in range(envoys):
            variant, group = ("delta", "sotw")[number % 2], GROUPS[number // 2 % len(GROUPS)]
            door = Door(f"envoy-{number} ({variant})", group, free_port())
            directory = work / f"envoy-{number}"
            directory.mkdir()
            started[door] = last.enter_context(envoy_process(start(door, variant, control), directory, wait=False))
        for envoy in started.values():
            assert poll(envoy.is_ready, DEADLINE), envoy.log()
        yield Fleet(control, folder, started, processes, last)


def start(door: Door, variant: str, control: Control) -> str:
    return bootstrap(
        node_id=door.envoy.partition(" ")[0],
        cluster=door.group,
        zone="az-1",
        xds_address=control.xds,
        port=door.port,
        address="127.0.0.1",
        delta=variant == "delta",
    )
