"""`turnout check --envoy`: what a real Envoy refuses of a snapshot is told with the line that it comes from."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compiler.pipeline import compile_policies
from tests.envoy.envoy_process import ENVOY
from tests.envoy.test_poison import filters, lua, lua_of_route, unknown_cluster_type
from tests.envoy.test_static_routes import both_protocols
from tests.xds.soundness.spoiling import changed, routed
from tests.xds.translate.fleets import fleet, gateway, model, tenant
from xds import translate, validation
from xds.snapshot import ResourceType, Snapshot
from xds.translate.group import Group

POLICY = """\
apiVersion: turnout.dev/v1
kind: InferenceModel
metadata: {name: chat}
spec:
  modelName: example/chat
  endpoints: [{address: 127.0.0.1, port: 9001, zone: az-1}]
"""


def turnout(folder: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "xds.cli", "check", str(folder), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=more or None)


def test_policies_that_envoy_takes_have_no_problems(tmp_path: Path) -> None:
    (tmp_path / "models.yaml").write_text(POLICY)
    run = turnout(tmp_path, "--envoy-binary", str(ENVOY))
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.endswith(": no problems\n")


def test_envoy_takes_the_sample_fleet() -> None:
    found = compile_policies(Path(__file__).parents[2] / "policies").fleet
    assert found is not None
    assert validation.diagnostics(found, ENVOY) == ()


def test_without_an_envoy_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "models.yaml").write_text(POLICY)
    run = turnout(tmp_path, "--envoy-binary", "/nowhere/envoy")
    assert (run.returncode, run.stdout) == (1, "")
    assert "no program /nowhere/envoy; --envoy-binary says where it is" in run.stderr


def test_what_envoy_says_is_a_diagnostic_among_the_others(tmp_path: Path) -> None:
    """An Envoy that takes nothing."""
    picky = tmp_path / "envoy"
    picky.write_text("#!/bin/sh\necho \"error initializing configuration '$4': not today\" >&2\nexit 1\n")
    picky.chmod(0o755)
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "models.yaml").write_text(POLICY)
    run = turnout(tmp_path / "policies", "--envoy-binary", str(picky), "--format", "json")
    assert run.returncode == 1
    found = json.loads(run.stdout)["diagnostics"]
    (told,) = (of for of in found if of["code"] == "X101")
    assert told["message"] == "envoy --mode validate refused cluster 'chat_1': not today"
    assert (told["line"], told["severity"]) == (3, "error")


def two_models() -> Snapshot:
    return translate.snapshot(fleet(model("chat"), model("embed"), model("rank")), Group("default"))


@pytest.mark.parametrize(
    ("spoil", "name", "said"),
    [
        (lambda of: changed(of, ResourceType.CLUSTER, "embed_1", unknown_cluster_type), "cluster 'embed_1'", "nobody"),
        (
            lambda of: changed(of, ResourceType.LISTENER, "default-8080", filters(lua)),
            "listener 'default-8080'",
            "script load error",
        ),
        (
            lambda of: routed(of, "embed", lambda found: lua_of_route(found.routes)),
            "route 'model/embed'",
            "script load error",
        ),
        (
            lambda of: changed(of, ResourceType.ROUTE, "default", domain_twice),
            "route 'default'",
            "Only a single wildcard",
        ),
    ],
)
def test_who_is_to_blame_is_found(spoil: Callable[[Snapshot], Snapshot], name: str, said: str) -> None:
    (found,) = validation._refused(spoil(two_models()), lambda of: validation._said(ENVOY, of))
    assert found.code == "X101"
    assert found.message.startswith(f"envoy --mode validate refused {name}: ")
    assert said in found.message


def domain_twice(table: Any) -> None:
    table.virtual_hosts.add(name="second", domains=["*"])


def test_what_would_be_held_back_is_told_too() -> None:
    ejecting = replace(model("chat").outlier_detection, max_ejection_percent=101)
    of = fleet(model("chat", outlier_detection=ejecting))
    (cluster, *others) = validation.diagnostics(of, ENVOY)
    assert cluster.code == "X102"
    assert "cluster 'chat_1' breaks outlier_detection.max_ejection_percent" in cluster.message
    assert {other.code for other in others} == {"X102"}


def test_certificates_need_not_be_on_this_machine() -> None:
    assert not validation.diagnostics(fleet(model("chat"), listeners=both_protocols()), ENVOY)


def test_sidecars_of_tenants_are_asked_about() -> None:
    of = fleet(model("chat"), model("fraud", tenant="risk"), gateways=(gateway(("chat",)),), tenants=(tenant("risk"),))
    assert [*validation._groups(of)] == ["default", "sidecar", "sidecar.risk"]


def test_culprits_are_found_by_halves() -> None:
    asked = []

    def refusal(some: Any) -> str:
        asked.append(len(some))
        return f"{[n for n in some if n in (3, 40)]}" if {3, 40} & set(some) else ""

    assert validation.culprits(range(64), refusal) == [(3, "[3]"), (40, "[40]")]
    assert len(asked) < 30
