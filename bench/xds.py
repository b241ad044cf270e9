"""What the control server costs with a swarm of Envoys on it, against the least that a server on grpc.aio can cost.

The floor is a server that serves ours' bytes, canned, and knows nothing else; it and ours take turns. A change is
timed from before the edit is saved, or the request made, to the whole response at the last stream; the server's
processor time is that of the change with all acknowledgements. The swarm and the floor are tools outside of this
repository: see --tools.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import signal
import statistics
import sys
import tempfile
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any

from bench.fleets import PolicyFolder
from bench.live_weights import LiveWeights
from demo.processes import NotReadyError, Process, Processes, free_port
from xds.translate.runtime import LAYER

HOST = "127.0.0.1"
OURS, FLOOR = "turnout", "floor"
NODE_CLUSTER = "default"
START = 120.0
"""Seconds that a server may take to be ready."""

CASES = {"endpoints": "/endpoints", "weight": "/runtime", "committed": "/weight"}
"""By name, the hook of the floor that does the same."""
TITLES = {"endpoints": "one endpoint", "weight": "live weight", "committed": "committed weight"}

SYNC_CPU, CHANGE_CPU, CHANGE_P99 = 2.0, 1.5, 1.5
"""The most that ours may need, as ratios to the floor."""
FEW_BYTES = 500
"""The most that one change may send to one stream, unless it is the whole route table."""
RSS_MIB = 250

Change = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Sample:
    """Of one change, or of one first sync: then the times are those of a stream's whole sync."""

    cpu: float
    """Seconds of the server's."""
    p50: float
    """Milliseconds, over the streams."""
    p99: float
    bytes: float
    """Of responses, to one stream."""
    rss: float
    """MiB, the most so far."""
    client_cpu: float
    """Seconds of the swarm's; when they near the wall time, the swarm was the limit."""


@dataclass(slots=True)
class Measured:
    """Of one mode, by case (`sync` is one) and server."""

    samples: dict[tuple[str, str], list[Sample]] = field(default_factory=lambda: defaultdict(list))

    def median(self, case: str, server: str, of: str) -> float:
        return float(statistics.median(getattr(sample, of) for sample in self.samples[case, server]))

    def ratio(self, case: str, of: str) -> float:
        return self.median(case, OURS, of) / max(self.median(case, FLOOR, of), 1e-9)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def get(address: str, path: str) -> tuple[int, str]:
    connection = HTTPConnection(address, timeout=60)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


