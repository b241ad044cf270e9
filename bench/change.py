"""What one change costs the control server itself, from the saved file to the bytes for one stream, without gRPC.

The server's own tasks run on a folder of policies; what is timed is the processor time of the whole process, by the
stage it is spent in. Every fleet has ten models a file, so that the edited file is equally large in all of them.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import Any

from bench.fleets import VERSIONS, PolicyFolder, model_name
from compiler import pipeline, report
from compiler.emit import EMITTERS
from xds import cache
from xds.admin.metrics import Metrics
from xds.cache import Snapshots
from xds.control import LIVE_APART, Control
from xds.observe.policies import policies
from xds.serve import TRANSLATION
from xds.snapshot import ResourceType, Snapshot
from xds.stream import delta
from xds.stream.state import Request, StreamState, Variant
from xds.stream.update import next_update
from xds.translate.group import Group

PER_FILE = 10
GROUP = Group("default")

KINDS: Mapping[str, Callable[[PolicyFolder, int], None]] = {
    "one endpoint": PolicyFolder.move_endpoint,
    "committed weight": PolicyFolder.shift_weight,
}

LIVE = "live weight"

FUNCTIONS: tuple[tuple[str, object, str], ...] = (
    ("load", pipeline, "load_sources"),
    ("decode", pipeline, "decode"),
    ("link", pipeline, "link"),
    ("prove", pipeline, "prove"),
    *(("emit", emitter, "diagnostics") for emitter in EMITTERS),
    ("report", report, "text"),
    ("share", Snapshots, "prepared"),
    ("examine", cache, "sound"),
    ("examine", cache, "sound_layer"),
    ("share", Snapshots, "replace"),
)
"""Stage, and the function in which it is spent, by the object it is looked up in. Those called within one of these are
stages of their own. To follow a change of the server's inside, change these lines."""
STAGES = (
    "load",
    "decode",
    "link",
    "prove",
    "emit",
    "report",
    "translate",
    "examine",
    "share",
    "difference",
    "encode",
    "rest",
)


class Stopwatch:
    """Processor seconds of this process by stage; a stage within a stage counts only for itself."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)
        self._stages = ["rest"]
        self._last = time.process_time()

    def restart(self) -> None:
        self.spent, self._last = defaultdict(float), time.process_time()

    def lap(self) -> None:
        now = time.process_time()
        self.spent[self._stages[-1]] += now - self._last
        self._last = now

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self.lap()
        self._stages.append(name)
        try:
            yield
        finally:
            self.lap()
            self._stages.pop()

    def timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def run(*arguments: Any, **named: Any) -> Any:
            with self.stage(stage):
                result = function(*arguments, **named)
                return list(result) if isinstance(result, Iterator) else result

        return run


class Stream:
    """The one stream: what it is sent, and that it accepts it."""

    def __init__(self, watch: Stopwatch, snapshot: Snapshot) -> None:
        self._watch = watch
        self._state = StreamState(Variant.DELTA)
        for type_ in ResourceType:
            wildcard = type_ in (ResourceType.CLUSTER, ResourceType.LISTENER)
            names = frozenset() if wildcard else frozenset(snapshot[type_])
            self._state = delta.received(self._state, type_, Request(type_, names=names))

    def sent(self, snapshots: Snapshots) -> tuple[bytes, ...]:
        """All responses until there is nothing more to say."""
        found = []
        with self._watch.stage("difference"):
            snapshot = snapshots.get(GROUP)
            assert snapshot is not None
            self._state = self._state.resolved(snapshot, snapshots.known)
            while (step := next_update(self._state, snapshot)) is not None:
                update, self._state = step
                with self._watch.stage("encode"):
                    found.append(delta.encoded(update))
                self._state = delta.received(self._state, update.type, Request(update.type, nonce=update.nonce))
        return tuple(found)


@asynccontextmanager
async def serving(folder: Path, snapshots: Snapshots) -> AsyncIterator[tuple[Control, asyncio.Event]]:
    """The server's tasks, put together as in `xds.serve`; the event says that a change is ready for the streams."""
    published = asyncio.Event()
    control = Control(snapshots, lambda _: published.set(), Metrics())
    task = asyncio.create_task(control.run(policies(folder)))
    try:
        yield control, published
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@dataclass(frozen=True, slots=True)
class Costs:
    """Of changes of one kind in a fleet of one size: CPU seconds."""

    changes: tuple[Mapping[str, float], ...]
    sizes: tuple[int, ...]
    """Bytes that each change sent."""

    def of(self, stage: str) -> float:
        return statistics.median(spent.get(stage, 0.0) for spent in self.changes)

    @property
    def total(self) -> float:
        return statistics.median(sum(spent.values()) for spent in self.changes)


