"""What is written is read back equal, by YAML 1.1 readers too."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from compiler.yaml_text import yaml_text

TRAPS = (
    *("yes", "No", "ON", "off", "y", "N", "true", "False", "null", "Null", "~", "", " ", "  leading", "trailing "),
    *("1:30", "190:20:30", "0755", "0o17", "0x1F", "0b1", "1_000", "1e3", "12e03", "-1", "+1", ".5", "1.", "-.inf"),
    *(".nan", "2001-12-14", "2001-12-14t21:59:43.10-05:00", "=", "<<", "- a", "-", "--", "---", "...", "? a", "?"),
    *(": a", "a: b", "a:", "a #b", "#a", "&a", "*a", "!a", "!!str a", "%a", "@a", "`a", "{a", "[a", "]", "}", ","),
    *("'", '"', "''", "it's", "\\", "\n", "a\nb", "\r\n", "\t", "a\tb", "\x00", "\x1b", "\x7f", "\x85", "\xa0"),
    *("\u2028", "\u2029", "\ufeff", "\ufffe", "é", "模型", "😀", "32Gi", "0s", "01s", "500m", "25ms", "8", "1.10"),
    *("a\nb\n", "a\n\n  b \n", "a\nb\n\n", "#a\n- b: c\n", "a\n \n", "a\n\tb\n", " a\nb\n", "a\n---\n...\n", "a\né\n"),
    *("--port", "-p", "s3://a/b", "a/b:c", "a:b", "http://x:80/", "a::b", "[x'y]", "{'a': \"b\"}"),
)

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(),
    st.sampled_from(TRAPS),
)
# YAML takes keys of up to 1,024 characters.
keys = st.one_of(st.text(max_size=100), st.sampled_from(TRAPS))
documents = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(keys, inner, max_size=4)),
    max_leaves=20,
)


@given(documents)
def test_what_is_written_is_read_back_equal(value: Any) -> None:
    text = yaml_text({"value": value})
    assert yaml.safe_load(text) == {"value": value}
    assert yaml.safe_load(text.encode()) == {"value": value}


@given(documents)
def test_a_value_keeps_its_type(value: Any) -> None:
    assert _types(yaml.safe_load(yaml_text([value]))) == _types([value])


@pytest.mark.parametrize("text", TRAPS)
def test_a_string_that_looks_like_something_else_stays_a_string(text: str) -> None:
    assert yaml.safe_load(yaml_text({text: text})) == {text: text}


@pytest.mark.parametrize("number", [1e-07, 1e22, 1.5e-9, -1e16, 0.1, -0.0, 5e-324])
def test_a_float_stays_a_float_whatever_its_exponent(number: float) -> None:
    read = yaml.safe_load(yaml_text({"number": number}))["number"]
    assert isinstance(read, float)
    assert read == number


def test_a_program_is_written_as_its_lines() -> None:
    value = {"code": [{"inline_string": "if a then\n  b()\n\nend\n"}]}
    assert yaml_text(value) == "code:\n- inline_string: |\n    if a then\n      b()\n\n    end\n"


def test_manifests_are_written_in_block_style_with_lists_at_their_key() -> None:
    value = {
        "args": ["--port", "8000", "/models"],
        "empty": {"map": {}, "list": []},
        "nested": [{"name": "http", "port": 80}, [1, True, None, 0.5]],
    }
    assert yaml_text(value).splitlines() == [
        "args:",
        "- --port",
        '- "8000"',
        "- /models",
        "empty:",
        "  map: {}",
        "  list: []",
        "nested:",
        "- name: http",
        "  port: 80",
        "- - 1",
        "  - true",
        "  - null",
        "  - 0.5",
    ]


def test_json_stays_readable() -> None:
    text = json.dumps({"error": {"message": "it's gone"}})
    assert yaml_text({"string": text}) == 'string: \'{"error": {"message": "it\'\'s gone"}}\'\n'


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, object(), {1, 2}, b"bytes"])
def test_what_has_no_place_in_a_manifest_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="no place in a manifest"):
        yaml_text({"value": value})


def _types(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _types(item) for key, item in value.items()}
    return [_types(item) for item in value] if isinstance(value, list) else type(value)