@contextmanager
def hooks(plans: Mapping[str, Callable[[int], None]]) -> Iterator[str]:
    """An address where GET /SERVER/I carries out the I-th change of a swarm: no process is started for it."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            _, server, number = self.path.split("/")
            try:
                plans[server](int(number))
                status, said = 200, "done"
            except (OSError, RuntimeError) as problem:
                status, said = 500, str(problem)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(said.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer((HOST, 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"{HOST}:{server.server_port}"
    finally:
        server.shutdown()


class Bench:
    def __init__(self, options: argparse.Namespace, processes: Processes, scratch: Path) -> None:
        self._options, self._processes, self._scratch = options, processes, scratch
        self._folder = PolicyFolder(scratch / "policies", options.models, endpoints=options.endpoints)
        self._weights = LiveWeights(scratch / "token")
        self._models = count(1)
        self.cases: list[str] = options.case
        self._ours, self._xds, self._admin = self._serve()

    def measure(self, mode: str) -> Measured:
        measured = Measured()
        floor, xds, hook = self._floor(mode)
        say(f"{mode}: floor has copied {self._options.models:,} models")
        plans = {
            OURS: self._plan({case: self._change(case) for case in self.cases}),
            FLOOR: self._plan({case: partial(_floor_change, hook, CASES[case]) for case in self.cases}),
        }
        with hooks(plans) as address:
            for turn in range(1, self._options.rounds + 1):
                for server, process, target in ((OURS, self._ours, self._xds), (FLOOR, floor, xds)):
                    report = self._swarm(f"{mode}-{server}-{turn}", mode, target, process, f"http://{address}/{server}")
                    self._keep(measured, server, report)
                    sync, last = report["sync"], measured.samples["sync", server][-1]
                    done = f"{sync['all_synced_s']} s, {last.cpu:.2f} CPU s"
                    say(f"{mode}: round {turn} of {self._options.rounds}, {server}: first sync {done}")
        floor.send(signal.SIGTERM)
        floor.wait(5)
        return measured

    def _serve(self) -> tuple[Process, str, str]:
        """The server, its address for Envoys, and that for people."""
        command = (sys.executable, "-m", "xds.cli", "serve", self._folder.path)
        options = ("--listen", f"{HOST}:0", "--admin", f"{HOST}:0", *self._weights.serve_options)
        process = self._processes.start(OURS, (*command, *options))

        def listening() -> re.Match[str] | None:
            return re.search(r"listening xds=(\S+) admin=http://(\S+)", process.log.read_text())

        process.wait_until(lambda: listening() is not None, START, "listening")
        found = listening()
        assert found is not None
        xds, admin = found.groups()
        process.wait_until(lambda: get(admin, "/readyz")[0] == 200, START, "/readyz")
        say(f"turnout serves {self._options.models:,} models on {xds}")
        return process, xds, admin

    def _floor(self, mode: str) -> tuple[Process, str, str]:
        """The server, its address for Envoys, and that of its hooks."""
        port, hook = free_port(), free_port()
        options = ["--copy", self._xds, "--node-cluster", NODE_CLUSTER, "--mode", mode]
        process = self._tool(f"floor-{mode}", "xds_floor.py", [*options, "--port", str(port), "--hook", str(hook)])
        process.wait_until(lambda: "floor: ADS on" in process.log.read_text(), START, "copying ours")
        return process, f"{HOST}:{port}", f"{HOST}:{hook}"

    def _change(self, case: str) -> Change:
        if case == "endpoints":
            return self._folder.move_endpoint
        if case == "committed":
            return self._folder.shift_weight
        return lambda _: self._weights.shift(self._admin)

    def _plan(self, changes: Mapping[str, Change]) -> Change:
        """The cases take turns, each change on a model of its own."""

        def change(number: int) -> None:
            changes[self._case(number)](next(self._models))

        return change

    def _case(self, number: int) -> str:
        """Of a swarm's change; they count from 1."""
        return self.cases[(number - 1) % len(self.cases)]

    def _swarm(self, name: str, mode: str, target: str, server: Process, hook: str) -> dict[str, Any]:
        options = self._options
        result = self._scratch / f"{name}.json"
        arguments = {
            "--streams": options.streams,
            "--mode": mode,
            "--cluster": NODE_CLUSTER,
            "--rtds": LAYER,
            "--server-pid": server.pid,
            "--change-url": f"{hook}/{{i}}",
            "--changes": options.changes * len(self.cases),
            "--quiet": options.quiet,
            "--json": result,
        }
        given = [str(part) for pair in arguments.items() for part in pair]
        process = self._tool(name, "xds_swarm.py", [target, *given])
        while not process.wait(1):
            if not server.alive:
                raise NotReadyError(f"{server.name} has ended\n{server.last_words()}")
        if not result.exists():
            raise NotReadyError(f"the swarm failed\n{process.last_words()}")
        report: dict[str, Any] = json.loads(result.read_text())
        if report["failed"]["count"] or report["sync"]["synced"] != options.streams:
            raise NotReadyError(f"{name}: {report['sync']['synced']} streams in sync, failed: {report['failed']}")
        for change in report["changes"]:
            if not change["hook"].startswith("200 ") or change["reached"] != options.streams:
                said = f"{change['hook']}, reached {change['reached']} streams"
                raise NotReadyError(f"{name}: change {change['change']} ({self._case(change['change'])}): {said}")
        return report

    def _tool(self, name: str, script: str, arguments: Sequence[str]) -> Process:
        command = (sys.executable, "-m", "bench.tool", self._options.tools / script)
        return self._processes.start(name, (*command, *arguments))

    def _keep(self, measured: Measured, server: str, report: Mapping[str, Any]) -> None:
        measured.samples["sync", server].append(_sample(report["sync"], "sync_ms"))
        for change in report["changes"]:
            measured.samples[self._case(change["change"]), server].append(_sample(change, "last_ms"))


def _floor_change(hook: str, path: str, number: int) -> None:
    status, said = get(hook, f"{path}?model={number}")
    if status != 200:
        raise RuntimeError(f"{path}: {status} {said}")


def _sample(phase: Mapping[str, Any], times: str) -> Sample:
    server, spread = phase["server"], phase[times]
    return Sample(
        cpu=server["cpu_s_settled"],
        p50=spread["p50"],
        p99=spread["p99"],
        bytes=phase["bytes_per_stream"],
        rss=server["rss_peak_mib"],
        client_cpu=phase["client_cpu_s"],
    )


