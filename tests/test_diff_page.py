"""docs/diff.md: its example is a golden file, and its table has the keys of the JSON."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "diff.md"
GOLDEN = ROOT / "tests" / "golden" / "diff"
AS_ELSEWHERE = re.compile(
    r"classes\[\]\.(before|after)\.(capabilities|mirrors|fault|retries|timeouts|error|targets\[\]\.(limits|fallback))"
    r"|classes\[\]\.example|profile\.changes|(settings|objects)\[\]\.fields\[\]\.(before|after)"
)
"""What is a value for the table, whatever is in it."""
EMPTY = ("profile", "classes[].models", "classes[].before", "classes[].after")
"""Of maps, those with a row of their own."""


def test_the_example_is_the_golden_file() -> None:
    """`UPDATE_GOLDEN=1` puts it into the page."""
    text = PAGE.read_text(encoding="utf-8")
    shown = re.compile(r"(<!-- tests/(\S+) -->\n```text\n)(.*?)(```\n)", re.DOTALL)
    found = shown.search(text)
    assert found is not None
    said = (ROOT / "tests" / found[2]).read_text(encoding="utf-8")
    if os.environ.get("UPDATE_GOLDEN"):
        PAGE.write_text(shown.sub(lambda of: f"{of[1]}{said}{of[4]}", text), encoding="utf-8")
        return
    assert found[3] == said


def test_the_table_has_each_key_of_the_json_and_no_other() -> None:
    rows = PAGE.read_text(encoding="utf-8").partition("<!-- keys -->\n")[2].partition("\n\n")[0].splitlines()[2:]
    told = [key for row in rows for key in re.findall(r"`([^`]+)`", row.split("|")[1])]
    documents = [json.loads(file.read_text()) for file in GOLDEN.glob("*/diff.json")]
    there = {key for document in documents for key in keys(document)}
    assert len(told) == len(set(told))
    assert set(told) == there


def keys(value: Any, at: str = "") -> Iterator[str]:
    if AS_ELSEWHERE.fullmatch(at) or not isinstance(value, dict | list):
        yield at
    elif isinstance(value, list):
        for item in value:
            yield from keys(item, f"{at}[]")
    else:
        yield from (at,) if at in EMPTY else ()
        for key, inner in value.items():
            yield from keys(inner, f"{at}.{key}".lstrip("."))
