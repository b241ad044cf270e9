"""Four standard deviations: wide enough for chance, narrow enough for a wrong weight."""

from __future__ import annotations

import pytest

from demo.split import bound, deviations


def test_a_share_of_nothing_or_all_allows_no_deviation() -> None:
    assert bound(2_000, 0) == bound(2_000, 100) == 0
    assert deviations({"a": 100, "b": 0}, {"a": 1_999, "b": 1}) == {"a": -1, "b": 1}


def test_a_count_may_lie_within_four_standard_deviations() -> None:
    assert bound(2_000, 10) == pytest.approx(53.67, abs=0.01)
    assert deviations({"a": 90, "b": 10}, {"a": 1_747, "b": 253}) == {}
    assert set(deviations({"a": 90, "b": 10}, {"a": 1_746, "b": 254})) == {"a", "b"}


def test_an_answer_from_a_version_nobody_asked_for_is_a_deviation() -> None:
    assert deviations({"a": 100}, {"a": 9, "b": 1}) == {"a": -1, "b": 1}