ROWS = (("cpu", "CPU s", 3), ("p50", "p50 ms", 0), ("p99", "p99 ms", 0), ("bytes", "bytes/stream", 0))


def table(measured: Measured, cases: Sequence[str]) -> Iterator[str]:
    yield f"{'':<18}{'':<14}{OURS:>12}{FLOOR:>12}{'ratio':>9}"
    for case in ("sync", *cases):
        title = TITLES.get(case, "first sync")
        for of, unit, digits in (*ROWS, ("rss", "RSS MiB", 0)) if case == "sync" else ROWS:
            ours, floor = (measured.median(case, server, of) for server in (OURS, FLOOR))
            yield f"{title:<18}{unit:<14}{ours:>12,.{digits}f}{floor:>12,.{digits}f}{measured.ratio(case, of):>9.2f}"
            title = ""


def verdicts(measured: Measured, cases: Sequence[str]) -> Iterator[tuple[str, float, float]]:
    """What is held to a target, its value, and the target."""
    yield "first sync: CPU to floor", measured.ratio("sync", "cpu"), SYNC_CPU
    for case in cases:
        yield f"{TITLES[case]}: CPU to floor", measured.ratio(case, "cpu"), CHANGE_CPU
        yield f"{TITLES[case]}: p99 to floor", measured.ratio(case, "p99"), CHANGE_P99
        if case != "committed":
            yield f"{TITLES[case]}: bytes to a stream", measured.median(case, OURS, "bytes"), FEW_BYTES
    most = max(sample.rss for (_, server), found in measured.samples.items() if server == OURS for sample in found)
    yield "RSS MiB, the most", most, RSS_MIB


def show(options: argparse.Namespace, mode: str, measured: Measured, cases: Sequence[str]) -> None:
    sizes = f"{options.models:,} models, {options.streams:,} streams, {mode}"
    syncs, changes = options.rounds, options.rounds * options.changes
    busy = f"load average {os.getloadavg()[1]:.1f} on {os.cpu_count()} cores"  # far beyond them, distrust the times
    print(f"\n{sizes}; medians of {syncs} first syncs and of {changes} changes of each kind, on each server; {busy}")
    print("\n".join(table(measured, cases)))
    found = list(verdicts(measured, cases))
    missed = [f"{what} {value:,.2f}, not {target:g}" for what, value, target in found if value > target]
    print(
        f"targets: {len(found) - len(missed)} of {len(found)} met" + "".join(f"\n  missed  {text}" for text in missed)
    )


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.xds", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--endpoints", type=int, default=6, help="of a model, at least 2")
    parser.add_argument("--mode", choices=("delta", "sotw", "both"), default="delta")
    parser.add_argument("--changes", type=int, default=7, help="of each case in a round")
    parser.add_argument("--rounds", type=int, default=2, help="swarms on each server, in turns")
    parser.add_argument("--case", type=_cases, default=list(CASES), help=f"some of {','.join(CASES)}")
    parser.add_argument("--quiet", type=float, default=1.0, help="seconds without a response that end a change")
    parser.add_argument("--tools", type=Path, default=Path("../shared/tools"), help="has xds_swarm.py, xds_floor.py")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all samples here")
    options = parser.parse_args()
    for tool in ("xds_swarm.py", "xds_floor.py"):
        if not (options.tools / tool).is_file():
            parser.error(f"no {tool} in {options.tools}: say where it is with --tools")
    options.tools = options.tools.resolve()
    return options


def _cases(text: str) -> list[str]:
    cases = text.split(",")
    if unknown := [case for case in cases if case not in CASES]:
        raise argparse.ArgumentTypeError(f"no case {unknown[0]!r}, only {', '.join(CASES)}")
    return cases


def main() -> int:
    options = parsed()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a connection for each stream; the servers inherit it
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    modes = ("delta", "sotw") if options.mode == "both" else (options.mode,)
    kept = {}
    try:
        with tempfile.TemporaryDirectory() as folder, Processes(Path(folder)) as processes:
            bench = Bench(options, processes, Path(folder))
            for mode in modes:
                measured = bench.measure(mode)
                show(options, mode, measured, bench.cases)
                kept[mode] = {f"{case}/{server}": [*map(asdict, s)] for (case, server), s in measured.samples.items()}
    except NotReadyError as problem:
        say(f"bench: {problem}")
        return 1
    except KeyboardInterrupt:
        return 130
    if options.json:
        options.json.write_text(json.dumps(kept, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
