"""Malformed policies, and what is said of them. In tests/golden/diagnostics: `policies/` in, `diagnostics.txt` out."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from compiler import report
from compiler.environments import told
from compiler.pipeline import compile_environments

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "diagnostics"
CASES = sorted(folder.name for folder in GOLDEN.iterdir())
NEEDS_MORE_THAN_TEXT = {
    "P008": "a file of 17 MiB: test_hostile_files",
    "P009": "a link out of the folder: test_hostile_files",
    "P450": "what policy refuses in other words first: test_ownership",
}


@pytest.mark.parametrize("name", CASES)
def test_a_malformed_policy_is_told(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`UPDATE_GOLDEN=1` writes what is said now; read the diff."""
    monkeypatch.chdir(GOLDEN / name)
    root, golden = Path("policies"), GOLDEN / name / "diagnostics.txt"
    runs = list(compile_environments(root).values())
    said = report.text(told(runs), runs[0].sources, root, colour=False)
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(said, encoding="utf-8")
    assert said == golden.read_text(encoding="utf-8")


def test_every_code_of_the_compiler_is_told_in_some_case() -> None:
    told = {code for name in CASES for code in codes((GOLDEN / name / "diagnostics.txt").read_text(encoding="utf-8"))}
    assert codes_of_the_compiler() - told == set(NEEDS_MORE_THAN_TEXT)


def test_every_code_of_the_compiler_has_a_page() -> None:
    pages = {page.stem for page in (ROOT / "docs" / "errors").glob("P*.md")}
    assert codes_of_the_compiler() == pages


def codes(text: str) -> set[str]:
    return set(re.findall(r"\bP[0-9]{3}\b", text))


def codes_of_the_compiler() -> set[str]:
    return {
        code
        for module in (ROOT / "compiler").rglob("*.py")
        for code in re.findall(r'"(P[0-9]{3})"', module.read_text(encoding="utf-8"))
    }
