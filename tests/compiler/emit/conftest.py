"""What the tests of the emitters share."""

from __future__ import annotations

import pytest

from compiler.emit import EMITTERS
from compiler.emit.object import Object
from compiler.fleet import Fleet
from compiler.kept import Kept
from tests.compiler.emit.fleets import rich_fleet


@pytest.fixture(scope="session")
def fleet() -> Fleet:
    return rich_fleet()


@pytest.fixture(scope="session")
def objects(fleet: Fleet) -> tuple[Object, ...]:
    return tuple(item for emitter in EMITTERS for item in emitter.objects(fleet, Kept()))
