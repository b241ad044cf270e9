"""Envoys that have no stream any more, as they are told."""

from __future__ import annotations

from xds.stream.departed import FOR, MOST, Departures
from xds.stream.node import Node
from xds.translate.group import Group


def node(name: str) -> Node:
    return Node(name, Group("public"), "az-1")


def names(departures: Departures, now: float, *connected: str) -> list[tuple[str, float]]:
    return [(found.node, found.at) for found in departures.listed(connected, now)]


def test_who_has_left_is_listed_with_the_last_time_until_it_is_back() -> None:
    departures = Departures()
    departures.left(node("gw-2"), 10.0)
    departures.left(node("gw-1"), 11.0)
    departures.left(node("gw-2"), 12.0)
    assert names(departures, 13.0) == [("gw-1", 11.0), ("gw-2", 12.0)]
    assert names(departures, 13.0, "gw-2", "gw-3") == [("gw-1", 11.0)]
    assert names(departures, 13.0) == [("gw-1", 11.0)]


def test_who_does_not_come_back_is_no_longer_listed() -> None:
    departures = Departures()
    departures.left(node("gw-1"), 10.0)
    assert names(departures, 10.0 + FOR - 1)
    assert names(departures, 10.0 + FOR) == []


def test_of_many_the_last_are_remembered() -> None:
    departures = Departures()
    departures.left(node("gw-0000"), 1.0)
    for number in range(MOST + 5):
        departures.left(node(f"gw-{number:04}"), 2.0)
    listed = names(departures, 3.0)
    assert (len(listed), listed[0][0]) == (MOST, "gw-0005")
