"""An edit of the text alone is no change: nothing at all is told of it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.diff.changes import Changes, Side, changes
from compiler.diff.summary import NOTHING, headline
from compiler.diff.text import as_text
from compiler.pipeline import compile_policies, objects
from tests.compiler.generated import Document, fleets, text

ROOT = Path(__file__).parents[3]
Rewriting = Callable[[list[Document]], dict[str, str]]
"""Documents to files."""


def reformatted(documents: list[Document]) -> dict[str, str]:
    return {"all.yaml": yaml.safe_dump_all(documents, sort_keys=True, default_flow_style=True, width=40)}


def commented(documents: list[Document]) -> dict[str, str]:
    lines = text(documents).splitlines()
    return {"all.yaml": "# About these policies.\n\n" + "".join(f"{line}   # why\n" for line in lines if line)}


def in_another_order(documents: list[Document]) -> dict[str, str]:
    return {"all.yaml": text([*reversed(documents)])}


def in_many_files(documents: list[Document]) -> dict[str, str]:
    shuffled = random.Random(0).sample(documents, len(documents))
    return {f"some/{number}.yaml": text([document]) for number, document in enumerate(shuffled)}


def as_json(documents: list[Document]) -> dict[str, str]:
    return {f"{number}.yaml": json.dumps(document, indent=1) for number, document in enumerate(documents)}


REWRITINGS = (reformatted, commented, in_another_order, in_many_files, as_json)


def side(files: dict[str, str], folder: Path) -> Side | None:
    """None for policies that are not valid."""
    root = folder / "policies"
    for name, content in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    compiled = compile_policies(root)
    return None if compiled.fleet is None else Side(compiled.fleet, objects(compiled.fleet, "", compiled.kept))


def told(documents: list[Document], rewriting: Rewriting, folder: Path) -> Changes | None:
    before = side({"all.yaml": text(documents)}, folder / "before")
    after = side(rewriting(documents), folder / "after")
    return None if before is None or after is None else changes(before, after)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(fleets(), st.sampled_from(REWRITINGS))
def test_the_same_policies_in_other_words_change_nothing(
    tmp_path_factory: pytest.TempPathFactory, documents: list[Document], rewriting: Rewriting
) -> None:
    found = told(documents, rewriting, tmp_path_factory.mktemp("policies"))
    if found is not None:
        assert not found.any, as_text(found, "", colour=False)
        assert found.steps == ()
        assert headline(found) == NOTHING


@pytest.mark.parametrize("rewriting", REWRITINGS)
def test_the_sample_fleet_in_other_words_changes_nothing(rewriting: Rewriting, tmp_path: Path) -> None:
    files = sorted((ROOT / "policies").glob("*.yaml"))
    documents = [document for file in files for document in yaml.safe_load_all(file.read_text())]
    found = told(documents, rewriting, tmp_path)
    assert found is not None
    assert not found.any, as_text(found, "", colour=False)
