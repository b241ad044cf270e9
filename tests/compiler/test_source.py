"""Which files of a folder are policies, and that the order of files and documents means nothing."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from compiler import pipeline
from compiler.pipeline import compile_policies, manifests
from compiler.source import load_sources
from tests.compiler.policies import document, model

ROOT = Path(__file__).parents[2]


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder


def test_files_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    folder = tmp_path / "policies"
    for name in ("b.yaml", "a/z.yml", "a.yaml", "c/d/e.yaml"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(model())
    names = [file.name for file in load_sources(folder).files]
    assert names == ["policies/a/z.yml", "policies/a.yaml", "policies/b.yaml", "policies/c/d/e.yaml"]


def test_hidden_files_and_files_of_other_kinds_are_passed_over(tmp_path: Path) -> None:
    folder = tmp_path / "policies"
    for name in (".hidden.yaml", ".git/config.yaml", "README.md", "notes.yaml.bak", "models.yaml"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(model())
    assert [file.name for file in load_sources(folder).files] == ["policies/models.yaml"]


def test_a_link_within_the_folder_is_followed(tmp_path: Path) -> None:
    """As in a mounted ConfigMap, where `models.yaml` links into the hidden folder `..data`."""
    data = tmp_path / "policies" / "..2026_08_01"
    data.mkdir(parents=True)
    (data / "models.yaml").write_text(model())
    (tmp_path / "policies" / "models.yaml").symlink_to("..2026_08_01/models.yaml")
    sources = load_sources(tmp_path / "policies")
    assert (len(sources.files), sources.diagnostics) == (1, ())


def test_a_folder_that_is_itself_a_link_is_read(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    write(tmp_path / "real", models=model())
    (tmp_path / "policies").symlink_to("real")
    assert load_sources(tmp_path / "policies").diagnostics == ()


def test_a_place_is_named_alike_however_the_folder_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "policies"
    folder.mkdir()
    write(folder, models=model())
    seen = set()
    for here, words in [
        (tmp_path, "policies"),
        (tmp_path, "./policies/"),
        (tmp_path, str(folder)),
        (folder, "."),
        (folder, "../policies"),
        (tmp_path, "policies/models.yaml"),
    ]:
        monkeypatch.chdir(here)
        seen |= {file.name for file in load_sources(Path(words)).files}
    assert seen == {"policies/models.yaml"}


def test_files_that_have_not_changed_are_not_parsed_again(tmp_path: Path) -> None:
    write(tmp_path, a=model("a"), b=model("b"))
    before = load_sources(tmp_path)
    write(tmp_path, b=model("b", "replicas: 2"))
    after = load_sources(tmp_path, before)
    assert after.files[0] is before.files[0]
    assert after.files[1] is not before.files[1]
    assert load_sources(tmp_path) == after


def test_a_deleted_file_is_gone_from_the_sources(tmp_path: Path) -> None:
    write(tmp_path, a=model("a"), b=model("b"))
    before = load_sources(tmp_path)
    (tmp_path / "b.yaml").unlink()
    assert len(load_sources(tmp_path, before).files) == 1


@pytest.mark.parametrize("seed", range(8))
def test_order_of_files_and_documents_changes_nothing(tmp_path: Path, seed: int) -> None:
    documents = policies_of_the_project()
    chance = random.Random(seed)
    chance.shuffle(documents)
    cuts = sorted(chance.sample(range(1, len(documents)), 3))
    for number, (start, end) in enumerate(zip([0, *cuts], [*cuts, len(documents)], strict=True)):
        (tmp_path / f"{chance.random()}-{number}.yaml").write_text("\n---\n".join(documents[start:end]))
    shuffled, ordered = compile_policies(tmp_path).fleet, compile_policies(ROOT / "policies").fleet
    assert ordered is not None
    assert without_origins(shuffled) == without_origins(ordered)


def policies_of_the_project() -> list[str]:
    texts = [file.read_text() for file in sorted((ROOT / "policies").glob("*.yaml"))]
    return [part for text in texts for part in text.split("\n---\n")]


def without_origins(value: Any) -> Any:
    if hasattr(value, "__dataclass_fields__"):
        names = [name for name in value.__dataclass_fields__ if not name.endswith(("origin", "origins"))]
        return {name: without_origins(getattr(value, name)) for name in names}
    return [without_origins(item) for item in value] if isinstance(value, tuple) else value


def test_diagnostics_come_by_place_and_each_once(tmp_path: Path) -> None:
    platform = document("Platform", "platform", "defaults: {image: ghcr.io/x/y:v1}\nimages: {registries: [quay.io]}")
    write(
        tmp_path,
        b=model("b", "replica: 1"),
        a=platform,
        c="---\n".join([model("c"), model("d")]),
        d=model("e", "zz: 1"),
    )
    found = compile_policies(tmp_path).diagnostics
    assert [d.code for d in found] == ["P111", "P101", "P101"]
    assert [d.position for d in found] == sorted(d.position for d in found)


def test_a_fleet_comes_only_without_errors(tmp_path: Path) -> None:
    write(tmp_path, a=model("a"), b=model("b", "replica: 1"), c=document("Gateway", "public", "models: [b]"))
    assert compile_policies(tmp_path).fleet is None


def test_emitters_are_asked_what_they_cannot_express(tmp_path: Path) -> None:
    write(tmp_path, a=model("a", "framework: triton\nmodelPath: s3://models/b\nconfig: {quantization: awq}"))
    compiled = compile_policies(tmp_path)
    assert [d.code for d in compiled.diagnostics] == ["P307"]
    assert compiled.fleet is None


def test_the_policies_of_the_project_make_a_fleet_and_objects() -> None:
    compiled = pipeline.compile_policies(ROOT / "policies")
    assert compiled.fleet is not None
    assert len(compiled.fleet.models) == 7
    assert manifests(compiled.fleet)
