"""Ranges of numbers as regular expressions, read by the engine that Envoy reads them with."""

from __future__ import annotations

import re2
from hypothesis import example, given
from hypothesis import strategies as st

from compiler.emit.decimal_range import at_least, at_most

NUMBERS = st.one_of(st.integers(0, 200), st.integers(0, 10**15 - 1))
BOUNDS = st.one_of(st.integers(-3, 200), st.integers(0, 10**15 - 1))


def takes(pattern: str, number: int) -> bool:
    return re2.fullmatch(pattern, str(number)) is not None


@given(BOUNDS, NUMBERS)
@example(0, 0)
@example(100, 99)
@example(999, 1000)
def test_exactly_the_numbers_in_range_are_taken(bound: int, number: int) -> None:
    assert takes(at_least(bound), number) == (number >= bound)
    assert takes(at_most(bound), number) == (number <= bound)


@given(BOUNDS, st.integers(-2, 2))
def test_the_border_is_exact(bound: int, step: int) -> None:
    number = max(0, bound + step)
    assert takes(at_least(bound), number) == (number >= bound)
    assert takes(at_most(bound), number) == (number <= bound)


@given(BOUNDS)
def test_it_fits_into_what_istio_takes(bound: int) -> None:
    assert len(at_least(bound)) <= 1024
    assert len(at_most(bound)) <= 1024


def test_it_reads_as_one_would_write_it() -> None:
    assert at_least(2001) == "(200[1-9]|20[1-9][0-9]|2[1-9][0-9]{2}|[3-9][0-9]{3}|[1-9][0-9]{4,})"
    assert at_most(16) == "([0-9]|1[0-6])"
    assert at_least(0) == "[0-9]+"
