"""What `turnout diff` costs for a weight of one model, against the least that it has to do: reading both sides.

Every program is a process of its own, its start included; in each round all of them run in turn, and processor time is
what counts, as a machine with other work lengthens the rest. Peers:

- *load*: PyYAML's C loader reads the policies of both sides, and nothing is done with them.
- *compile*: the compiler reads one side, links and renders it.

Both sides are folders: what git takes to hand out a commit is not ours.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.compile import TURNOUT, Run, run
from bench.fleets import PolicyFolder

LOAD_BOTH = """
import pathlib, sys, yaml
for folder in sys.argv[1:]:
    for path in sorted(pathlib.Path(folder).glob('*.yaml')):
        list(yaml.load_all(path.read_text(), Loader=yaml.CSafeLoader))
"""


@dataclass(frozen=True, slots=True)
class Size:
    """A fleet of so many models, and what each program needs for it."""

    models: int
    runs: Mapping[str, list[Run]]

    def cpu(self, program: str) -> float:
        return min(found.cpu for found in self.runs[program])

    def ratio(self, program: str, peer: str = "load") -> float:
        """Of rounds, the median: what both met in one round they met alike."""
        both = zip(self.runs[program], self.runs[peer], strict=True)
        return statistics.median(ours.cpu / theirs.cpu for ours, theirs in both)


def measured(models: int, rounds: int, scratch: Path) -> Size:
    scratch.mkdir()
    before, one, all_ = (scratch / name / "policies" for name in ("before", "one", "all"))
    before.parent.mkdir()
    fleet = PolicyFolder(before, models, endpoints=0, scaled=True)
    for after in (one, all_):
        shutil.copytree(before, after)
    fleet.shift_weight(0)
    for file in all_.glob("team-*.yaml"):
        file.write_text(file.read_text().replace("idle: 2m", "idle: 3m"))
    programs = {
        "load": (sys.executable, "-c", LOAD_BOTH, str(before), str(one)),
        "compile": (*TURNOUT, "compile", str(before), "-o", str(scratch / "rendered")),
        "nothing": (*TURNOUT, "diff", str(one), str(one)),
        "one weight": (*TURNOUT, "diff", str(before), str(one)),
        "all timeouts": (*TURNOUT, "diff", str(one), str(all_)),
    }
    run(programs["compile"])
    runs: dict[str, list[Run]] = {name: [] for name in programs}
    for _ in range(rounds):
        for name, command in programs.items():
            runs[name].append(run(command))
    return Size(models, runs)


def table(sizes: list[Size]) -> Iterator[str]:
    head = ("models", "load", "compile", "nothing", "one weight", "all timeouts", "MiB")
    yield "".join(f"{name:>14}" for name in head)
    for size in sizes:
        cells = (
            f"{size.models:,}",
            f"{size.cpu('load'):.2f} s",
            *(f"{size.ratio(name):.2f} x" for name in ("compile", "nothing", "one weight", "all timeouts")),
            f"{max(found.rss for found in size.runs['one weight']):.0f}",
        )
        yield "".join(f"{cell:>14}" for cell in cells)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.diff", description=__doc__)
    parser.add_argument("--models", default="1000", help="sizes of fleets, as 10,100,1000,3000; default: 1000")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        sizes = [
            measured(models, options.rounds, Path(scratch) / str(models))
            for models in map(int, options.models.split(","))
        ]
    print("\n".join(table(sizes)))


if __name__ == "__main__":
    main()
