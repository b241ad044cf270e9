"""Reports of changes that nobody would make by hand: of names that mean something to Markdown, and very long ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from compiler.diff import summary
from compiler.diff.changes import Changes, Side, changes
from compiler.diff.document import as_json
from compiler.diff.leaves import Leaf
from compiler.diff.markdown import MARK, MOST_CHARACTERS, as_markdown, failed
from compiler.diff.summary import headline, leaf_text
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


def ends(folder: Path, one: tuple[str, ...], other: tuple[str, ...]) -> Changes:
    """Of fleets of these documents."""
    return changes(side(folder / "before", *one), side(folder / "after", *other))


def test_without_a_profile_the_headline_says_who_comes_who_goes_and_what_loses_its_route(tmp_path: Path) -> None:
    a, b, c = model("a"), model("b"), model("c")
    assert headline(ends(tmp_path / "1", (a, b), (a, c))).startswith(
        "2 classes of requests change, and 1 of them loses its route; model c comes; model b goes; "
    )
    assert headline(ends(tmp_path / "2", (a, b), (a,))).startswith(
        "1 class of requests changes and loses its route; model b goes; "
    )
    assert headline(ends(tmp_path / "3", (a,), (a, b, c))).startswith(
        "2 classes of requests change, and none loses its route; models b, c come; "
    )
    many = tuple(model(f"m{n}") for n in range(4))
    assert "; 4 models come; " in headline(ends(tmp_path / "4", (a,), (a, *many)))


def test_that_one_commit_is_not_safe_is_said_first(tmp_path: Path) -> None:
    found = ends(tmp_path, (model("a"), model("b")), (model("a"),))
    assert headline(found).endswith(" Not safe in one commit.")
    assert "Not safe in one commit.**" in as_markdown(found, "").split("####")[0]
    assert "Not safe" not in headline(moved(tmp_path / "moved", ("x",)))


def test_a_host_that_all_titles_share_is_said_once(tmp_path: Path) -> None:
    hosts = document("Gateway", "one", "hosts: [a.example.com]"), document("Gateway", "two", "hosts: [b.example.com]")
    models = (model("a"), model("b"), *hosts)
    listed = tuple(rules(("x", "y"), target).replace("models:", "gateway: one\n  models:", 1) for target in "ab")
    found = ends(tmp_path, (*models, listed[0]), (*models, listed[1]))
    text, comment = as_text(found, "", colour=False), as_markdown(found, "")
    assert (text.count("a.example.com"), text.count("      all at a.example.com\n")) == (1, 1)
    assert comment.count("a.example.com") == 1
    assert "`<br>• `rule " in comment
    one = tuple(rules(("x",), target).replace("models:", "gateway: one\n  models:", 1) for target in "ab")
    found = ends(tmp_path / "one", (*models, one[0]), (*models, one[1]))
    assert "  rule r0: metadata.team eq x, at a.example.com\n" in as_text(found, "", colour=False)


def test_a_host_in_the_order_is_no_link(tmp_path: Path) -> None:
    hosts = tuple(document("Gateway", "g", f"hosts: [{names}]") for names in ("a.example.com", "www.example.com"))
    found = ends(tmp_path, (model("a"), hosts[0]), (model("a"), hosts[1]))
    assert "lead clients to www\\.example.com when" in as_markdown(found, "")


def test_many_long_rows_leave_room_for_the_rest_of_a_comment(tmp_path: Path) -> None:
    """Each rule lists a hundred values and goes another way than the others."""
    names = tuple(f"m{n}" for n in range(25))
    asked = [json.dumps([f"team-{n}-{k}-{'x' * 30}" for k in range(100)]) for n in range(24)]

    def routed(by: int) -> str:
        listed = "".join(
            f"\n    - {{name: r{n}, priority: {n}, target: {names[n + by]}, "
            f"conditions: [{{field: metadata.team, operator: in, value: {values}}}]}}"
            for n, values in enumerate(asked)
        )
        members = ", ".join(f"{{name: {name}}}" for name in names)
        return document(
            "ModelOrchestrator", "auto", f"models: [{members}]\nrouting:\n  defaultModel: m0\n  rules:{listed}"
        )

    models = tuple(map(model, names))
    found = ends(tmp_path, (*models, routed(0)), (*models, routed(1)))
    comment = as_markdown(found, "")
    assert len(comment) < MOST_CHARACTERS
    assert comment.count("| `rule r") == 20
    assert "… and 4 more" in comment
    assert "#### Order" in comment
    assert "too long" not in comment
    longest = max(map(len, comment.splitlines()))
    assert longest < 600
    assert max(map(len, as_text(found, "", colour=False).splitlines())) < 450


def test_rows_end_before_the_comment_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compiler.diff.markdown.MOST_OF_REQUESTS", 150)
    models = (model("a"), model("b"), model("c"))
    found = ends(
        tmp_path,
        models,
        (model("a", "traffic: {retries: {attempts: 1}}"), model("b", "traffic: {retries: {attempts: 2}}"), models[2]),
    )
    comment = as_markdown(found, "")
    assert comment.count("| `model ") == 1
    assert "… and 1 more" in comment


def test_settings_have_the_words_of_policy(tmp_path: Path) -> None:
    slow = model("a", "traffic: {timeouts: {stream: {firstByte: 7s, idle: 8s}, unary: {total: 9s}}}")
    text = as_text(ends(tmp_path, (model("a"),), (slow,)), "", colour=False)
    for said in ("stream.firstByte: 1m → 7s", "stream.idle: 5m → 8s", "unary.total: 5m → 9s"):
        assert f"      timeouts.{said}\n" in text


def test_of_many_hosts_the_first_are_told(tmp_path: Path) -> None:
    hosts = ", ".join(f"h{n}.example.com" for n in range(10))
    gateways = (
        document("Gateway", "one", f"hosts: [{hosts}]"),
        document("Gateway", "two", "hosts: [b.example.com]\nmodels: [b]"),
    )
    slow = model("a", "traffic: {timeouts: {unary: {total: 9s}}}")
    text = as_text(ends(tmp_path, (model("a"), model("b"), *gateways), (slow, model("b"), *gateways)), "", colour=False)
    assert "h4.example.com, h5.example.com and 4 more\n" in text


def test_parts_that_do_not_fit_are_left_out_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compiler.diff.markdown.MOST_CHARACTERS", 150)
    text = as_markdown(moved(tmp_path, ("x",)), "")
    assert text.startswith(MARK)
    assert "too long for a comment: run `turnout diff`" in text
    assert "|" not in text


def test_errors_in_a_comment_cannot_end_their_fence() -> None:
    html = HTML.render(failed("a", "policies/x.yaml:1:1: P001 ```\n<b>bold</b>\n"))
    assert "<b>" not in html


def test_more_errors_than_a_comment_holds_end_where_it_is_said() -> None:
    text = failed("a", "".join(f"policies/x.yaml:{n}:1: P001 not YAML\n" for n in range(3_000)))
    assert MOST_CHARACTERS < len(text) < 65_536
    lines = text.splitlines()
    assert lines[-4] == "… and more: run turnout check"
    assert all(line.endswith("not YAML") for line in lines[6:-4])


def test_colours_are_for_terminals_only(tmp_path: Path) -> None:
    found = moved(tmp_path, ("x",))
    assert "\033" not in as_text(found, "", colour=False)
    assert "\033[1m" in as_text(found, "", colour=True)


LONG = [f"--argument-{n}" for n in range(20)]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (["a"], ["a", "b"], '["a"] → ["a", "b"]'),
        (LONG, [*LONG[:5], "new", *LONG[5:]], '[…] → […, "new", …]'),
        (LONG, [*LONG, "new"], '[…] → […, "new"]'),
        ([*LONG, "old"], [*LONG, "new", "newer"], '[…, "old"] → […, "new", "newer"]'),
        (["a", *LONG, "b"], ["c", *LONG, "d"], '["a", …, "b"] → ["c", …, "d"]'),
        (LONG * 20, ["a", *LONG * 20, "b"], f"{summary._value(LONG * 20)} → {summary._value(['a', *LONG])}"),
        ("x" * 90 + "=1", "x" * 90 + "=2", f"…{'x' * 19}=1 → …{'x' * 19}=2"),
        ("1" + "x" * 90, "2" + "x" * 90, f"1{'x' * 78}… → 2{'x' * 78}…"),
        ("x" * 80, "y", f"{'x' * 80} → y"),
    ],
)
def test_of_long_lists_and_texts_the_difference_is_told(before: object, after: object, said: str) -> None:
    assert leaf_text(Leaf(("args",), before, after)) == f"args: {said}"
