"""What the docs say is what the compiler does."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from compiler import report
from compiler.diagnostics import Severity
from compiler.kinds import KINDS
from compiler.pipeline import compile_policies
from tests.reference import with_table

ROOT = Path(__file__).parents[1]
ERRORS = sorted((ROOT / "docs" / "errors").glob("*.md"))
UPDATE = bool(os.environ.get("UPDATE_GOLDEN"))

NO_EXAMPLE = {"P002", "P008", "P009", "P010", "P011", "P450", "P453"}
NO_EXAMPLE |= {"X101", "X102", "X103", "X105", "X107", "X109", "X110"}
"""What no text can show: bytes, sizes, links, folders, that there is nothing, what a server is told, and faults of our
own."""


def yaml_blocks(page: Path) -> Iterator[str]:
    yield from re.findall(r"^```yaml\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def examples() -> list[object]:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [
        pytest.param(text, id=f"{page.relative_to(ROOT)}-{number}")
        for page in pages
        if page not in ERRORS
        for number, text in enumerate(yaml_blocks(page), 1)
    ]


@pytest.mark.parametrize("text", examples())
def test_an_example_is_a_policy_without_errors(text: str, tmp_path: Path) -> None:
    (tmp_path / "models.yaml").write_text(text)
    found = compile_policies(tmp_path).diagnostics
    assert [d for d in found if d.severity is Severity.ERROR] == []


@pytest.mark.parametrize("page", ERRORS, ids=lambda page: page.stem)
def test_a_page_of_a_code_shows_what_gives_it(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`UPDATE_GOLDEN=1` writes what is said now into the page; read the diff."""
    blocks = list(yaml_blocks(page))
    if page.stem in NO_EXAMPLE:
        assert blocks == []
        return
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "models.yaml").write_text(blocks[0])
    compiled = compile_policies(Path("policies"))
    about = [d for d in compiled.diagnostics if d.code == page.stem]
    said = report.text(about, compiled.sources, Path("policies"), colour=False)
    text = page.read_text(encoding="utf-8")
    shown = re.compile(r"^```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    if UPDATE:
        page.write_text(shown.sub(lambda _: f"```text\n{said}```", text), encoding="utf-8")
    found = shown.search(page.read_text(encoding="utf-8"))
    assert found is not None
    assert about
    assert found[1] == said


@pytest.mark.parametrize("page", ERRORS, ids=lambda page: page.stem)
def test_a_page_of_a_code_says_what_to_do_and_why(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"# {page.stem}: ")
    assert "\n## What to do\n" in text
    assert "\n## Why\n" in text
    assert not re.search(r"\b[BS][0-9]{1,3}\b(?!:)", text.replace("S3", ""))


@pytest.mark.parametrize("kind", [kind.__name__ for kind in KINDS])
def test_the_table_of_a_kind_is_that_of_its_schema(kind: str) -> None:
    """`UPDATE_GOLDEN=1` writes the table anew; read the diff."""
    page = ROOT / "docs" / "policies" / f"{kind}.md"
    text = page.read_text(encoding="utf-8")
    if UPDATE:
        page.write_text(with_table(text, kind), encoding="utf-8")
    assert page.read_text(encoding="utf-8") == with_table(text, kind)
    assert list(yaml_blocks(page))


def test_every_link_within_the_docs_leads_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)}: {target}"
