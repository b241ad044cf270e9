"""A control server and its Envoys for half an hour: edits, good and broken, kills, and clients that never stop asking.

Fails when a request fails, an Envoy refuses something, or the server keeps memory, files or tasks that it should not.
Every answer is judged by the policies of its time, as in tests/envoy/test_ten_envoys.py.
"""

from __future__ import annotations

import argparse
import random
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from demo.processes import poll
from tests.envoy import changing_policies
from tests.envoy.asking import Book, Clients, askable
from tests.envoy.changing_policies import Chance
from tests.envoy.fleet import DEADLINE, INSTANCES, Fleet, Instances, burst, in_service
from tests.envoy.upstream import upstreams

PAUSE = 0.15
"""Seconds between an answer and a client's next request, on average."""
KILLS = 0.5
"""Share of the time in which servers are killed. The last one is left alive: what it keeps shows with time."""
WARM = 0.25
"""Share of a server's life after which its memory counts: caches fill, and lists of names come and go."""
MEMORY = 1.10
MEMORY_SLACK = 8 << 20
"""A server may end with so much more memory than it had when it was warm: a tenth and some bytes."""
FILES, TASKS = 3, 3
"""A server at rest may have so many more than it had first: connections of those who look at it."""
BROKEN = "apiVersion: turnout.dev/v1\nkind: InferenceModel\nmetadata: {name: broken}\nspec: {versions: [{weight: 7}]}\n"
UNWELL = re.compile("::health_flags::/|::(rq_error|cx_connect_fail|rq_timeout)::[1-9]")
REPORT = 60.0
"""Seconds between two lines of progress."""
DRAIN = "2s"


@dataclass(frozen=True, slots=True)
class Sample:
    """Of the server, while everything has arrived everywhere."""

    at: float
    """Seconds since the beginning."""
    life: int
    """How many servers there were before."""
    memory: float
    files: float
    tasks: float


@dataclass
class Soak:
    fleet: Fleet
    instances: Instances
    book: Book
    clients: Clients
    chance: Chance
    seconds: float
    began: float = field(default_factory=time.monotonic)
    done: Counter[str] = field(default_factory=Counter)
    samples: list[Sample] = field(default_factory=list)
    life: int = 0
    refused: float = 0
    """By servers that have ended."""

    @property
    def passed(self) -> float:
        return time.monotonic() - self.began

    def run(self) -> None:
        told = next_kill = 0.0
        while self.passed < self.seconds and not self.clients.failures:
            if next_kill < self.passed < KILLS * self.seconds:
                self.kill_the_server(self.chance.random.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)))
                next_kill = self.passed + max(15.0, KILLS * self.seconds / 15)
            else:
                self.chance.random.choices((self.edit, self.break_it, self.lose_an_envoy), (40, 2, 1))[0]()
            self.clients.wait_for_each(2)
            self.sample()
            if self.passed > told:
                told = self.passed + REPORT
                print(self.line(), flush=True)
        self.refused += self.fleet.refusals()

    def edit(self) -> None:
        names = burst(self.fleet, self.instances, self.book, self.clients, self.chance)
        self.done["edits"] += len(names)

    def break_it(self) -> None:
        """What is served stays as it is."""
        file = self.fleet.policies / "broken.yaml"
        file.write_text(BROKEN)
        assert poll(lambda: self.fleet.status()["policy"]["state"] == "broken", DEADLINE)
        file.unlink()
        self.fleet.wait_for_everything()
        self.done["broken edits"] += 1

    def kill_the_server(self, number: signal.Signals) -> None:
        """Requests go on without it, and edits as soon as it is back, before most Envoys are: not while there is none,
        after which state of the world cannot be in order (docs/operation.md)."""
        process = self.fleet.control.process
        self.refused += self.fleet.refusals()
        process.send(number)
        assert process.wait(DEADLINE), process.last_words()
        self.clients.wait_for_each(2)
        self.fleet.restart()
        self.edit()
        self.life += 1
        self.done["servers killed" if number == signal.SIGKILL else "servers stopped"] += 1

    def lose_an_envoy(self) -> None:
        door = self.chance.random.choice(sorted(self.fleet.envoys, key=lambda door: door.envoy))
        self.clients.leave(door)
        self.fleet.replace_envoy(door)
        self.fleet.wait_for_everything()
        self.clients.come_back(door)
        self.done["Envoys killed"] += 1

    def sample(self) -> None:
        names = ("process_resident_memory_bytes ", "process_open_fds ", "turnout_tasks ")
        self.samples.append(Sample(self.passed, self.life, *map(self.fleet.metric, names)))

    def line(self) -> str:
        now = self.samples[-1]
        counts = " ".join(f"{name}={number}" for name, number in sorted(self.done.items()))
        kept = f"memory={now.memory / 2**20:.0f} MiB files={now.files:.0f} tasks={now.tasks:.0f}"
        answers = f"answers={self.clients.answered.total():,} failed={len(self.clients.failures)}"
        return f"{now.at / 60:5.1f} min  {answers}  {counts}  server {now.life + 1}: {kept}"


