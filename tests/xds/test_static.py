"""The static bootstrap: all that a group is served, and nothing that leads to a control server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from compiler.pipeline import compile_policies
from tests.envoy.envoy_process import validate
from xds.snapshot import ResourceType, Snapshot
from xds.static import static_bootstrap
from xds.translate import Group, Placement, snapshot

SAMPLE = Path(__file__).parents[2] / "policies"


@pytest.fixture(scope="module")
def groups() -> dict[str, Snapshot]:
    fleet = compile_policies(SAMPLE).fleet
    assert fleet is not None
    return {name: snapshot(fleet, Group(name, Placement(port=18080))) for name in ("public", "sidecar")}


def static(found: Snapshot) -> Any:
    return json.loads(static_bootstrap(found, node_id="gw-1", cluster="public", zone="az-1", admin_port=0))


def keys(tree: Any) -> Iterator[str]:
    if isinstance(tree, dict):
        yield from tree
        for value in tree.values():
            yield from keys(value)
    elif isinstance(tree, list):
        for item in tree:
            yield from keys(item)


@pytest.mark.parametrize("name", ["public", "sidecar"])
def test_envoy_accepts_it_and_nothing_in_it_leads_to_a_server(
    name: str, groups: dict[str, Snapshot], tmp_path: Path
) -> None:
    made = static(groups[name])
    assert validate(json.dumps(made), tmp_path).returncode == 0
    assert not {"ads", "ads_config", "rds", "rtds_layer", "eds_cluster_config", "dynamic_resources"} & {*keys(made)}


def test_every_cluster_has_its_instances_and_the_layer_its_settings(groups: dict[str, Snapshot]) -> None:
    made, found = static(groups["public"]), groups["public"]
    assert [c["name"] for c in made["static_resources"]["clusters"]] == list(found[ResourceType.CLUSTER])
    given = {c["name"]: c["load_assignment"] for c in made["static_resources"]["clusters"] if c.get("load_assignment")}
    assert set(found[ResourceType.ENDPOINT]) <= set(given)
    assert all(
        c["type"] == "STATIC" for c in made["static_resources"]["clusters"] if c["name"] in found[ResourceType.ENDPOINT]
    )
    layers = made["layered_runtime"]["layers"]
    assert [layer["name"] for layer in layers] == ["turnout", "admin"]
    assert "re2.max_program_size.error_level" in layers[0]["static_layer"]


def test_its_maps_have_one_order(groups: dict[str, Snapshot]) -> None:
    """So that two of them can be compared."""

    def ordered(tree: Any) -> bool:
        if isinstance(tree, dict):
            return list(tree) == sorted(tree) and all(map(ordered, tree.values()))
        return not isinstance(tree, list) or all(map(ordered, tree))

    made = static(groups["public"])["static_resources"]
    assert all(map(ordered, (*made["clusters"], *made["listeners"])))
