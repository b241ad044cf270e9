"""`rendered/` is what the policies say, byte for byte, whoever compiles them and where."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.manifests.schemas import validate

ROOT = Path(__file__).parent.parent
POLICIES, RENDERED = ROOT / "policies", ROOT / "rendered"


def turnout(*arguments: str | Path, where: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "xds.cli", *map(str, arguments)]
    settings = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(command, cwd=where, env=settings, capture_output=True, text=True, check=False, timeout=120)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_the_committed_files_are_what_the_policies_say() -> None:
    checked = turnout("compile", "policies", "-o", "rendered", "--check")
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("file", sorted(RENDERED.rglob("*.yaml")), ids=lambda file: str(file.relative_to(RENDERED)))
def test_every_committed_object_passes_its_schema(file: Path) -> None:
    documents = list(yaml.safe_load_all(file.read_text()))
    assert documents
    problems = {d["metadata"]["name"]: validate(d) for d in documents if d["kind"] != "Kustomization"}
    assert not any(problems.values()), problems


def test_the_index_names_the_policy_line_of_every_object() -> None:
    index = json.loads((RENDERED / "index.json").read_text())
    named = {(row["object"], row["file"]) for row in index}
    rendered = {
        (named_by(d), str(name))
        for name in (file.relative_to(RENDERED) for file in RENDERED.rglob("*/*.yaml"))
        for d in yaml.safe_load_all((RENDERED / name).read_text())
        if d["kind"] != "Kustomization"
    }
    assert named == rendered
    for row in index:
        file, line = row["origin"].rsplit(":", 1)
        assert re.search(
            r"\b(name|autoscaling|gpuQuota|argocd|controlServer):",
            (ROOT / file).read_text().splitlines()[int(line) - 1],
        ), row


def named_by(body: Mapping[str, Any]) -> str:
    """Objects of the whole cluster have no namespace."""
    metadata = body["metadata"]
    namespace = [metadata["namespace"]] if "namespace" in metadata else []
    return "/".join((body["apiVersion"], body["kind"], *namespace, metadata["name"]))


ENVIRONMENTS = [
    {"PYTHONHASHSEED": "0", "TZ": "UTC", "LC_ALL": "C"},
    {"PYTHONHASHSEED": "1", "TZ": "Asia/Shanghai", "LC_ALL": "C.UTF-8"},
    {"PYTHONHASHSEED": "4711", "TZ": "America/St_Johns", "LC_ALL": "POSIX", "PYTHONUTF8": "0"},
]


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda environment: environment["TZ"])
def test_hash_seed_time_zone_locale_and_order_of_files_change_no_byte(
    environment: dict[str, str], tmp_path: Path
) -> None:
    copied = tmp_path / "policies"
    copied.mkdir()
    files = sorted(POLICIES.glob("*.yaml"))
    random.Random(environment["TZ"]).shuffle(files)
    for file in files:
        shutil.copy(file, copied / file.name)
    compiled = turnout("compile", "policies", "-o", "out", where=tmp_path, **environment)
    assert compiled.returncode == 0, compiled.stdout + compiled.stderr
    assert contents(tmp_path / "out") == contents(RENDERED)


def test_a_model_that_leaves_the_policies_takes_its_objects_along(tmp_path: Path) -> None:
    policies = shutil.copytree(POLICIES, tmp_path / "policies")
    rendered = shutil.copytree(RENDERED, tmp_path / "rendered")
    file = policies / "models.yaml"
    kept = [d for d in file.read_text().split("\n---\n") if "metadata: {name: qwen2.5-72b}" not in d]
    file.write_text("\n---\n".join(kept) + "\n")
    gateways = policies / "gateways.yaml"
    gateways.write_text(gateways.read_text().replace("[qwen2.5-72b, codellama-34b]", "[codellama-34b]"))
    (rendered / "NOTES.md").write_text("somebody's own\n")

    compiled = turnout("compile", "policies", "-o", "rendered", where=tmp_path)

    assert compiled.returncode == 0, compiled.stdout + compiled.stderr
    left = contents(rendered)
    assert "models/qwen2-5-72b.yaml" in contents(RENDERED)
    assert "models/qwen2-5-72b.yaml" not in left
    assert not [name for name, content in left.items() if b"qwen2" in content]
    assert left["NOTES.md"] == b"somebody's own\n"


def test_broken_policies_change_nothing_on_disk(tmp_path: Path) -> None:
    policies = shutil.copytree(POLICIES, tmp_path / "policies")
    rendered = shutil.copytree(RENDERED, tmp_path / "rendered")
    file = policies / "models.yaml"
    file.write_text(file.read_text().replace("weight: 90", "weight: 91").replace("maxReplicas: 3", "maxReplicas: 4"))

    compiled = turnout("compile", "policies", "-o", "rendered", where=tmp_path)

    assert compiled.returncode == 1
    assert "P202" in compiled.stderr
    assert contents(rendered) == contents(RENDERED)


def test_check_shows_what_is_stale_and_writes_nothing(tmp_path: Path) -> None:
    policies = shutil.copytree(POLICIES, tmp_path / "policies")
    rendered = shutil.copytree(RENDERED, tmp_path / "rendered")
    file = policies / "models.yaml"
    file.write_text(file.read_text().replace("maxReplicas: 3", "maxReplicas: 4"))

    checked = turnout("compile", "policies", "-o", "rendered", "--check", where=tmp_path)

    assert checked.returncode == 1
    assert "-  maxReplicas: 3" in checked.stdout
    assert "+  maxReplicas: 4" in checked.stdout
    assert contents(rendered) == contents(RENDERED)


def test_a_file_of_somebody_else_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    foreign = tmp_path / "out" / "kustomization.yaml"
    foreign.write_text("resources: [mine.yaml]\n")

    compiled = turnout("compile", POLICIES, "-o", "out", where=tmp_path)

    assert compiled.returncode == 1
    assert "kustomization.yaml" in compiled.stderr
    assert contents(tmp_path / "out") == {"kustomization.yaml": b"resources: [mine.yaml]\n"}


@pytest.mark.parametrize("output", ["policies", "policies/rendered"])
def test_nothing_is_rendered_into_the_policies(output: str, tmp_path: Path) -> None:
    policies = shutil.copytree(POLICIES, tmp_path / "policies")
    compiled = turnout("compile", "policies", "-o", output, where=tmp_path)
    assert compiled.returncode == 2
    assert contents(policies) == contents(POLICIES)
