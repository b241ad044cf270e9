"""What becomes of live weights: by command, by time, by policy."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from compiler.fleet import Fleet
from tests.xds.translate.fleets import fleet, model, version
from xds.live.state import (
    GRACE,
    NOTHING_LIVE,
    LiveState,
    Override,
    Step,
    What,
    apply_live,
    expire,
    follow_policy,
    set_weights,
    take_back,
)

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
QUARTER = timedelta(minutes=15)


def override(until: datetime = NOW + QUARTER, **weights: int) -> Override:
    """Versions are written with `v` before their number."""
    return Override({name[1:]: weight for name, weight in weights.items()}, NOW, until, "a bad canary")


def chat(**weights: int) -> Fleet:
    return fleet(model("chat", tuple(version(name[1:], weight) for name, weight in weights.items())), model("embed"))


DRAINED = LiveState({"chat": override(v1=75, v2=25)})
COMMITTED = chat(v1=90, v2=10)


def whats(step: Step) -> list[What]:
    return [change.what for change in step.changes]


def test_what_is_set_takes_the_place_of_what_was_set_before() -> None:
    first = set_weights(NOTHING_LIVE, "chat", override(v1=75, v2=25))
    second = set_weights(first.state, "chat", override(v1=50, v2=50))
    assert dict(second.state.overrides) == {"chat": override(v1=50, v2=50)}
    assert whats(second) == [What.SET]


def test_what_is_taken_back_is_gone_and_nothing_else() -> None:
    both = LiveState({**DRAINED.overrides, "embed": override(v1=100)})
    step = take_back(both, "chat")
    assert set(step.state.overrides) == {"embed"}
    assert whats(step) == [What.TAKEN_BACK]
    assert take_back(step.state, "chat") == Step(step.state)


@pytest.mark.parametrize(("seconds", "left"), [(-1, {"chat"}), (0, set()), (1, set())])
def test_it_runs_out_at_the_moment_that_was_told(seconds: int, left: set[str]) -> None:
    step = expire(DRAINED, NOW + QUARTER + timedelta(seconds=seconds))
    assert set(step.state.overrides) == left
    assert whats(step) == ([] if left else [What.EXPIRED])


def test_an_edit_that_does_not_say_the_same_leaves_it_in_force() -> None:
    for edited in (COMMITTED, chat(v1=10, v2=90), chat(v1=50, v2=30, v3=20)):
        step = follow_policy(DRAINED, edited, NOW)
        assert step == Step(DRAINED)
        assert step.state is DRAINED


def test_when_policy_says_the_same_it_is_over_for_people_but_its_keys_stay() -> None:
    step = follow_policy(DRAINED, chat(v1=75, v2=25), NOW)
    assert whats(step) == [What.AGREED]
    assert step.state.in_force == {}
    assert step.state.overrides["chat"] == replace(DRAINED.overrides["chat"], agreed=True)
    again = follow_policy(step.state, chat(v1=75, v2=25), NOW)
    assert again == Step(step.state)  # and that is not told twice


def test_its_keys_stay_until_envoys_have_the_routes_though_its_time_is_up() -> None:
    late = NOW + QUARTER - timedelta(seconds=1)
    agreed = follow_policy(DRAINED, chat(v1=75, v2=25), late).state
    assert agreed.overrides["chat"].until == late + GRACE
    gone = expire(agreed, late + GRACE)
    assert gone == Step(NOTHING_LIVE)  # nobody is told: for people it has been over


def test_a_later_edit_lets_go_of_what_policy_had_agreed_with() -> None:
    agreed = follow_policy(DRAINED, chat(v1=75, v2=25), NOW).state
    assert follow_policy(agreed, chat(v1=60, v2=40), NOW) == Step(NOTHING_LIVE)
    assert follow_policy(agreed, COMMITTED, NOW) == Step(NOTHING_LIVE)


def test_a_version_that_gets_nothing_may_leave_the_policy() -> None:
    empty = LiveState({"chat": override(v1=0, v2=100)})
    assert whats(follow_policy(empty, chat(v2=100), NOW)) == [What.AGREED]
    assert follow_policy(empty, chat(v2=60, v3=40), NOW) == Step(empty)


@pytest.mark.parametrize(
    ("edited", "reason"),
    [
        (chat(v2=100), "policy no longer has version 1"),
        (chat(v1=100), "policy no longer has version 2"),
        (fleet(model("embed")), "policy no longer has the model"),
    ],
)
def test_it_ends_with_what_it_speaks_of_and_says_why(edited: Fleet, reason: str) -> None:
    step = follow_policy(DRAINED, edited, NOW)
    assert step.state == NOTHING_LIVE
    assert [(change.what, change.reason) for change in step.changes] == [(What.ENDED, reason)]


def test_a_fleet_without_overrides_is_the_very_same() -> None:
    agreed = LiveState({"chat": replace(override(v1=75, v2=25), agreed=True)})
    for state in (NOTHING_LIVE, agreed):
        assert apply_live(COMMITTED, state) is COMMITTED


def test_the_live_fleet_differs_in_the_weights_of_that_model_alone() -> None:
    live = apply_live(chat(v1=90, v2=10, v3=0), LiveState({"chat": override(v1=0, v3=100)}))
    assert live == chat(v1=0, v2=0, v3=100)
