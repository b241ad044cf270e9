"""Reports of changes that nobody would make by hand: of names that mean something to Markdown, and very long ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from compiler.diff.changes import Changes, Side, changes
from compiler.diff.document import as_json
from compiler.diff.leaves import Leaf
from compiler.diff.markdown import MARK, MOST_CHARACTERS, as_markdown, failed
from compiler.diff.summary import leaf_text
from compiler.diff.text import as_text
from compiler.pipeline import compile_policies, objects
from tests.compiler.policies import document, model

HOSTILE = (
    "a|b", "`x`", "``", "<img src=x onerror=1>", "@everyone", "#1", "[a](http://b)", "*b*",
)  # fmt: skip
HTML = MarkdownIt("commonmark", {"html": True}).enable("table")


def side(folder: Path, *documents: str) -> Side:
    root = folder / "policies"
    root.mkdir(parents=True)
    (root / "all.yaml").write_text("---\n".join(documents))
    compiled = compile_policies(root)
    assert compiled.fleet is not None, compiled.diagnostics
    return Side(compiled.fleet, objects(compiled.fleet, "", compiled.kept))


def rules(values: tuple[str, ...], target: str) -> str:
    listed = "".join(
        f"\n    - {{name: r{n}, priority: {n}, conditions: [{{field: metadata.team, operator: eq, "
        f"value: {json.dumps(value)}}}], target: {target}}}"
        for n, value in enumerate(values)
    )
    return document(
        "ModelOrchestrator",
        "auto",
        f"models: [{{name: a}}, {{name: b}}]\nrouting:\n  defaultModel: a\n  rules:{listed}",
    )


def moved(folder: Path, values: tuple[str, ...]) -> Changes:
    models = (model("a"), model("b"))
    before = side(folder / "before", *models, rules(values, "a"))
    return changes(before, side(folder / "after", *models, rules(values, "b")))


@pytest.mark.parametrize("value", HOSTILE)
def test_what_policy_says_is_shown_as_it_is_and_means_nothing(value: str, tmp_path: Path) -> None:
    found = moved(tmp_path, (value,))
    html = HTML.render(as_markdown(found, "a → `b`"))
    assert "<img" not in html
    assert "<a " not in html
    assert "<em>" not in html
    table = html[html.index("<tbody>") : html.index("</tbody>")]
    assert table.count("<td") == 3
    shown = value.replace("<", "&lt;").replace(">", "&gt;")
    assert f"<code>rule r0: metadata.team eq {shown}" in table
    assert json.loads(as_json(found, "a", "b"))["classes"][0]["when"] == [f"metadata.team eq {value}"]


def test_a_long_report_is_cut_where_it_says_so_and_fits_a_comment(tmp_path: Path) -> None:
    found = moved(tmp_path, tuple(f"team-{n}-{'x' * 100}" for n in range(300)))
    for text in (as_text(found, "", colour=False), as_markdown(found, "")):
        assert "… and 292 more" in text
        assert len(text) < MOST_CHARACTERS
    assert len(json.loads(as_json(found, "", ""))["classes"]) == 300


def test_parts_that_do_not_fit_are_left_out_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compiler.diff.markdown.MOST_CHARACTERS", 150)
    text = as_markdown(moved(tmp_path, ("x",)), "")
    assert text.startswith(MARK)
    assert "too long for a comment: run `turnout diff`" in text
    assert "|" not in text


def test_errors_in_a_comment_cannot_end_their_fence() -> None:
    html = HTML.render(failed("a", "policies/x.yaml:1:1: P001 ```\n<b>bold</b>\n"))
    assert "<b>" not in html


def test_colours_are_for_terminals_only(tmp_path: Path) -> None:
    found = moved(tmp_path, ("x",))
    assert "\033" not in as_text(found, "", colour=False)
    assert "\033[1m" in as_text(found, "", colour=True)


LONG = [f"--argument-{n}" for n in range(20)]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (["a"], ["a", "b"], '["a"] → ["a", "b"]'),
        (LONG, [*LONG[:5], "new", *LONG[5:]], '[…, …] → […, "new", …]'),
        (LONG, [*LONG, "new"], '[…] → […, "new"]'),
        ([*LONG, "old"], [*LONG, "new", "newer"], '[…, "old"] → […, "new", "newer"]'),
    ],
)
def test_of_long_lists_the_difference_is_told(before: list[str], after: list[str], said: str) -> None:
    assert leaf_text(Leaf(("args",), before, after)) == f"args: {said}"
