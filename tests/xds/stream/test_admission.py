"""Who may open another stream."""

from __future__ import annotations

import pytest

from xds.stream.admission import MOST, MOST_OF_ONE, MOST_SILENT, PATIENCE, Admission, FullError


def test_one_identity_leaves_room_for_others() -> None:
    door = Admission[int]()
    for stream in range(MOST_OF_ONE):
        door.open(stream, "one", 0.0)
    with pytest.raises(FullError, match=f"one has {MOST_OF_ONE:,} streams open"):
        door.open(-1, "one", 0.0)
    door.open(-2, "another", 0.0)
    door.close(0, "one")
    door.open(-3, "one", 0.0)


def test_there_is_an_end_for_all_of_them_together() -> None:
    door = Admission[int]()
    for stream in range(MOST):
        door.open(stream, "", 0.0)
    with pytest.raises(FullError, match=f"this server has {MOST:,} streams open"):
        door.open(-1, "", 0.0)
    door.close(0, "")
    door.open(-1, "", 0.0)


def test_of_many_that_say_nothing_for_long_those_go_that_came_first() -> None:
    door = Admission[int]()
    for stream in range(MOST_SILENT + 2):
        assert door.open(stream, "", 0.0) is None
    door.spoke(0)
    assert [door.open(-n, "", PATIENCE) for n in (1, 2)] == [1, 2]
    for stream in range(MOST_SILENT + 2):
        door.spoke(stream)
    assert door.open(-3, "", 2 * PATIENCE) is None
