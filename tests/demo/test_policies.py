"""A scratch copy has ports of its own, and edits change one value and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from demo.__main__ import POLICIES
from demo.policies import Policies, scratch_copy

BLOCK_STYLE = """\
apiVersion: turnout.dev/v1
kind: InferenceModel
metadata: {name: other}
spec: {modelName: x/y, endpoints: [{address: 127.0.0.1, port: 9000}]}
---
# Kept, as is the layout.
apiVersion: turnout.dev/v1
kind: InferenceModel
metadata:
  name: bloom
spec:
  modelName: bigscience/bloom
  versions:
    - name: "1"
      weight: 90   # weight: 90
    - {name: "2",   weight:   10}
"""


def test_each_endpoint_of_a_copy_gets_a_port_of_its_own(tmp_path: Path) -> None:
    instances = scratch_copy(POLICIES, tmp_path / "copy").instances()
    assert len({instance.port for instance in instances}) == len(instances) == 9
    assert not {instance.port for instance in instances} & {i.port for i in Policies(POLICIES).instances()}


def test_a_copy_differs_from_its_source_in_ports_alone(tmp_path: Path) -> None:
    copied = scratch_copy(POLICIES, tmp_path / "copy")
    for source in POLICIES.iterdir():
        lines = zip(
            source.read_text().splitlines(), (copied.folder / source.name).read_text().splitlines(), strict=True
        )
        assert all("port:" in before for before, after in lines if before != after)


def test_instances_know_their_version_tier_and_zone(tmp_path: Path) -> None:
    instances = scratch_copy(POLICIES, tmp_path / "copy").instances()
    assert [(i.model, i.version, i.tier, i.zone) for i in instances] == [
        ("llama-70b", "1.0", "active", "az-1"),
        ("llama-70b", "1.0", "active", "az-2"),
        ("llama-70b", "1.1", "active", "az-1"),
        ("llama-70b", "1.2", "active", "az-2"),
        ("llama-2-7b", "1", "active", "az-1"),
        ("llama-2-7b", "1", "active", "az-2"),
        ("llama-2-7b", "1", "hot", "az-3"),
        ("llama-2-7b", "1", "hot", "az-3"),
        ("mistral-7b", "1", "active", "az-1"),
    ]


def test_an_edit_of_weights_changes_those_numbers_only(tmp_path: Path) -> None:
    (tmp_path / "policies").mkdir()
    file = tmp_path / "policies" / "models.yaml"
    file.write_text(BLOCK_STYLE)
    Policies(file.parent).set_weights("bloom", {"1": 5, "2": 95})
    expected = BLOCK_STYLE.replace("weight: 90   #", "weight: 5   #").replace("weight:   10", "weight:   95")
    assert file.read_text() == expected
    assert [path.name for path in tmp_path.iterdir()] == ["policies"]


def test_an_edit_of_a_version_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        scratch_copy(POLICIES, tmp_path / "copy").set_weights("llama-70b", {"9": 100})