def live(number: int) -> dict[str, object]:
    """What `turnout weights` sends, each time with other weights."""
    share = 50 - number % 50
    weights = dict(zip(VERSIONS, (share, 100 - share), strict=True))
    return {"model": model_name(0), "weights": weights, "for": "15m", "why": "bench"}


async def costs(models: int, changes: int, watch: Stopwatch) -> dict[str, Costs]:
    """By kind of change. The first change of each kind is not counted."""
    snapshots = Snapshots(replace(TRANSLATION, snapshot=watch.timed("translate", TRANSLATION.snapshot)))
    with tempfile.TemporaryDirectory() as scratch:
        folder = PolicyFolder(Path(scratch, "policies"), models, PER_FILE)
        async with serving(folder.path, snapshots) as (control, published):
            await asyncio.wait_for(published.wait(), 120)
            first = snapshots.get(GROUP)
            assert first is not None
            stream = Stream(watch, first)
            stream.sent(snapshots)
            found = {}
            for kind, change in KINDS.items():
                spent, sizes = [], []
                for number in range(changes + 1):
                    published.clear()
                    change(folder, number)
                    watch.restart()
                    await asyncio.wait_for(published.wait(), 120)
                    sizes.append(sum(map(len, stream.sent(snapshots))))
                    watch.lap()
                    spent.append(watch.spent)
                found[kind] = Costs(tuple(spent[1:]), tuple(sizes[1:]))
            spent, sizes = [], []
            for number in range(changes + 1):
                await asyncio.sleep(LIVE_APART)
                published.clear()
                watch.restart()
                await control.set_weights(live(number))
                await asyncio.wait_for(published.wait(), 120)
                sizes.append(sum(map(len, stream.sent(snapshots))))
                watch.lap()
                spent.append(watch.spent)
            found[LIVE] = Costs(tuple(spent[1:]), tuple(sizes[1:]))
    return found


def table(kind: str, by_size: Mapping[int, Costs]) -> Iterator[str]:
    sizes = sorted(by_size)
    compared = [size for size in (10, 1000) if size in by_size]
    ratio = len(compared) == 2
    yield f"{kind:<18}" + "".join(f"{size:>10,}" for size in sizes) + ("   1000:10" if ratio else "")
    rows = [(stage, {size: by_size[size].of(stage) for size in sizes}) for stage in STAGES]
    rows.append(("total", {size: by_size[size].total for size in sizes}))
    for stage, row in rows:
        last = f"{row[1000] / max(row[10], 1e-9):>10.1f}" if ratio else ""
        yield f"  {stage:<16}" + "".join(f"{row[size] * 1000:>10.2f}" for size in sizes) + last
    yield f"  {'bytes sent':<16}" + "".join(f"{statistics.median(by_size[size].sizes):>10,.0f}" for size in sizes)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.change", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", default="10,100,1000", help="sizes of the fleets; default: 10,100,1000")
    parser.add_argument("--changes", type=int, default=20, help="of each kind")
    options = parser.parse_args()
    watch = Stopwatch()
    for stage, owner, name in FUNCTIONS:
        setattr(owner, name, watch.timed(stage, getattr(owner, name)))
    found: dict[int, dict[str, Costs]] = {}
    for size in map(int, options.models.split(",")):
        print(f"{size:,} models …", file=sys.stderr, flush=True)
        found[size] = asyncio.run(costs(size, options.changes, watch))
    print(f"CPU ms, median of {options.changes} changes, by models in the fleet; medians do not add up exactly")
    for kind in (*KINDS, LIVE):
        print("\n".join(table(kind, {size: by_kind[kind] for size, by_kind in found.items()})))


if __name__ == "__main__":
    main()
