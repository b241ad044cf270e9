"""What the compiler costs for a whole fleet, and for one edit of it, against programs that do a part of the work.

Every program is a process of its own, its start included; in each round all of them run in turn. Peers:

- *plain load*: PyYAML's C loader reads the policies, and nothing is done with them.
- *kustomize*: `kubectl kustomize` puts together the objects that the compiler has rendered, one file each, as is the
  custom without it. It is quadratic, so it runs up to --kustomize models only.

Each time the compiler fills a folder that is new, and nothing is removed before the end: ext4 passes over the inodes of
files that were removed some seconds ago one by one, so that a new file beside them takes up to a millisecond. Where
others remove files in the folder for temporary files, set TMPDIR to another.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.fleets import PolicyFolder
from compiler.render import INDEX

ROOT = Path(__file__).resolve().parent.parent
TURNOUT = (sys.executable, "-m", "xds.cli")
AS_INSTALLED = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
"""With the bytecode of all modules at hand, which an installation and a first run leave; its absence costs 0.1 s."""
WATCHES = 5
"""Edits of a folder that is watched."""

PLAIN_LOAD = """
import pathlib, sys, yaml
for path in sorted(pathlib.Path(sys.argv[1]).glob('*.yaml')):
    list(yaml.load_all(path.read_text(), Loader=yaml.CSafeLoader))
"""


@dataclass(frozen=True, slots=True)
class Run:
    """Of one process."""

    seconds: float
    cpu: float
    """Seconds, in user and system mode."""
    rss: float
    """MiB at the most."""


def run(command: tuple[str, ...]) -> Run:
    """Raises CalledProcessError when the command fails."""
    began = time.perf_counter()
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, cwd=ROOT, env=AS_INSTALLED, stdout=quiet, stderr=quiet) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - began
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Run(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


@dataclass(frozen=True, slots=True)
class Size:
    """A fleet of so many models, and what each program needs for it."""

    models: int
    policies: int
    """Bytes."""
    objects: int
    runs: Mapping[str, list[Run]]
    edits: list[float]
    """Seconds from the save of an edit until a compiler that watches has written what follows from it."""

    def seconds(self, program: str) -> float:
        return min(found.seconds for found in self.runs[program])

    def ratio(self, program: str, peer: str) -> float:
        """Of rounds, the median: what both met in one round they met alike."""
        both = zip(self.runs[program], self.runs[peer], strict=True)
        return statistics.median(ours.seconds / theirs.seconds for ours, theirs in both)


def measured(models: int, rounds: int, kustomize: bool, scratch: Path) -> Size:
    folder, rendered, single = scratch / "policies", scratch / "rendered", scratch / "objects"
    scratch.mkdir()
    fleet = PolicyFolder(folder, models, endpoints=0, scaled=True)
    compile_ = (*TURNOUT, "compile", str(folder), "-o")
    programs = {
        "plain load": (sys.executable, "-c", PLAIN_LOAD, str(folder)),
        "check": (*TURNOUT, "check", str(folder)),
        "compile": compile_,
        "compile again": (*compile_, str(rendered)),
    }
    run(programs["compile again"])
    if kustomize:
        _one_file_each(rendered, single)
        programs["kustomize"] = ("kubectl", "kustomize", str(single))
    runs: dict[str, list[Run]] = {name: [] for name in programs}
    for number in range(rounds):
        for name, command in programs.items():
            into = (str(scratch / f"new-{number}"),) if name == "compile" else ()
            runs[name].append(run((*command, *into)))
    size = sum(path.stat().st_size for path in folder.iterdir())
    objects = len(json.loads((rendered / INDEX).read_text()))
    return Size(models, size, objects, runs, list(_edits(fleet, (*programs["compile again"], "--watch"))))


def _one_file_each(rendered: Path, folder: Path) -> None:
    folder.mkdir()
    names = []
    for path in sorted(rendered.rglob("*.yaml")):
        if path.name == "kustomization.yaml":
            continue
        for number, text in enumerate(path.read_text().split("\n---\n")):
            names.append(f"{path.stem}-{number}.yaml")
            (folder / names[-1]).write_text(text)
    (folder / "kustomization.yaml").write_text("resources:\n" + "".join(f"- {name}\n" for name in names))


def _edits(fleet: PolicyFolder, command: tuple[str, ...]) -> Iterator[float]:
    pipe, quiet = subprocess.PIPE, subprocess.DEVNULL
    with subprocess.Popen(command, cwd=ROOT, env=AS_INSTALLED, stdout=pipe, stderr=quiet, text=True) as process:
        assert process.stdout is not None
        try:
            _until_written(process)
            for number in range(WATCHES):
                began = time.perf_counter()
                fleet.shift_weight(number)
                _until_written(process)
                yield time.perf_counter() - began
        finally:
            process.terminate()


def _until_written(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if re.search(r"files written|files, none to write", line):
            return
    raise RuntimeError(f"turnout compile --watch ended with {process.wait()}")


def table(sizes: list[Size]) -> Iterator[str]:
    head = ("models", "objects", "policies", "load", "check", "compile", "again", "MiB", "kustomize", "edit", "of full")
    yield "".join(f"{name:>10}" for name in head)
    for size in sizes:
        compile_ = size.seconds("compile")
        edit = statistics.median(size.edits)
        cells = (
            f"{size.models:,}",
            f"{size.objects:,}",
            f"{size.policies / 1e6:.2f} MB",
            f"{size.seconds('plain load'):.2f} s",
            f"{size.ratio('check', 'plain load'):.2f} x",
            f"{size.ratio('compile', 'plain load'):.2f} x",
            f"{size.ratio('compile again', 'plain load'):.2f} x",
            f"{max(found.rss for found in size.runs['compile']):.0f}",
            f"{size.seconds('kustomize'):.1f} s" if "kustomize" in size.runs else "-",
            f"{edit * 1000:.0f} ms",
            f"{edit / compile_:.3f}",
        )
        yield "".join(f"{cell:>10}" for cell in cells)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.compile", description=__doc__)
    parser.add_argument("--models", default="1000", help="sizes of fleets, as 10,100,1000,3000; default: 1000")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kustomize", type=int, default=100, metavar="MODELS", help="the largest fleet for kustomize")
    options = parser.parse_args()
    kubectl = shutil.which("kubectl", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    sizes = []
    with tempfile.TemporaryDirectory() as scratch:
        for models in map(int, options.models.split(",")):
            compared = kubectl is not None and models <= options.kustomize
            sizes.append(measured(models, options.rounds, compared, Path(scratch) / str(models)))
            print(f"{models:,} models measured", file=sys.stderr)
    print("\n".join(table(sizes)))


if __name__ == "__main__":
    main()
