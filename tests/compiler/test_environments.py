"""What differs in an environment lies on what is common to all."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.diagnostics import Severity
from compiler.environments import overlaid
from compiler.kept import Kept
from compiler.kinds import InferenceModel
from compiler.link import settings
from compiler.nodes import Mapped, plain
from compiler.parse import parse
from compiler.pipeline import Compiled, compile_environments, compile_policies, fleet_of, rendered
from compiler.render import write
from compiler.show import model_values
from tests.compiler.policies import document, model

ROOT = Path(__file__).parents[2]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "policies"
    for name in ("prod", "staging"):
        (folder / "environments" / name).mkdir(parents=True)
    (folder / "models.yaml").write_text(f"{model('chat', 'replicas: 2')}---\n{model('embed')}")
    (folder / "environments" / "staging" / "models.yaml").write_text(
        document("InferenceModel", "chat", "replicas: 1\nresources: {cpu: 4}")
    )
    (folder / "environments" / "prod" / "models.yaml").write_text(
        document("InferenceModel", "chat", "replicas: null") + "---\n" + model("only-here")
        + "---\n" + document("InferenceModel", "embed") + "remove: true\n"
    )  # fmt: skip
    return folder


def replicas(compiled: Compiled) -> dict[str, int]:
    assert compiled.fleet is not None, compiled.diagnostics
    return {model.name: model.versions[0].replicas for model in compiled.fleet.models}


def test_each_environment_is_what_all_have_in_common_and_what_it_says_itself(root: Path) -> None:
    found = compile_environments(root)
    assert {name: replicas(compiled) for name, compiled in found.items()} == {
        "prod": {"chat": 1, "only-here": 1},
        "staging": {"chat": 1, "embed": 1},
    }


def test_one_environment_alone_is_the_same(root: Path) -> None:
    every = compile_environments(root)
    for name, compiled in every.items():
        alone = compile_policies(root, environment=name)
        assert (alone.fleet, alone.diagnostics) == (compiled.fleet, compiled.diagnostics)
        assert compile_environments(root, name)[name].fleet == compiled.fleet


@pytest.mark.parametrize("environment", ["prod", "staging"])
def test_the_texts_alone_give_the_same_fleet(root: Path, environment: str) -> None:
    """To the line of each value; what another environment says is not needed."""
    compiled = compile_policies(root, environment=environment)
    texts = [(file.name, file.text) for file in compiled.sources.of(environment).files]
    assert fleet_of(texts, environment) == compiled.fleet
    assert fleet_of([*texts, ("policies/z.yaml", "kind: Nothing\n")], environment) is None


def test_objects_are_from_the_line_of_the_base_and_values_from_where_they_stand(root: Path) -> None:
    compiled = compile_policies(root, environment="staging")
    assert compiled.fleet is not None
    assert str(compiled.fleet.models[0].origin) == "policies/models.yaml:3:18"
    policy = compiled.policies.of(InferenceModel)["chat"]
    values = {v.loc: v.origin for v in model_values(policy, compiled.policies, settings(compiled.policies, []), root)}
    assert values["spec", "replicas"].endswith("environments/staging/models.yaml:5:13")
    assert values["spec", "modelName"].endswith("policies/models.yaml:5:14")


def test_without_environments_there_is_one_without_a_name() -> None:
    assert list(compile_environments(ROOT / "policies")) == [""]


def test_policies_of_several_environments_are_no_fleet_of_their_own(root: Path) -> None:
    for environment, said in (("", "these policies are those of prod, staging"), ("stagin", "no environment 'stagin'")):
        compiled = compile_policies(root, environment=environment)
        assert compiled.fleet is None
        assert said in [d.message for d in compiled.diagnostics if d.code == "P011"]


def test_an_error_in_one_environment_is_none_of_another(root: Path) -> None:
    (root / "environments" / "prod" / "broken.yaml").write_text("a: [")
    found = compile_environments(root)
    assert found["staging"].fleet is not None
    assert found["prod"].fleet is None


def test_environments_that_would_undo_each_other_are_not_rendered_and_others_are(root: Path) -> None:
    def names(server: str) -> str:
        return document("Platform", "platform", f"argocd: {{repoURL: 'https://git.example', server: '{server}'}}")

    (root / "environments" / "dev").mkdir()
    for name, server in (("dev", "https://dev:6443"), ("staging", "https://one:6443"), ("prod", "https://one:6443")):
        (root / "environments" / name / "platform.yaml").write_text(names(server))
    found = compile_environments(root)
    assert {name: compiled.fleet is None for name, compiled in found.items()} == {
        "dev": False,
        "prod": True,
        "staging": True,
    }
    assert {str(d.position) for each in found.values() for d in each.diagnostics if d.code == "P453"} == {
        "policies/environments/prod/platform.yaml:5:3",
        "policies/environments/staging/platform.yaml:5:3",
    }


def test_environments_of_argo_cds_own_cluster_may_share_a_namespace(root: Path) -> None:
    (root / "platform.yaml").write_text(document("Platform", "platform", "argocd: {repoURL: 'https://git.example'}"))
    found = compile_environments(root)
    assert all(compiled.fleet is not None for compiled in found.values())
    assert {d.severity for each in found.values() for d in each.diagnostics if d.code == "P453"} == {Severity.INFO}


@pytest.mark.parametrize(("namespace", "colliding"), [("argocd", True), ("argocd-2", False)])
def test_applications_of_one_name_collide_in_one_argo_cd(root: Path, namespace: str, colliding: bool) -> None:
    for name, where in (("a.b", "argocd"), ("a-b", namespace)):
        (root / "environments" / name).mkdir()
        said = f"argocd: {{repoURL: 'https://git.example', server: 'https://{name}:6443', namespace: {where}}}"
        (root / "environments" / name / "platform.yaml").write_text(document("Platform", "platform", said))
    found = compile_environments(root)
    assert {name for name, each in found.items() if each.fleet is None} == ({"a.b", "a-b"} if colliding else set())


def test_every_environment_has_its_folder_and_what_has_gone_is_removed(root: Path, tmp_path: Path) -> None:
    output = tmp_path / "rendered"
    files = rendered(compile_environments(root))
    assert {file.partition("/")[0] for file in files} == {"prod", "staging"}
    assert len(write(files, output)) == len(files)
    assert write(rendered(compile_environments(root)), output) == ()
    alone = rendered(compile_environments(root, "prod"), alone=True)
    assert write(alone, output / "prod") == ()
    shutil.rmtree(root / "environments" / "prod")
    write(rendered(compile_environments(root)), output)
    assert [folder.name for folder in output.iterdir()] == ["staging"]
    shutil.rmtree(root / "environments")
    write(rendered(compile_environments(root)), output)
    assert not (output / "staging").exists()


names = st.sampled_from(("a", "b", "c"))
values = st.recursive(st.integers(0, 2), lambda inner: st.dictionaries(names, inner, max_size=3), max_leaves=6)
specs = st.dictionaries(names, values, max_size=3)
patches = st.dictionaries(
    names, st.recursive(st.none() | st.integers(0, 2), lambda inner: st.dictionaries(names, inner, max_size=3))
)


def node(spec: object) -> Mapped:
    (found,), problems = parse(
        f"kind: K\napiVersion: v\nmetadata: {{name: n}}\nspec: {spec}\n".replace("None", "null"), "f"
    )
    assert problems == ()
    return found


def laid(base: object, patch: object) -> object:
    """A patch as JSON Merge Patch has it, https://www.rfc-editor.org/rfc/rfc7386."""
    if not isinstance(patch, dict):
        return patch
    result = dict(base) if isinstance(base, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = laid(result.get(key), value)
    return result


@given(base=specs, patch=patches)
def test_an_overlay_is_a_merge_patch(base: dict[str, object], patch: dict[str, object]) -> None:
    found: list[object] = []
    ((merged,),) = overlaid([(node(base),)], [(node(patch),)], Kept(), found)  # type: ignore[arg-type]
    assert found == []
    assert plain(merged)["spec"] == laid(base, patch)
