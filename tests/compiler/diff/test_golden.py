"""What `turnout diff` says of five edits: tests/golden/diff, policies and requests in, text, JSON and Markdown out."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from compiler.diff.changes import Changes, Side, changes
from compiler.diff.document import as_json
from compiler.diff.markdown import as_markdown
from compiler.diff.profile import read_profile
from compiler.diff.text import as_text
from compiler.pipeline import compile_policies, objects

GOLDEN = Path(__file__).parents[2] / "golden" / "diff"
CASES = sorted(folder.name for folder in GOLDEN.iterdir() if (folder / "after").is_dir())


def side(policies: Path) -> Side:
    compiled = compile_policies(policies)
    assert compiled.fleet is not None, compiled.diagnostics
    return Side(compiled.fleet, objects(compiled.fleet, "", compiled.kept))


def edited(case: str, folder: Path) -> Path:
    """The policies of before with the files of the case in their places."""
    policies = folder / "policies"
    shutil.copytree(GOLDEN / "before", policies)
    shutil.copytree(GOLDEN / case / "after", policies, dirs_exist_ok=True)
    return policies


def said(case: str, folder: Path) -> Changes:
    before = folder / "before" / "policies"
    shutil.copytree(GOLDEN / "before", before)
    with (GOLDEN / "requests.jsonl").open() as lines:
        profile = read_profile(lines, "requests.jsonl")
    return changes(side(before), side(edited(case, folder)), profile)


@pytest.mark.parametrize("case", CASES)
def test_an_edit_is_told_as_the_golden_files_say(case: str, tmp_path: Path) -> None:
    """`UPDATE_GOLDEN=1` writes what is said now; read the diff."""
    found = said(case, tmp_path)
    for name, text in (
        ("diff.txt", as_text(found, f"main → {case}", colour=False)),
        ("diff.json", as_json(found, "main", case)),
        ("diff.md", as_markdown(found, f"main → {case}")),
    ):
        golden = GOLDEN / case / name
        if os.environ.get("UPDATE_GOLDEN"):
            golden.write_text(text, encoding="utf-8")
        assert text == golden.read_text(encoding="utf-8")
