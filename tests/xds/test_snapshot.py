"""Sets of resources, and sets that are made of others."""

from __future__ import annotations

import random

import pytest

from compiler.diagnostics import Position
from compiler.kept import STRETCH, Kept
from xds.snapshot import Resource, ResourceSet, resource
from xds.stream.difference import Claim, difference, moved
from xds.translate.together import together


def some(name: str, content: int) -> Resource:
    return resource(name, f"{name} {content}".encode(), Position("models.yaml", content, 1))


def contents(resources: ResourceSet) -> list[tuple[str, str, int]]:
    return [(name, found.version, found.origin.line) for name, found in resources.items()]


@pytest.mark.parametrize("seed", range(10))
def test_a_set_that_was_made_of_another_is_the_set_of_its_resources(seed: int) -> None:
    """With its version, its order, and the difference to the other one."""
    chance = random.Random(seed)
    found = ResourceSet(some(f"r{number}", 0) for number in range(5))
    for _ in range(50):
        resources = [some(f"r{chance.randrange(10)}", chance.randrange(3)) for _ in range(chance.randrange(3))]
        without = chance.sample(sorted(found), chance.randrange(min(3, len(found) + 1)))
        made = found.having(resources, without)
        kept = {name: has for name, has in found.items() if name not in without}
        fresh = ResourceSet({**kept, **{has.name: has for has in resources}}.values())
        assert contents(made) == contents(fresh)
        assert made == fresh
        assert difference(found, made) == difference(ResourceSet(found.values()), ResourceSet(fresh.values()))
        found = made


@pytest.mark.parametrize("claimed", [False, True])
def test_names_that_are_moved_are_as_in_the_other_set_and_all_others_as_they_were(claimed: bool) -> None:
    base = (Claim if claimed else ResourceSet)(some(name, 1) for name in ("a", "b", "c"))
    towards = ResourceSet(some(name, 2) for name in ("b", "d", "e"))
    after = moved(base, towards, frozenset({"b", "c", "d"}))
    assert contents(after) == [("a", some("a", 1).version, 1), *((n, some(n, 2).version, 2) for n in ("b", "d"))]


@pytest.mark.parametrize("seed", range(10))
def test_resources_together_are_one_set_whatever_came_before(seed: int) -> None:
    """Of several with one name the last counts, and some come several times."""
    chance, kept = random.Random(seed), Kept()
    there = [some(f"r{number}", 0) for number in range(5 * STRETCH)]
    for _ in range(100):
        at, edit = chance.randrange(len(there)), chance.random()
        if edit < 0.6:
            there[at] = some(there[at].name, chance.randrange(9))
        elif edit < 0.7:
            there[at] = some(f"r{chance.randrange(len(there))}", 1)
        elif edit < 0.8:
            there[at] = there[chance.randrange(len(there))]
        elif edit < 0.9:
            there.insert(at, some(f"new{chance.randrange(9)}", 1))
        else:
            del there[at]
        kept = Kept(kept.closed())
        found, fresh = together("all", tuple(there), kept), ResourceSet(there)
        assert found == fresh
        assert contents(found) == contents(fresh)


def test_what_one_change_makes_of_a_set_is_told_without_a_look_at_all_of_it() -> None:
    kept, there = Kept(), [some(f"r{number}", 0) for number in range(5 * STRETCH)]
    before = together("all", tuple(there), kept)
    there[STRETCH] = some(there[STRETCH].name, 1)
    after = together("all", tuple(there), Kept(kept.closed()))
    assert after.step is not None
    assert after.step.changed == {there[STRETCH].name}
    assert after.step.version == before.version
