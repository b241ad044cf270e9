"""Whatever policy asks for is sound, and whatever is spoilt of it, what is served is."""

from __future__ import annotations

import itertools
from pathlib import Path

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from compiler.pipeline import compile_policies
from tests.compiler.generated import Document, fleets, text
from tests.xds.soundness.spoiling import having, without
from tests.xds.translate.fleets import endpoint, fleet, model, version
from xds.holding_back import sound
from xds.snapshot import ResourceType, Snapshot, resource
from xds.soundness.problems import Examiner
from xds.translate import Group, snapshot
from xds.validation import _groups

SLOW = settings(
    deadline=None,
    max_examples=20,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much, HealthCheck.too_slow],
)
folders = itertools.count()


@SLOW
@given(documents=fleets())
def test_what_a_generated_policy_makes_is_sound(documents: list[Document], tmp_path: Path) -> None:
    folder = tmp_path / str(next(folders))
    folder.mkdir()
    (folder / "policies.yaml").write_text(text(documents))
    found = compile_policies(folder).fleet
    assume(found is not None)
    assert found is not None
    for name in _groups(found):
        made = snapshot(found, Group(name))
        assert Examiner().problems(made, None) == []


def of_models(weight: int, *names: str) -> Snapshot:
    versions = (version("1.0", 100 - weight, (endpoint(9001),)), version("1.1", weight, (endpoint(9002),)))
    return snapshot(fleet(*(model(name, versions) for name in names)), Group("default"))


BEFORE = of_models(10, "a", "b", "c")
NOW = of_models(50, "a", "b", "d")
RESOURCES = [(type_, name) for type_ in ResourceType for name in NOW[type_]]
SPOILS = ("gone", "garbage", "empty", "another")


def spoilt(made: Snapshot, type_: ResourceType, name: str, how: str) -> Snapshot:
    if how == "gone":
        return without(made, type_, name)
    others = [of.body for of in made[type_].values() if of.name != name]
    body = {"garbage": b"\xff\xff", "empty": b"", "another": others[0] if others else b""}[how]
    return having(made, type_, resource(name, body, made[type_][name].origin))


@settings(deadline=None)
@given(
    bugs=st.dictionaries(st.sampled_from(RESOURCES), st.sampled_from(SPOILS), max_size=4),
    before=st.sampled_from([None, BEFORE, NOW]),
)
def test_whatever_is_spoilt_what_is_served_is_sound_and_the_rest_as_it_was_made(
    bugs: dict[tuple[ResourceType, str], str], before: Snapshot | None
) -> None:
    made = NOW
    for (type_, name), how in bugs.items():
        made = spoilt(made, type_, name, how)
    found = sound(made, before, Examiner())
    assert Examiner().problems(found, before) == []
    for type_ in (ResourceType.CLUSTER, ResourceType.ENDPOINT):
        for name in NOW[type_]:
            if (type_, name) not in bugs:
                assert found[type_][name].body == NOW[type_][name].body
    assert bool(found.held) == bool(Examiner().problems(made, before))
