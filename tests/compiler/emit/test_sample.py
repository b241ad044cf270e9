"""The worked fleet that the policy language is specified with: it compiles, and an API server takes all of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from compiler.pipeline import compile_environments, objects
from tests.manifests.schemas import CRDS, validate

SAMPLE = CRDS.parent / "sample"


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    if not SAMPLE.is_dir():
        pytest.skip(f"no {SAMPLE}: the sample is not compiled")
    # Files beside each other: `minimal` is a fleet of its own.
    shutil.copytree(SAMPLE, tmp_path / "policies", ignore=shutil.ignore_patterns("minimal"))
    return tmp_path / "policies"


def test_the_sample_compiles_and_every_object_of_it_is_valid(sample: Path) -> None:
    found = compile_environments(sample)
    assert [str(each) for compiled in found.values() for each in compiled.diagnostics if each.severity == "error"] == []
    for name, compiled in found.items():
        assert compiled.fleet is not None
        made = objects(compiled.fleet, name, compiled.kept)
        assert {item.key: said for item in made if (said := validate(item.body))} == {}
        assert {"DaemonSet", "Queue", "VirtualService", "Application"} <= {item.body["kind"] for item in made}
