"""The rich fleet's manifests, byte for byte as they were last read by a person: tests/golden/rendered."""

from __future__ import annotations

import os
from pathlib import Path

from compiler.emit.object import Object
from compiler.render import drift, rendered_files, write

GOLDEN = Path(__file__).parents[2] / "golden" / "rendered"


def test_the_rendered_fleet_is_the_golden_one(objects: tuple[Object, ...]) -> None:
    """`UPDATE_GOLDEN=1` writes what is rendered now; read the diff."""
    files = rendered_files(objects)
    if os.environ.get("UPDATE_GOLDEN"):
        write(files, GOLDEN)
    assert drift(files, GOLDEN) == ""
