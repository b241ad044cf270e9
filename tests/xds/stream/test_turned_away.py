"""Whom the server does not serve, as it is told."""

from __future__ import annotations

from xds.stream.turned_away import FOR, MOST, Doorkeeper


def test_a_client_is_listed_once_with_its_last_reason_until_it_is_served() -> None:
    doorkeeper = Doorkeeper()
    doorkeeper.turned_away("gw-2", "no node", 10.0)
    doorkeeper.turned_away("gw-1", "unknown", 11.0)
    doorkeeper.turned_away("gw-2", "unknown", 12.0)
    assert [(c.client, c.reason, c.times, c.last) for c in doorkeeper.listed(13.0)] == [
        ("gw-1", "unknown", 1, 11.0),
        ("gw-2", "unknown", 2, 12.0),
    ]
    doorkeeper.served("gw-2")
    assert [c.client for c in doorkeeper.listed(13.0)] == ["gw-1"]


def test_who_does_not_come_back_is_no_longer_listed() -> None:
    doorkeeper = Doorkeeper()
    doorkeeper.turned_away("gw-1", "unknown", 10.0)
    assert doorkeeper.listed(10.0 + FOR - 1)
    assert doorkeeper.listed(10.0 + FOR) == ()


def test_of_many_the_last_are_remembered() -> None:
    doorkeeper = Doorkeeper()
    for number in range(MOST + 5):
        doorkeeper.turned_away(f"gw-{number:04}", "unknown", float(number))
    listed = [c.client for c in doorkeeper.listed(float(MOST))]
    assert (len(listed), listed[0]) == (MOST, "gw-0005")
