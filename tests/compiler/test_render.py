"""Files: their bytes, their index, and how a folder comes to hold them."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import pytest
import yaml

from compiler import render
from compiler.diagnostics import Position
from compiler.emit import EMITTERS
from compiler.emit.object import Object
from compiler.kept import Kept
from compiler.render import HEADER, STAGING, drift, rendered_files, write
from tests.compiler.emit.fleets import fleet, model, rich_fleet
from tests.git_repository import run

ROOT = Path(__file__).parents[2]


def made(name: str = "a", wave: str = "0", kind: str = "Service", file: str = "models/a.yaml") -> Object:
    metadata = {"name": name, "namespace": "n", "annotations": {"argocd.argoproj.io/sync-wave": wave}}
    return Object(file, {"apiVersion": "v1", "kind": kind, "metadata": metadata}, Position("policies/a.yaml", 7, 5))


def everything() -> list[Object]:
    return [item for emitter in EMITTERS for item in emitter.objects(rich_fleet(), Kept())]


def tree(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}


# Bytes


def test_a_file_reads_back_as_its_objects_in_order_of_wave_kind_and_name() -> None:
    items = [
        made("b"),
        made("a"),
        made("z", wave="-4", kind="ServiceAccount"),
        made("y", kind="Deployment"),
        made("x", wave="1", kind="Deployment"),
    ]
    text = rendered_files(items)["models/a.yaml"].decode()
    assert text.splitlines()[0] == HEADER
    documents = list(yaml.safe_load_all(text))
    assert [d["metadata"]["name"] for d in documents] == ["z", "y", "a", "b", "x"]
    assert documents[2] == items[1].body


def test_the_order_of_objects_decides_nothing() -> None:
    items = everything()
    shuffled = random.Random(7).sample(items, len(items))
    assert rendered_files(shuffled) == rendered_files(items)


@pytest.mark.parametrize(
    "environment", [{"PYTHONHASHSEED": "1"}, {"PYTHONHASHSEED": "2", "TZ": "Asia/Tokyo", "LC_ALL": "C"}]
)
def test_another_process_renders_the_same_bytes(environment: dict[str, str]) -> None:
    script = (
        "import hashlib, sys\n"
        "from tests.compiler.test_render import everything, rendered_files\n"
        "for file, data in rendered_files(everything()).items():\n"
        "    print(file, hashlib.sha256(data).hexdigest())\n"
    )
    other = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    own = rendered_files(everything())
    assert other.stdout.splitlines() == [f"{file} {hashlib.sha256(data).hexdigest()}" for file, data in own.items()]


def test_the_kustomization_lists_the_manifests_and_nothing_else() -> None:
    files = rendered_files([made("a"), made("b", file="traffic/b.yaml")])
    body = yaml.safe_load(files["kustomization.yaml"])
    assert body["resources"] == ["models/a.yaml", "traffic/b.yaml"]


def test_the_index_names_the_policy_line_of_each_object() -> None:
    files = rendered_files([made("b"), made("a")])
    assert json.loads(files["index.json"]) == [
        {"object": "v1/Service/n/a", "file": "models/a.yaml", "origin": "policies/a.yaml:7"},
        {"object": "v1/Service/n/b", "file": "models/a.yaml", "origin": "policies/a.yaml:7"},
    ]


def test_an_empty_fleet_renders_a_kustomization_and_an_index_of_nothing() -> None:
    files = rendered_files([])
    assert sorted(files) == ["index.json", "kustomization.yaml", "ownership.json"]
    assert json.loads(files["index.json"]) == []
    assert json.loads(files["ownership.json"]) == []
    assert yaml.safe_load(files["kustomization.yaml"])["resources"] == []


def test_two_objects_of_one_key_are_refused() -> None:
    with pytest.raises(ValueError, match="two objects v1/Service/n/a"):
        rendered_files([made("a"), made("a", file="models/b.yaml")])


# Writing


def test_writing_makes_the_folder_hold_exactly_the_files(tmp_path: Path) -> None:
    files = rendered_files(everything())
    write(files, tmp_path / "deep" / "rendered")
    assert tree(tmp_path / "deep" / "rendered") == files
    assert list((tmp_path / "deep").iterdir()) == [tmp_path / "deep" / "rendered"]


def test_a_removed_model_takes_its_file_and_its_empty_folder_along(tmp_path: Path) -> None:
    write(rendered_files([made("a"), made("b", file="traffic/b.yaml")]), tmp_path)
    write(rendered_files([made("a")]), tmp_path)
    assert sorted(tree(tmp_path)) == ["index.json", "kustomization.yaml", "models/a.yaml", "ownership.json"]
    assert not (tmp_path / "traffic").exists()


def test_deleting_a_model_removes_its_objects(tmp_path: Path) -> None:
    two, one = fleet(model("a"), model("b")), fleet(model("a"))
    for value in (two, one):
        write(rendered_files([item for emitter in EMITTERS for item in emitter.objects(value, Kept())]), tmp_path)
    assert "b" not in {Path(file).stem for file in tree(tmp_path)}
    assert "b-1" not in "".join(data.decode() for data in tree(tmp_path).values())


def test_files_of_others_stay(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "theirs.yaml").write_text("kind: ConfigMap\n")
    (tmp_path / "README.md").write_text(f"{HEADER}\n")
    write(rendered_files([made("a")]), tmp_path)
    write(rendered_files([]), tmp_path)
    ours = ["index.json", "kustomization.yaml", "ownership.json"]
    assert sorted(tree(tmp_path)) == sorted(["README.md", "models/theirs.yaml", *ours])


def test_an_unchanged_file_is_not_touched(tmp_path: Path) -> None:
    write(rendered_files([made("a"), made("b", file="models/b.yaml")]), tmp_path)
    kept = tmp_path / "models" / "a.yaml"
    os.utime(kept, ns=(1, 1))
    write(rendered_files([made("a"), made("c", file="models/b.yaml")]), tmp_path)
    assert kept.stat().st_mtime_ns == 1
    assert b"name: c" in (tmp_path / "models" / "b.yaml").read_bytes()


@pytest.mark.parametrize("problem", [OSError(28, "no space left on device"), KeyboardInterrupt()], ids=["disk", "key"])
@pytest.mark.parametrize("failing", range(1, 6))
def test_a_failure_midway_leaves_the_old_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int, problem: BaseException
) -> None:
    """The disk fails at the n-th step of five: four files moved in, one removed."""
    folder = tmp_path / "rendered"
    write(rendered_files([made("a"), made("b", file="old/b.yaml")]), folder)
    before = tree(folder)
    after = rendered_files([made("c"), made("d", file="new/d.yaml")])
    steps = 0

    def failing_step(real: Any) -> Any:
        def step(path: Path, *rest: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps == failing:
                raise problem
            return real(path, *rest)

        return step

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", failing_step(Path.replace))
        patch.setattr(Path, "unlink", failing_step(Path.unlink))
        with pytest.raises(type(problem)):
            write(after, folder)
    assert tree(folder) == before
    assert not (folder / STAGING).exists()
    assert not (folder / "new").exists()
    assert list(tmp_path.iterdir()) == [folder]
    write(after, folder)
    assert tree(folder) == after


def test_a_failure_while_staging_touches_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "rendered"
    write(rendered_files([made("a")]), folder)
    before = tree(folder)

    def no_space(*_: object) -> None:
        raise OSError(28, "no space left on device")

    monkeypatch.setattr(Path, "write_bytes", no_space)
    with pytest.raises(OSError, match="no space left"):
        write(rendered_files([made("b")]), folder)
    assert tree(folder) == before
    assert list(tmp_path.iterdir()) == [folder]


def test_a_new_folder_is_there_at_once_and_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, files = tmp_path / "rendered", rendered_files(everything())
    (tmp_path / f".rendered{STAGING}" / "left by a run that was killed").mkdir(parents=True)
    room = len(files) - 1

    def until_full(path: str, mode: str) -> IO[Any]:
        nonlocal room
        assert not folder.exists()
        room -= 1
        if room < 0:
            raise OSError(28, "no space left on device")
        return open(path, mode)  # noqa: PTH123 - as `write` does

    monkeypatch.setattr(render, "open", until_full, raising=False)
    with pytest.raises(OSError, match="no space left"):
        write(files, folder)
    assert list(tmp_path.iterdir()) == []
    room = len(files)
    assert write(files, folder) == tuple(files)
    assert tree(folder) == files
    assert list(tmp_path.iterdir()) == [folder]


def test_nothing_is_written_outside_of_the_folder_which_may_be_a_mount_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "rendered"
    write(rendered_files([made("a"), made("b", file="old/b.yaml")]), folder)
    moved: list[Path] = []
    real = Path.replace

    def noted(path: Path, target: Path) -> Path:
        moved.extend((path, target))
        return real(path, target)

    monkeypatch.setattr(Path, "replace", noted)
    write(rendered_files([made("c")]), folder)
    assert moved
    assert all(path.is_relative_to(folder) for path in moved)


def test_what_a_killed_run_left_is_no_orphan_and_goes_with_the_next(tmp_path: Path) -> None:
    files = rendered_files([made("a")])
    write(files, tmp_path)
    left = tmp_path / STAGING / "after" / "models" / "z.yaml"
    left.parent.mkdir(parents=True)
    left.write_bytes(files["models/a.yaml"])
    assert drift(files, tmp_path) == ""
    write(files, tmp_path)
    assert tree(tmp_path) == files
    assert not (tmp_path / STAGING).exists()


@pytest.mark.parametrize("prefix", ["", "prod/"])
@pytest.mark.parametrize("is_new", [True, False], ids=["new", "not new"])
def test_git_takes_nothing_of_what_a_killed_run_left(tmp_path: Path, prefix: str, is_new: bool) -> None:
    run("git", "init", "--quiet", at=tmp_path)
    folder = tmp_path / "rendered"
    if not is_new:
        write(rendered_files([made("a")]), folder / prefix)
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from tests.compiler.test_render import made, rendered_files, write\n"
        "Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "write(rendered_files([made('b')]), Path(sys.argv[1]))\n"
    )
    command = [sys.executable, "-c", script, str(folder / prefix)]
    killed = subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [path.name for path in tmp_path.rglob(f"*{STAGING}")] != []
    run("git", "add", "--all", at=tmp_path)
    rendered = {} if is_new else {f"{prefix}{file}": data for file, data in rendered_files([made("a")]).items()}
    assert run("git", "ls-files", at=tmp_path).split() == sorted(f"rendered/{file}" for file in rendered)
    assert drift(rendered, folder) == ""


# Drift


def test_a_folder_that_holds_the_files_has_no_drift(tmp_path: Path) -> None:
    files = rendered_files(everything())
    write(files, tmp_path)
    assert drift(files, tmp_path) == ""


def test_drift_tells_what_changed_what_is_missing_and_what_is_too_much(tmp_path: Path) -> None:
    write(rendered_files([made("a"), made("b", file="models/b.yaml")]), tmp_path)
    (tmp_path / "models" / "theirs.yaml").write_text("kind: ConfigMap\n")
    wanted = rendered_files([made("x"), made("c", file="models/c.yaml")])
    lines = drift(wanted, tmp_path).splitlines()
    assert "--- a/models/a.yaml" in lines
    assert "-  name: a" in lines
    assert "+  name: x" in lines
    assert lines[lines.index("--- a/models/b.yaml") + 1] == "+++ /dev/null"
    assert lines[lines.index("+++ b/models/c.yaml") - 1] == "--- /dev/null"
    assert not any("theirs" in line for line in lines)


def test_drift_writes_nothing(tmp_path: Path) -> None:
    assert drift(rendered_files([made()]), tmp_path / "nowhere") != ""
    assert list(tmp_path.iterdir()) == []


def test_a_missing_line_break_at_the_end_is_drift(tmp_path: Path) -> None:
    files = rendered_files([made()])
    write(files, tmp_path)
    path = tmp_path / "models" / "a.yaml"
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    assert "\\ No newline at end of file" in drift(files, tmp_path)


def test_an_edit_by_hand_is_overwritten(tmp_path: Path) -> None:
    files = rendered_files([made()])
    write(files, tmp_path)
    edited = tmp_path / "models" / "a.yaml"
    edited.write_text("<<<<<<< HEAD\n" + edited.read_text())
    assert drift(files, tmp_path) != ""
    write(files, tmp_path)
    assert tree(tmp_path) == files


def test_the_column_of_a_policy_is_not_rendered() -> None:
    item = made()
    moved = item._replace(origin=item.origin._replace(column=99))
    assert rendered_files([item]) == rendered_files([moved])
