"""What a real Envoy, with the filter that the monitor asks with, tells of its clusters."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

from compiler.emit.observability.monitors import ENVOY_FILTER, ENVOY_SERIES
from demo.processes import poll
from demo.stack import fetch
from demo.traffic import Load, chat
from tests.envoy.live import live


def test_an_envoy_tells_what_is_kept_and_little_else(tmp_path: Path) -> None:
    with live(tmp_path, "delta") as fleet:
        with Load(fleet.envoy.url, 1, chat("split"), limit=3) as load:
            assert poll(lambda: load.count >= 3, 20)
        text = fetch(f"{fleet.envoy.admin}/stats/prometheus?filter={quote(ENVOY_FILTER)}").decode()
    told = set(re.findall(r"^([a-z_]+)\{", text, re.MULTILINE))
    assert set(ENVOY_SERIES) - told == set()
    assert {name for name in told - set(ENVOY_SERIES) if name.startswith("envoy_cluster")} == set()
    assert 'envoy_cluster_membership_healthy{envoy_cluster_name="split_1-0"}' in text
    assert "envoy_control_plane_connected_state{} 1" in text
