"""What becomes of a commit's tree, also of one that no git has written."""

from __future__ import annotations

from pathlib import Path

import pytest

from xds.git.checkout import Entry, leading_out, planned, write

BLOB = "b" * 40


def file(path: str, mode: str = "100644") -> Entry:
    return Entry(path, mode, BLOB, 3)


@pytest.mark.parametrize(
    "path", ["../x.yaml", "/etc/x.yaml", "a/../../x.yaml", "a/../x.yaml", "./x.yaml", "a//x.yaml", "..", "a/.."]
)
@pytest.mark.parametrize("mode", ["100644", "120000"])
def test_a_path_that_leads_elsewhere_is_a_problem_whatever_it_is(path: str, mode: str) -> None:
    named = path if path.endswith(".yaml") else f"{path}/x.yaml"
    found = planned([file("good.yaml"), file(named, mode)], "policies")
    assert found.problem == f"the path {named!r} leads out of the policy folder"
    assert (found.files, found.links) == ((), ())


def test_only_policy_files_are_planned_and_what_is_hidden_is_not() -> None:
    entries = [file("a.yaml"), file("b/c.yml"), file("README.md"), file(".d.yaml"), file(".e/f.yaml")]
    entries += [file(".e/module", "160000"), file("run.yaml", "100755")]
    found = planned(entries, "policies")
    assert [entry.path for entry in found.files] == ["a.yaml", "b/c.yml", "run.yaml"]
    assert found.problem == ""


@pytest.mark.parametrize(
    ("link", "target", "leads_out"),
    [
        ("a.yaml", b"b.yaml", False),
        ("a/b.yaml", b"../c.yaml", False),
        ("a/b.yaml", b"../../c.yaml", True),
        ("a.yaml", b"/etc/passwd", True),
        ("a.yaml", b"..", True),
        ("models", b"../models", True),
        ("a.yaml", b"b/../../../x", True),
    ],
)
def test_a_link_that_leads_out_is_told(link: str, target: bytes, leads_out: bool) -> None:
    assert bool(leading_out({link: target})) == leads_out


def test_a_file_and_a_folder_of_one_name_leave_what_was_there(tmp_path: Path) -> None:
    """git writes no such tree either."""
    folder = tmp_path / "policies"
    write(planned([file("a.yaml")], "policies"), {BLOB: b"old"}, folder)
    twice = planned([file("b.yaml"), file("b.yaml/c.yaml")], "policies")
    with pytest.raises(OSError, match="exists"):
        write(twice, {BLOB: b"new"}, folder)
    assert [(path.name, path.read_bytes()) for path in folder.iterdir()] == [("a.yaml", b"old")]
