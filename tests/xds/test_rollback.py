"""How `turnout rollback` tells who has confirmed, from the documents of `/status` alone."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from tests.xds.stream.client import Client
from tests.xds.stream.snapshots import snapshot
from xds.admin.status import status
from xds.client import Answer
from xds.control import Health, Policy
from xds.rollback import GONE, Confirmed, _not_asked, _progress, after, run, wrong_use
from xds.stream.departed import Departed
from xds.stream.node import Node
from xds.stream.peer import Peer
from xds.stream.state import Variant
from xds.stream.turned_away import TurnedAway
from xds.translate.group import Group

AB, AC = snapshot({"a": 1, "b": 1}), snapshot({"a": 1, "c": 1})
COMMIT = "a" * 40


def seen(commit: str, left: tuple[Departed, ...] = (), **envoys: Client) -> dict[str, Any]:
    peers = [Peer(Node(name, Group("public"), "az-1"), client.state) for name, client in envoys.items()]
    return status(Policy(Health.OK, "d1", commit=commit), None, peers, lambda _: AC, departed=left)


def turning_away(*clients: str) -> dict[str, Any]:
    turned_away = [TurnedAway(client, "X105 group 'edge' is not for it", 2, 0.0) for client in clients]
    return status(Policy(Health.OK, "d1", commit="a" * 12), None, (), lambda _: AC, turned_away=turned_away)


def having(what: Any) -> Client:
    client = Client(Variant.DELTA, what)
    client.subscribed()
    return client


def test_it_is_over_when_the_commit_is_served_and_every_envoy_has_it() -> None:
    assert not after(Confirmed(), seen("b" * 12, one=having(AC)), COMMIT).over
    first = after(Confirmed(), seen("a" * 12, one=having(AC), two=having(AB)), COMMIT)
    assert (first.over, list(first.waiting or {})) == (False, ["two"])
    assert after(first, seen("a" * 12, one=having(AC), two=having(AC)), COMMIT).over
    assert after(Confirmed(), seen("a" * 12), COMMIT).over


def test_an_envoy_that_leaves_meanwhile_has_not_confirmed_and_is_named() -> None:
    first = after(Confirmed(), seen("a" * 12, one=having(AC), two=having(AB)), COMMIT)
    gone = after(first, seen("a" * 12, one=having(AC)), COMMIT)
    assert (gone.over, gone.waiting) == (False, {"two": GONE})
    assert after(gone, seen("a" * 12, one=having(AC), two=having(AC)), COMMIT).over


def test_an_envoy_that_had_left_before_is_not_waited_for_and_is_named() -> None:
    left = (Departed("two", "public", 0.0),)
    found = after(Confirmed(), seen("a" * 12, left, one=having(AC)), COMMIT)
    assert (found.over, found.departed) == (True, {"two": "1970-01-01T00:00:00.000+00:00"})
    assert list(_not_asked(found.departed)) == [
        "warning: not asked, as it has left before: 1 Envoy; where it runs, it serves what it had:",
        "  two: without a stream since 1970-01-01T00:00:00.000+00:00",
    ]
    back = after(found, seen("a" * 12, one=having(AC), two=having(AB)), COMMIT)
    assert (back.over, back.departed) == (False, {})
    gone = after(back, seen("a" * 12, left, one=having(AC)), COMMIT)
    assert (gone.over, gone.waiting, gone.departed) == (False, {"two": GONE}, {})


def test_an_envoy_that_leaves_while_the_commit_is_compiled_has_not_confirmed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is connected when the command comes, and gone when the server has carried it out."""
    gone = seen("a" * 12, (Departed("two", "public", 0.0),), one=having(AC))
    turned = {"commit": COMMIT, "pinned": True, "problem": ""}
    answers = iter([seen("b" * 12, one=having(AC), two=having(AC)), turned, gone])
    monkeypatch.setattr("xds.rollback.ask", lambda *_, **__: Answer(200, next(answers)))
    monkeypatch.delenv("TURNOUT_ADMIN_TOKEN", raising=False)
    options = argparse.Namespace(commit=COMMIT, release=False, admin="", token_file=None, timeout=0.0)
    assert run(options) == 1
    assert f"  two: {GONE}\n" in capsys.readouterr().err


def test_envoys_that_are_turned_away_have_not_confirmed_and_are_named() -> None:
    """Each once, also where its certificate is told with it, or where it was served before the command."""
    found = after(Confirmed(envoys=frozenset({"two"})), turning_away("one", "two (spiffe://a/b)"), COMMIT)
    why = "turned away: X105 group 'edge' is not for it"
    assert (found.over, found.waiting) == (False, {"one": why, "two": why})
    assert _progress(found) == "confirmed by 0 of 2 Envoys"
    assert after(found, seen("a" * 12, two=having(AC)), COMMIT).over


def test_no_envoy_is_said_to_be_connected_only_where_none_is_turned_away() -> None:
    assert _progress(after(Confirmed(), seen("a" * 12), COMMIT)) == "no Envoy is connected"
    assert _progress(after(Confirmed(), turning_away("one"), COMMIT)) == "confirmed by 0 of 1 Envoy"


def test_an_envoy_that_refuses_has_not_confirmed() -> None:
    client = having(AB)
    client.snapshot = AC
    client.refuse(*client.updates())
    found = after(Confirmed(), seen("a" * 12, one=client), COMMIT)
    assert not found.over


@pytest.mark.parametrize(
    ("commit", "release", "wrong"),
    [
        (None, False, None),
        (None, True, None),
        ("0c5d91a", False, None),
        ("0C5D91A", False, None),
        ("0c5d91a", True, "either a SHA or --release"),
        ("main", False, "'main' is no commit: seven to 64 digits of its SHA"),
        ("0c5d91", False, "'0c5d91' is no commit: seven to 64 digits of its SHA"),
    ],
)
def test_what_no_server_needs_to_be_asked_about(commit: str | None, release: bool, wrong: str | None) -> None:
    assert wrong_use(argparse.Namespace(commit=commit, release=release)) == wrong
