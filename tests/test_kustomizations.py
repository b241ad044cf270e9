"""What plain `kubectl` makes of the rendered folders, with environments and without; rendering again is idle."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.test_rendered import contents, turnout

ROOT = Path(__file__).parent.parent
OVERLAYS = ROOT / "tests" / "golden" / "environments"
KUBECTL = Path(sys.executable).parent / "kubectl"
ENVIRONMENTS = ("prod", "staging")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's policies in two environments, and what they are rendered to."""
    folder = tmp_path_factory.mktemp("repository")
    shutil.copytree(ROOT / "policies", folder / "policies")
    shutil.copytree(OVERLAYS, folder / "policies" / "environments")
    compiled = turnout("compile", where=folder)
    assert compiled.returncode == 0, compiled.stderr
    return folder


def built(folder: Path) -> list[dict[str, Any]]:
    """What `kubectl apply -k` would apply, in its order."""
    done = subprocess.run([KUBECTL, "kustomize", folder], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def written(folder: Path) -> Iterator[dict[str, Any]]:
    """The objects in the files below `folder`, but for those that are for Argo CD's own cluster."""
    for file in sorted(folder.rglob("*.yaml")):
        if file.name != "kustomization.yaml" and "argocd" not in file.relative_to(folder).parts:
            yield from yaml.safe_load_all(file.read_text())


def by_name(objects: Iterator[dict[str, Any]] | list[dict[str, Any]]) -> dict[tuple[str, ...], dict[str, Any]]:
    named = [
        ((o["apiVersion"], o["kind"], o["metadata"].get("namespace", ""), o["metadata"]["name"]), o) for o in objects
    ]
    result = dict(named)
    assert len(result) == len(named)
    return result


@pytest.mark.parametrize("folder", ["", "argocd"])
def test_kubectl_puts_together_the_committed_objects_as_they_are(folder: str) -> None:
    found = built(ROOT / "rendered" / folder)
    assert by_name(found) == by_name(written(ROOT / "rendered" / folder))


@pytest.mark.parametrize("folder", ["", "argocd"])
@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_kubectl_puts_together_the_objects_of_every_environment(
    environment: str, folder: str, repository: Path
) -> None:
    rendered = repository / "rendered" / environment / folder
    assert by_name(built(rendered)) == by_name(written(rendered))


def test_what_everything_stands_in_is_applied_first(repository: Path) -> None:
    kinds = [item["kind"] for item in built(repository / "rendered" / "staging")]
    assert kinds.index("Deployment") > max(at for at, kind in enumerate(kinds) if kind == "Namespace")


def test_environments_differ_in_what_their_folders_say(repository: Path) -> None:
    prod, staging = (by_name(written(repository / "rendered" / name)) for name in ENVIRONMENTS)
    deployed = ("apps/v1", "Deployment", "{}", "llama-2-7b-1")
    replicas = {
        space: tree[(*deployed[:2], space, deployed[3])]["spec"]["replicas"]
        for tree, space in ((prod, "ai-inference"), (staging, "ai-staging"))
    }
    assert replicas["ai-staging"] == 1 < replicas["ai-inference"]
    assert [name for *_, name in prod if name.endswith(("-hot", "-warm", "-cold"))]
    assert not [name for *_, name in staging if name.endswith(("-hot", "-warm", "-cold"))]
    served = [
        tree[("apps/v1", "Deployment", space, "turnout-control")]["spec"]["template"]["spec"]["containers"][0]["args"]
        for tree, space in ((prod, "ai-inference"), (staging, "ai-staging"))
    ]
    assert [args[args.index("--env") + 1] for args in served] == ["prod", "staging"]
    applications = {
        item["metadata"]["name"]: item["spec"]
        for name in ENVIRONMENTS
        for item in built(repository / "rendered" / name / "argocd")
        if item["kind"] == "Application"
    }
    assert applications["turnout-prod"]["destination"]["server"] == "https://prod.example.com"
    assert applications["turnout-prod"]["source"]["targetRevision"] == "production"
    assert applications["turnout-staging"]["source"]["targetRevision"] == "main"
    assert applications["turnout-staging"]["source"]["path"] == "rendered/staging"


def test_rendering_a_second_and_a_third_time_touches_nothing(repository: Path) -> None:
    rendered = repository / "rendered"
    before = contents(rendered), touched(rendered)
    for environment in (None, *ENVIRONMENTS, None):
        compiled = turnout("compile", *(["--env", environment] if environment else []), where=repository)
        assert compiled.returncode == 0, compiled.stderr
        assert (contents(rendered), touched(rendered)) == before
    checked = turnout("compile", "--check", where=repository)
    assert (checked.returncode, checked.stdout) == (0, "")


def touched(folder: Path) -> dict[str, int]:
    return {str(file.relative_to(folder)): file.stat().st_mtime_ns for file in folder.rglob("*") if file.is_file()}
