"""How long `turnout check` and `turnout compile` take, as ratios to loading the same YAML and doing nothing with it.

Every program is a process of its own, its start included, and the fastest of several runs counts. Seconds depend on
the machine; the ratios hardly do.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TURNOUT = (sys.executable, "-m", "xds.cli")

PLAIN_LOAD = """
import pathlib, sys, yaml
for path in sorted(pathlib.Path(sys.argv[1]).glob('*.yaml')):
    list(yaml.load_all(path.read_text(), Loader=yaml.CSafeLoader))
"""

MODEL = """\
apiVersion: turnout.dev/v1
kind: InferenceModel
metadata: {{name: model-{number}, labels: {{team: team-{team}}}}}
spec:
  modelName: example/model-{number}-7b
  modelPath: s3://models/model-{number}
  resources: {{gpuType: a100-80g, gpuCount: 1, cpu: 8, memory: 32Gi}}
  config: {{maxSeqLen: 4096, maxBatchSize: 64, dtype: bfloat16}}
  capabilities: [chat, completion]
  versions:
    - {{name: "1.0", weight: 90, replicas: 3}}
    - {{name: "1.1", weight: 10, replicas: 1}}
  traffic:
    healthCheck: {{interval: 5s, timeout: 2s, failureThreshold: 2}}
    retries: {{attempts: 3}}
    timeouts: {{stream: {{firstByte: 30s, idle: 2m}}}}
"""

PER_FILE = 20
"""Models: as people group them by team."""


def write_fleet(folder: Path, models: int) -> int:
    """A fleet of so many models, each with two versions; how many bytes of YAML it is."""
    folder.mkdir()
    for first in range(0, models, PER_FILE):
        numbers = range(first, min(first + PER_FILE, models))
        documents = (MODEL.format(number=number, team=first // PER_FILE) for number in numbers)
        (folder / f"team-{first // PER_FILE:04}.yaml").write_text("---\n".join(documents))
    return sum(path.stat().st_size for path in folder.iterdir())


def fastest(command: tuple[str, ...], runs: int) -> float:
    """Seconds. Raises CalledProcessError when the command fails."""
    times = []
    for _ in range(runs):
        began = time.perf_counter()
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - began)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python bench/compile.py", description=__doc__)
    parser.add_argument("--models", type=int, default=1_000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        policies, rendered = Path(scratch, "policies"), Path(scratch, "rendered")
        size = write_fleet(policies, options.models)
        programs = {
            "plain load": (sys.executable, "-c", PLAIN_LOAD, str(policies)),
            "turnout check": (*TURNOUT, "check", str(policies)),
            "turnout compile": (*TURNOUT, "compile", str(policies), "-o", str(rendered)),
            "… --check": (*TURNOUT, "compile", str(policies), "-o", str(rendered), "--check"),
        }
        print(f"{options.models:,} models, {size / 1e6:.2f} MB of YAML, fastest of {options.runs} runs")
        plain = 0.0
        for name, command in programs.items():
            seconds = fastest(command, options.runs)
            plain = plain or seconds
            print(f"{name:<16}{seconds:8.2f} s{seconds / plain:8.2f} x", flush=True)


if __name__ == "__main__":
    main()
