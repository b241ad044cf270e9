"""The effective policy of a model: tests/golden/show, `policies/` in, `effective.txt` and `effective.json` out."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from compiler.diagnostics import Position
from compiler.kinds import InferenceModel
from compiler.link import settings
from compiler.pipeline import Compiled, compile_policies
from compiler.show import Value, as_json, as_text, model_values
from tests.compiler.policies import document, model

GOLDEN = Path(__file__).parents[1] / "golden" / "show"
ROOT = Path("policies")


def values(compiled: Compiled, name: str = "chat") -> list[Value]:
    policy = compiled.policies.of(InferenceModel)[name]
    return model_values(policy, compiled.policies, settings(compiled.policies, []), ROOT)


@pytest.mark.parametrize("case", sorted(folder.name for folder in GOLDEN.iterdir()))
def test_an_effective_policy_is_the_golden_one(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`UPDATE_GOLDEN=1` writes what it is now; read the diff."""
    monkeypatch.chdir(GOLDEN / case)
    found = values(compile_policies(ROOT))
    for name, said in (("effective.txt", as_text(found)), ("effective.json", as_json("chat", found))):
        golden = GOLDEN / case / name
        if os.environ.get("UPDATE_GOLDEN"):
            golden.write_text(said, encoding="utf-8")
        assert said == golden.read_text(encoding="utf-8")


def test_the_only_pool_is_shown_as_a_default(tmp_path: Path) -> None:
    only = document("GPUPool", "shared", "nodes: [{name: a, zone: az-1, gpuCount: 4, cpu: 64, memory: 512Gi}]")

    def pool(*documents: str) -> list[tuple[object, str]]:
        (tmp_path / "x.yaml").write_text("---\n".join(documents))
        found = values(compile_policies(tmp_path))
        return [(value.value, value.origin) for value in found if value.loc == ("spec", "pool")]

    assert pool(model(), only) == [("shared", "default")]
    assert pool(model(spec="resources: {gpuCount: 0}"), only) == []
    assert pool(model()) == []
    ((name, origin),) = pool(model(spec="pool: shared"), only)
    assert name == "shared"
    assert origin != "default"


def test_what_is_shown_is_a_policy_that_means_the_same(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    for folder in (before, after):
        folder.mkdir()
    recovery = document("DisasterRecovery", "recovery", "models: [{name: chat, hotStandby: 1}]")
    platform = document("Platform", "platform", "defaults: {config: {maxSeqLen: 1024}, replicas: 3}")
    spec = "aliases: [gpt]\ntraffic: {loadBalancing: {strategy: consistent_hash, hashKey: {cookie: user}}}"
    (before / "x.yaml").write_text("---\n".join([model(spec=spec), platform, recovery]))
    first = compile_policies(before)
    shown = "apiVersion: turnout.dev/v1\nkind: InferenceModel\n" + as_text(values(first))
    (after / "x.yaml").write_text("---\n".join([shown, recovery]))
    second = compile_policies(after)
    assert first.fleet is not None
    assert second.fleet is not None
    assert without_places(second) == without_places(first)


def without_places(compiled: Compiled) -> object:
    assert compiled.fleet is not None
    (found,) = compiled.fleet.models
    nowhere = Position("", 0, 0)
    versions = tuple(replace(version, origin=nowhere, standby_origin=nowhere) for version in found.versions)
    return replace(found, versions=versions, origin=nowhere)


def test_a_value_of_platform_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ROOT.mkdir()
    (ROOT / "x.yaml").write_text("---\n".join([model(), document("Platform", "platform", "defaults: {replicas: 3}")]))
    (replicas,) = [value for value in values(compile_policies(ROOT)) if value.loc == ("spec", "replicas")]
    assert (replicas.value, replicas.origin) == (3, "policies/x.yaml:11:24 Platform.defaults")


def test_a_model_can_be_shown_while_another_is_broken(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("---\n".join([model(), model("b", "replica: 2")]))
    compiled = compile_policies(tmp_path)
    assert compiled.fleet is None
    assert values(compiled)


def test_a_model_whose_gpu_is_unknown_can_be_shown(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(model(spec="resources: {gpuType: mi300x}"))
    assert values(compile_policies(tmp_path))


def test_a_model_whose_weights_are_wrong_can_be_shown(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(model(spec='versions: [{name: "1", weight: 10}, {name: "2"}]'))
    assert values(compile_policies(tmp_path))
