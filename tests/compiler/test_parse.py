"""YAML as policies are read: values by YAML 1.2, each at its place."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.nodes import Mapped, Node, Scalar, Sequence, plain
from compiler.parse import lines, parse

RESOLVED: dict[str, object] = {
    "true": True,
    "false": False,
    "True": "True",
    "yes": "yes",
    "on": "on",
    "off": "off",
    "n": "n",
    "null": None,
    "~": None,
    "": None,
    "Null": "Null",
    "0": 0,
    "-1": -1,
    "+1": 1,
    "42": 42,
    "0755": "0755",
    "0o17": "0o17",
    "0x1F": "0x1F",
    "12_000": "12_000",
    "1:30": "1:30",
    "2026-08-01": "2026-08-01",
    "2026-08-01T10:00:00Z": "2026-08-01T10:00:00Z",
    "999999999999999999": 999999999999999999,
    "1.10": 1.1,
    "1.": 1.0,
    ".5": 0.5,
    "1e3": 1000.0,
    "-2.5E-2": -0.025,
    "1.0.1": "1.0.1",
    "=": "=",
    "<<": "<<",
    "60s": "60s",
    "'1'": "1",
    '"true"': "true",
    "!!str 1": "1",
    "!!int '7'": 7,
    "! 7": "7",
    "|\n  a\n  b": "a\nb\n",
}


@pytest.mark.parametrize("text", RESOLVED)
def test_a_scalar_is_what_yaml_1_2_says(text: str) -> None:
    value = node(f"key: {text}\n").entries["key"]
    assert isinstance(value, Scalar)
    assert value.value == RESOLVED[text]
    assert type(value.value) is type(RESOLVED[text])


def test_a_number_remembers_how_it_was_written() -> None:
    value = node("version: 1.10\n").entries["version"]
    assert isinstance(value, Scalar)
    assert (value.value, value.text) == (1.1, "1.10")


def test_a_key_is_text_whatever_it_looks_like() -> None:
    assert plain(node("1: a\ntrue: b\n1.10: c\n~: d\n")) == {"1": "a", "true": "b", "1.10": "c", "~": "d"}


def test_an_anchor_may_stand_on_a_key() -> None:
    assert plain(node("&k name: 1\nother: *k\n")) == {"name": 1, "other": "name"}


def test_an_alias_has_the_value_and_the_place_of_its_anchor() -> None:
    document = node("a: &x [1, 2]\nb: *x\n")
    assert document.entries["b"] == document.entries["a"]


def test_an_anchor_holds_within_its_document() -> None:
    _, found = parse("a: &x 1\n---\nb: *x\n", "policies/x.yaml")
    assert [(d.code, d.position.line) for d in found] == [("P001", 3)]


def test_documents_before_one_that_is_no_yaml_are_read() -> None:
    documents, found = parse("a: 1\n---\nb: [\n", "policies/x.yaml")
    assert [plain(document) for document in documents] == [{"a": 1}]
    assert [d.code for d in found] == ["P001"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_are_counted_as_the_parser_counts_them(end: str) -> None:
    text = end.join(["a: 1", "# ü", "b: [2,", "  3]", ""])
    second = node(text).entries["b"]
    assert isinstance(second, Sequence)
    last = second.items[1].position
    assert lines(text)[last.line - 1][last.column - 1 :] == "3]"


TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"], exclude_characters="\ufeff\ufffe\uffff"))
SCALARS = st.one_of(
    st.booleans(), st.integers(-(10**17), 10**17), st.floats(allow_nan=False, allow_infinity=False), TEXT
)
KEYS = st.text("abcdeé模🚀-_. ", min_size=1, max_size=8)
DATA = st.dictionaries(
    KEYS,
    st.recursive(
        SCALARS,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
        max_leaves=12,
    ),
    max_size=5,
)


@dataclass
class Writer:
    """Writes data as YAML, and remembers where each scalar begins."""

    indent: int
    flow: bool
    gap: str
    """Between the tokens of a flow collection."""
    text: str = ""
    places: list[tuple[int, int]] = field(default_factory=list)

    def scalar(self, value: object) -> None:
        before = self.text.split("\n")
        self.places.append((len(before), len(before[-1]) + 1))
        # A double-quoted JSON string is a YAML string; plain words and numbers are written as they are.
        plain_word = isinstance(value, str) and value.isascii() and value.isalpha() and value not in RESOLVED
        self.text += str(value) if plain_word else json.dumps(value, ensure_ascii=False)

    def node(self, value: Any, depth: int, flow: bool) -> None:
        if not isinstance(value, dict | list):
            self.scalar(value)
        elif flow or not value:
            self.flow_collection(value, depth)
        else:
            self.block_collection(value, depth)

    def flow_collection(self, value: Any, depth: int) -> None:
        opening, closing = "{}" if isinstance(value, dict) else "[]"
        self.text += opening + self.gap
        for number, item in enumerate(value.items() if isinstance(value, dict) else value):
            self.text += f",{self.gap}" if number else ""
            if isinstance(value, dict):
                self.text += json.dumps(item[0], ensure_ascii=False) + ": "
            self.node(item[1] if isinstance(value, dict) else item, depth, flow=True)
        self.text += self.gap + closing

    def block_collection(self, value: Any, depth: int) -> None:
        for item in value.items() if isinstance(value, dict) else value:
            self.text += "\n" + " " * (self.indent * depth)
            if isinstance(value, dict):
                self.text += json.dumps(item[0], ensure_ascii=False) + ": "
                self.node(item[1], depth + 1, self.flow)
            else:
                self.text += "- "
                self.node(item, depth + 1, self.flow)


@settings(deadline=None)
@given(DATA, st.integers(1, 5), st.booleans(), st.sampled_from(["", " ", "  # {a comment]\n    "]))
def test_every_value_is_read_with_the_place_where_it_was_written(
    data: dict[str, Any], indent: int, flow: bool, gap: str
) -> None:
    writer = Writer(indent, flow, gap)
    writer.node(data, 0, flow=False)
    document = node(writer.text + "\n")
    assert as_lists(plain(document)) == data
    assert [(leaf.position.line, leaf.position.column) for leaf in leaves(document)] == writer.places


def node(text: str) -> Mapped:
    documents, found = parse(text, "policies/x.yaml")
    assert found == ()
    return documents[0]


def as_lists(value: Any) -> Any:
    if isinstance(value, tuple):
        return [as_lists(item) for item in value]
    return {key: as_lists(item) for key, item in value.items()} if isinstance(value, dict) else value


def leaves(node: Node) -> list[Scalar]:
    if isinstance(node, Scalar):
        return [node]
    inner = node.items if isinstance(node, Sequence) else node.entries.values()
    return [leaf for item in inner for leaf in leaves(item)]