def growths(samples: Sequence[Sample]) -> Iterator[str]:
    """What a server has kept that it should not have, life by life."""
    lives = {life: [sample for sample in samples if sample.life == life] for life in {s.life for s in samples}}
    for life, those in sorted(lives.items()):
        first, last = those[0], those[-1]
        if last.files > first.files + FILES:
            yield f"server {life + 1}: open files grew from {first.files:.0f} to {last.files:.0f}"
        if last.tasks > first.tasks + TASKS:
            yield f"server {life + 1}: tasks grew from {first.tasks:.0f} to {last.tasks:.0f}"
    warm = warmed(lives[max(lives)]) if lives else []
    if warm and warm[-1].memory > warm[0].memory * MEMORY + MEMORY_SLACK:
        grew = f"from {warm[0].memory / 2**20:.0f} to {warm[-1].memory / 2**20:.0f} MiB"
        yield f"the last server's memory grew {grew} in {(warm[-1].at - warm[0].at) / 60:.1f} min"


def warmed(samples: Sequence[Sample]) -> list[Sample]:
    """Of one life."""
    began, ended = samples[0].at, samples[-1].at
    return [sample for sample in samples if sample.at >= began + WARM * (ended - began)]


@contextmanager
def soaking(work: Path, envoys: int, seed: int, seconds: float) -> Iterator[Soak]:
    folder = work / "policies"
    folder.mkdir()
    with upstreams(*map(str, range(INSTANCES))) as servers:
        instances = Instances({server.port: server for server in servers.values()})
        chance = Chance(seed, instances.by_port)
        draft = changing_policies.first(chance)
        instances.take_up(draft)
        changing_policies.write(folder, draft, draft)
        with in_service(work, folder, envoys, "--drain", DRAIN) as fleet:
            fleet.wait_for_everything()
            book = Book([(draft,)], askable(draft))
            with Clients(tuple(fleet.envoys), book, seed, each=1, pause=PAUSE) as clients:
                yield Soak(fleet, instances, book, clients, chance, seconds)


def table(soak: Soak) -> Iterator[str]:
    last = [sample for sample in soak.samples if sample.life == soak.life]
    warm = warmed(last)
    yield f"{soak.passed / 60:.1f} min, {len(soak.fleet.envoys)} Envoys, {soak.life + 1} control servers"
    yield f"requests          {soak.clients.answered.total():,}, failed {len(soak.clients.failures)}"
    yield f"refused           {soak.refused:.0f}"
    yield "  ".join(f"{name} {number}" for name, number in sorted(soak.done.items()))
    yield f"last server, {(last[-1].at - last[0].at) / 60:.1f} min     first   warm   last   most"
    for name, scale in (("memory", 2**20), ("files", 1), ("tasks", 1)):
        values = [getattr(sample, name) / scale for sample in (last[0], warm[0], last[-1])]
        most = max(getattr(sample, name) for sample in last) / scale
        unit = "MiB" if scale > 1 else ""
        yield f"  {name:<8}{unit:<14}" + "".join(f"{value:7.0f}" for value in (*values, most))


def unwell(soak: Soak) -> Iterator[str]:
    """What the Envoys whose requests have failed say of the instances: health checks fail on a machine without time."""
    for door, envoy in soak.fleet.envoys.items():
        if any(failure.startswith(f"{door.envoy} ") for failure in soak.clients.failures):
            yield from (f"{door.envoy}: {line}" for line in envoy.get("/clusters").splitlines() if UNWELL.search(line))
            counts = envoy.stats("health_check.(failure|network_failure|attempt)|ejections_(active|enforced_total)")
            yield from (f"{door.envoy}: {name} {count}" for name, count in counts.items() if count)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0, help="default: 30")
    parser.add_argument("--envoys", type=int, default=20, help="of both variants and three groups; default: 20")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="of the edits; default: any")
    options = parser.parse_args()
    print(f"--seed {options.seed} makes the same edits again", flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="turnout-soak-") as work,
        soaking(Path(work), options.envoys, options.seed, options.minutes * 60) as soak,
    ):
        soak.run()
        print("\n".join(table(soak)))
        problems = [*soak.clients.failures, *growths(soak.samples)]
        if soak.refused:
            problems.append(f"{soak.refused:.0f} responses were refused")
        if problems:
            said = [*unwell(soak), soak.fleet.control.process.last_words()]
            print("\n".join(["FAILED", *problems, *said]), file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
