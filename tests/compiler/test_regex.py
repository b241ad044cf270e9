"""Regular expressions mean what RE2 means by them, which is what Envoy and Istio run."""

from __future__ import annotations

import pytest

from compiler import regex
from compiler.fleet.rules import MOST_OF_A_REGEX

REFUSED = (
    r"abc\Z", "a{1001}", "(a{100}){100}", "x*+y", "(?#c)a", "(?a)b", "(?x)a", "(?u:a)", r"\u0041", r"\N{DIGIT ONE}",
    r"\x{65e5}", r"\pL{1000}",
    "(", "(?=a)", "(?!a)", "(?<=a)b", "(?<!a)b", "(?>a)", r"(a)\1", "(?P<n>a)(?P=n)", "[", "*",
)  # fmt: skip


@pytest.mark.parametrize("pattern", REFUSED)
def test_what_envoy_would_refuse_is_told(pattern: str) -> None:
    assert regex.problem(pattern)


def test_a_program_over_envoys_limit_is_told() -> None:
    assert regex.problem("[a-zA-Z0-9_]{1,900}") == ""
    assert f"{MOST_OF_A_REGEX:,} at most" in regex.problem("[a-zA-Z0-9_]{1,900}" * 20)


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        (r"\w+", "abc_1", True),
        (r"\w+", "日本", False),
        (".", "日", False),  # three bytes
        ("...", "日", True),
        (".*", "日本", True),
        (r"\pL+", "日本", False),
        (".", "\ud83d", True),
        ("a{,5}", "aaa", False),
        ("a{,5}", "a{,5}", True),
        ("[[:alpha:]]+", "abc", True),
        ("(?i)ABC", "abc", True),
        ("b", "abc", False),
        ("a.c", "a\nc", False),
    ],
)
def test_a_pattern_matches_as_re2_does_over_the_whole_value(pattern: str, text: str, expected: bool) -> None:
    assert regex.matches(pattern, text) is expected


def test_no_pattern_takes_for_ever() -> None:
    """Python's own would: exponentially."""
    assert not regex.matches("(a+)+b", "a" * 10_000)
