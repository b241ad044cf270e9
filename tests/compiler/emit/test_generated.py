"""Whatever a policy asks for, what is rendered is what an API server takes, and the same a second time."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, assume, event, given, settings

from compiler.emit import EMITTERS, argocd, kubernetes
from compiler.kept import Kept
from compiler.ownership import conflicts
from compiler.pipeline import compile_policies
from compiler.render import rendered_files
from tests.compiler.generated import Document, fleets, text
from tests.manifests.schemas import validate

SLOW = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much, HealthCheck.too_slow],
)
folders = itertools.count()


@SLOW
@given(documents=fleets())
def test_every_object_of_a_generated_fleet_is_valid(documents: list[Document], tmp_path: Path) -> None:
    folder = tmp_path / str(next(folders))
    folder.mkdir()
    (folder / "policies.yaml").write_text(text(documents))
    compiled = compile_policies(folder)
    for code in {found.code for found in compiled.diagnostics if found.severity == "error"}:
        event(f"refused with {code}")
    assume(compiled.fleet is not None)
    assert compiled.fleet is not None
    objects = [made for emitter in EMITTERS for made in emitter.objects(compiled.fleet, Kept())]
    objects += argocd.objects(compiled.fleet.platform, "", objects, Kept())
    for kind in {item.body["kind"] for item in objects}:
        event(f"renders {kind}")
    complaints = {item.key: validate(item.body) for item in objects}
    assert {key: found for key, found in complaints.items() if found} == {}
    assert list(conflicts(objects)) == []
    looked_at = {item.key for model in compiled.fleet.models for item in kubernetes.handing_over(model)}
    assert looked_at == {item.key for item in objects if item.handovers}
    assert max(Counter(item.key for item in objects).values()) == 1
    again = [made for emitter in reversed(EMITTERS) for made in emitter.objects(compiled.fleet, compiled.kept)]
    again += argocd.objects(compiled.fleet.platform, "", again, compiled.kept)
    assert rendered_files(again) == rendered_files(objects)
