"""Policy folders to serve."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.features.served import Folder


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """With the models `chat` and `embed`."""
    made = Folder(tmp_path / "policies")
    made.models("chat", "embed")
    return made
