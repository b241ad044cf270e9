"""Diagnostics as text, JSON and workflow commands: tests/golden/diagnostics/all-problems-in-one-run."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from compiler import report
from compiler.diagnostics import Diagnostic, Position, Severity, error, info, warning
from compiler.pipeline import compile_policies
from compiler.source import SourceFile, Sources

GOLDEN = Path(__file__).parents[1] / "golden" / "diagnostics" / "all-problems-in-one-run"
ROOT = Path("policies")


@pytest.mark.parametrize("form", ["text-in-colour", "json", "github"])
def test_a_report_is_the_golden_one(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`UPDATE_GOLDEN=1` writes what it is now; read the diff."""
    monkeypatch.chdir(GOLDEN)
    compiled = compile_policies(ROOT)
    said = {
        "text-in-colour": lambda: report.text(compiled.diagnostics, compiled.sources, ROOT, colour=True),
        "json": lambda: report.as_json(compiled.diagnostics, ROOT),
        "github": lambda: report.github(compiled.diagnostics, ROOT),
    }[form]()
    golden = GOLDEN / f"diagnostics.{form}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(said, encoding="utf-8")
    assert said == golden.read_text(encoding="utf-8")


def shown(line: str, column: int) -> tuple[str, str]:
    """The line of a finding and the line of its mark, without their margins."""
    sources = Sources((SourceFile("policies/x.yaml", "", line, (), ()),))
    text = report.text([error("P999", Position("policies/x.yaml", 1, column), "wrong")], sources, ROOT, colour=False)
    _, above, below = text.splitlines()
    return above.removeprefix("1 | "), below.removeprefix("  | ")


def test_the_mark_stands_under_the_value() -> None:
    assert shown("replicas: two", 11) == ("replicas: two", " " * 10 + "^")


def test_a_tab_is_one_column() -> None:
    assert shown("replicas:\ttwo", 11) == ("replicas: two", " " * 10 + "^")


def test_the_mark_goes_two_cells_for_a_wide_character() -> None:
    above, below = shown("owner: 模型 🚀 x", 13)
    assert above[12] == "x"
    assert below == " " * 15 + "^"


def test_the_mark_goes_no_cell_for_an_accent_of_its_own() -> None:
    _, below = shown("ne\u0301e: x", 6)
    assert below == " " * 4 + "^"


def test_of_a_long_line_the_part_around_the_value_is_shown() -> None:
    above, below = shown("a" * 500 + "X" + "b" * 500, 501)
    assert above[below.index("^")] == "X"
    assert len(above) <= 120


def test_signs_that_command_a_terminal_are_not_printed() -> None:
    above, _ = shown("a: \x1b[2J\x07", 1)
    assert "\x1b" not in above
    finding = error("P999", Position("policies/\x1b.yaml", 0, 0), "a\x1b[31m\nb", "c\r")
    assert report.text([finding], Sources(()), ROOT, colour=False).replace("\n", "").isprintable()


def test_a_file_as_a_whole_has_no_line() -> None:
    finding = error("P008", Position("policies/x.yaml", 0, 0), "too large", "several files")
    assert (
        report.text([finding], Sources(()), ROOT, colour=False)
        == "policies/x.yaml: P008 too large\n  = hint: several files\n"
    )


def test_more_than_anybody_reads_is_counted() -> None:
    findings = [error("P999", Position("policies/x.yaml", n, 1), "wrong") for n in range(1, 1_501)]
    text = report.text(findings, Sources(()), ROOT, colour=False)
    assert text.count("P999") == 200
    assert text.endswith("… and 1,300 more; --format json lists them all\n")
    assert len(json.loads(report.as_json(findings, ROOT))["diagnostics"]) == 1_500


def test_a_warning_says_so_and_an_error_needs_not() -> None:
    place = Position("policies/x.yaml", 0, 0)
    text = report.text(
        [error("P1", place, "a"), warning("P2", place, "b"), info("P3", place, "c")], Sources(()), ROOT, False
    )
    assert [line.partition(": ")[2] for line in text.splitlines()] == ["P1 a", "P2 warning: b", "P3 info: c"]


@pytest.mark.parametrize(
    ("here", "words", "file"),
    [
        (".", "policies", "policies/x.yaml"),
        (".", "./policies/", "policies/x.yaml"),
        ("policies", ".", "x.yaml"),
        ("policies", "..", "../policies/x.yaml"),
        ("policies", "../policies", "../policies/x.yaml"),
        ("other", "../other/../policies", "../policies/x.yaml"),
        (".", "policies/x.yaml", "policies/x.yaml"),
        ("policies", "x.yaml", "x.yaml"),
    ],
)
def test_a_place_can_be_opened_from_the_working_folder(
    here: str, words: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("policies", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "policies" / "x.yaml").write_text("- 1\n")
    monkeypatch.chdir(tmp_path / here)
    root = Path(words)
    (finding,) = compile_policies(root).diagnostics
    assert report.shown(finding.position, root) == f"{file}:1:1"
    assert report.document(finding, root)["file"] == file


def test_an_absolute_folder_gives_absolute_places(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("- 1\n")
    (finding,) = compile_policies(tmp_path).diagnostics
    assert report.shown(finding.position, tmp_path) == f"{tmp_path}/x.yaml:1:1"


@pytest.mark.parametrize("words", ["nowhere", "nowhere/x.yaml", "policies/x.yaml", "policies"])
def test_a_folder_that_is_missing_is_shown_as_it_was_named(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "policies").mkdir()
    for here in (tmp_path, tmp_path / "policies"):
        monkeypatch.chdir(here)
        (finding,) = compile_policies(Path(words)).diagnostics
        assert report.document(finding, Path(words))["file"] == words


def test_the_summary_counts_by_severity() -> None:
    def finding(severity: Severity) -> Diagnostic:
        return Diagnostic("P999", severity, Position("x", 0, 0), "")

    assert report.summary([]) == "no problems"
    assert report.summary([finding(Severity.ERROR)]) == "1 error"
    assert report.summary([finding(s) for s in (*Severity, Severity.WARNING)]) == "1 error, 2 warnings, 1 info"


def test_github_gets_one_line_a_finding_whatever_it_says() -> None:
    finding = warning("P999", Position("policies/a,b:c.yaml", 3, 4), "50 % of\nit", "all")
    assert report.github([finding], ROOT) == (
        "::warning file=policies/a%2Cb%3Ac.yaml,line=3,col=4,title=P999::50 %25 of%0Ait (all)\n"
    )
