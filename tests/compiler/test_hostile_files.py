"""Files that nobody designed for, through the real command: told with a place, within bounds, without a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from compiler.source import load_sources

ROOT = Path(__file__).parents[2]
MEMORY = 2**30
"""Bytes of address space that the command may have."""
SECONDS = 60
"""For a machine that is busy with other tests; the command itself takes a few at most."""

MODEL = "apiVersion: turnout.dev/v1\nkind: InferenceModel\nmetadata: {name: chat}\nspec: {modelName: org/chat}\n"


def check(folder: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    # Not by a function in the child: gRPC, of another test in this process, says something at each fork without exec.
    limited = 'ulimit -v "$0" && exec "$@"'
    return subprocess.run(
        ["sh", "-c", limited, str(MEMORY // 1024), sys.executable, "-m", "xds.cli", "check", "policies", *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=SECONDS,
        check=False,
    )


def diagnostics(folder: Path) -> list[dict[str, Any]]:
    """What `turnout check --format json` says of the policies in `folder`, which it refuses."""
    run = check(folder, "--format", "json")
    assert run.stderr == b""
    assert run.returncode == 1
    found: list[dict[str, Any]] = json.loads(run.stdout)["diagnostics"]
    assert all(set(d) == {"code", "severity", "file", "line", "column", "message", "hint"} for d in found)
    assert all(d["file"].startswith("policies") for d in found)
    assert all(len(d["message"]) < 1_000 for d in found)
    return found


def spec(text: str) -> str:
    return MODEL.replace("{modelName: org/chat}", text)


def alias_bomb() -> str:
    levels = "abcdefghi"
    rows = [f"a: &a [{', '.join('x' * 10)}]"]
    rows += [f"{here}: &{here} [{', '.join([f'*{below}'] * 10)}]" for below, here in pairwise(levels)]
    return "\n".join(rows)


def alias_ladder() -> str:
    """Few values, nested thousands deep by aliases."""
    rows = ["a0: &a0 " + "[" * 90 + "]" * 90]
    rows += [f"a{n}: &a{n} " + "[" * 90 + f"*a{n - 1}" + "]" * 90 for n in range(1, 40)]
    return "\n".join(rows)


def alias_bombs(kind: str) -> str:
    """A hundred documents, each just within what one may hold: 25 KB of text, eight million values."""
    head = MODEL.replace("InferenceModel", kind) + "x:\n- &a [" + ", ".join("x" * 10) + "]\n"
    levels = [f"- &{here} [{', '.join([f'*{below}'] * 10)}]\n" for below, here in pairwise("abcd")]
    return "---\n".join([head + "".join(levels) + "- [*d, *d, *d, *d, *d, *d]\n"] * 100)


TEXTS: dict[str, tuple[str | bytes, str]] = {
    "binary": (bytes(range(256)) * 64, "P002"),
    "an executable": (b"\x7fELF\x02\x01\x01" + bytes(5_000), "P001"),
    "tabs": ("apiVersion: turnout.dev/v1\nkind: InferenceModel\nmetadata:\n\tname: chat\n", "P001"),
    "3,000 nested brackets": ("a: " + "[" * 3_000 + "]" * 3_000, "P004"),
    "100,000 nested brackets": ("a: " + "[" * 100_000, "P004"),
    "3,000 nested maps": ("{a: " * 3_000 + "}" * 3_000, "P004"),
    "an alias bomb": (alias_bomb(), "P004"),
    "a hundred alias bombs": (alias_bombs("InferenceModel"), "P004"),
    "a hundred alias bombs of no kind": (alias_bombs("Nothing"), "P004"),
    "an alias bomb for an apiVersion": (alias_bombs("InferenceModel").replace("turnout.dev/v1", "[]"), "P004"),
    "flat lists": ("---\n".join([spec("{config: {extraArgs: [" + "x," * 90_000 + "]}}")] * 20), "P004"),
    "an alias ladder": (alias_ladder(), "P004"),
    "python tags": (spec("{modelName: !!python/object/apply:os.system [touch /tmp/pwned]}"), "P005"),
    "NaN": (spec("{modelName: org/chat, config: {gpuMemoryUtilization: .NaN}}"), "P007"),
    "a number without bounds": (spec("{modelName: org/chat, replicas: 1e999}"), "P007"),
    "an integer of 5,000 digits": (spec(f"{{modelName: org/chat, replicas: {'9' * 5_000}}}"), "P007"),
    "Latin-1": ("# Modèle\n".encode("latin-1") + MODEL.encode(), "P002"),
    "UTF-16": (MODEL.encode("utf-16"), "P002"),
    "UTF-16 without a mark": (MODEL.encode("utf-16-le"), "P001"),
    "an anchor that merges itself": (spec("&s {modelName: org/chat, <<: *s}"), "P001"),
    "an alias before its anchor": (spec("{modelName: *name}"), "P001"),
    "numbers as names": (MODEL.replace("name: chat", "name: 70"), "P102"),
    "an unknown apiVersion": (MODEL.replace("/v1", "/v9"), "P114"),
    "an unknown YAML version": ("%YAML 3.0\n---\n" + MODEL, "P001"),
    "nothing": ("", "P010"),
    "only comments": ("# nothing\n", "P010"),
    "only document marks": ("---\n---\n...\n", "P010"),
    "a list": ("- 1\n- 2\n", "P006"),
    "prose": ("Dear all, the models are as follows.\n", "P006"),
    "JSON lines": ('{"a": 1}\n{"a": 2}\n', "P001"),
    "control characters": (MODEL + "# \x1b[2J\x07", "P001"),
    "windows line ends": (spec("{modelName: org/chat, replicas: two}").replace("\n", "\r\n"), "P102"),
    "old macintosh line ends": (spec("{modelName: org/chat, replicas: two}").replace("\n", "\r"), "P102"),
    "a byte order mark": ("\ufeff" + spec("{modelName: org/chat, replicas: two}"), "P102"),
    "17 MiB": ("#" * (17 * 2**20), "P008"),
    "a very long line": (spec("{modelName: org/chat, replicas: " + " " * 2**20 + "two}"), "P102"),
    "a very long value": (spec("{modelName: org/chat, framework: " + "v" * 2**20 + "}"), "P103"),
    "a very long key": (spec("{modelName: org/chat, ? " + "replicas" * 2**15 + " : 2}"), "P101"),
    "a very long name": (MODEL.replace("name: chat", "name: " + "a" * 2**20), "P115"),
    "a host of a million labels": (
        MODEL.replace("InferenceModel", "Gateway").replace("modelName: org/chat", f"hosts: ['{'a.' * 2**19}-']"),
        "P115",
    ),
    "dotted keys": (spec("{modelName: org/chat, " + ".".join(["traffic"] * 100) + ": 1}"), "P101"),
    "merge keys": (spec("{<<: {replicas: 2}, modelName: org/chat}"), "P101"),
    "duplicate keys": (spec("{modelName: org/chat, replicas: 2, replicas: 3}"), "P003"),
    "emoji keys": (spec("{modelName: org/chat, 🚀: fast}"), "P101"),
    "complex keys": (spec("{modelName: org/chat, ? [a, b] : 1}"), "P001"),
    "lone surrogates": (spec('{modelName: org/chat, image: "\\ud800"}'), "P001"),
    "50,000 unknown keys": (
        spec("{modelName: org/chat" + "".join(f", replica{n}: 1" for n in range(49_000)) + "}"),
        "P101",
    ),
    "10,000 wrong values": (
        "---\n".join(spec(f"{{modelName: org/chat, replicas: x{n}}}") for n in range(9_999)),
        "P102",
    ),
    "a million documents": ("---\n" * 1_000_000, "P004"),
    "a million lists": ("--- []\n" * 1_000_000, "P006"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_file_nobody_designed_for_is_told_with_its_place(tmp_path: Path, name: str) -> None:
    content, code = TEXTS[name]
    file = tmp_path / "policies" / "x.yaml"
    file.parent.mkdir()
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    found = diagnostics(tmp_path)
    told = next(d for d in found if d["code"] == code)
    assert told["line"] >= 1 or code in {"P008", "P010"}


def test_all_of_them_at_once_make_a_report_of_a_size_to_read(tmp_path: Path) -> None:
    folder = tmp_path / "policies"
    folder.mkdir()
    for number, (content, _) in enumerate(TEXTS.values()):
        (folder / f"{number:02}.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    run = check(tmp_path)
    assert (run.returncode, run.stderr) == (1, b"")
    assert len(run.stdout) < 200_000
    assert b"--format json lists them all" in run.stdout
    assert run.stdout.decode().replace("\n", "").isprintable()


def directory_called_as_a_file(folder: Path) -> None:
    (folder / "x.yaml").mkdir()


def dangling_link(folder: Path) -> None:
    (folder / "x.yaml").symlink_to("nowhere.yaml")


def link_to_itself(folder: Path) -> None:
    (folder / "x.yaml").symlink_to("x.yaml")


def link_out_of_the_tree(folder: Path) -> None:
    (folder.parent / "secret.yaml").write_text(MODEL)
    (folder / "x.yaml").symlink_to("../secret.yaml")


def folder_link_out_of_the_tree(folder: Path) -> None:
    (folder.parent / "elsewhere").mkdir()
    (folder / "more").symlink_to("../elsewhere")


def fifo(folder: Path) -> None:
    os.mkfifo(folder / "x.yaml")


def device(folder: Path) -> None:
    (folder / "x.yaml").symlink_to("/dev/zero")


def name_that_is_no_text(folder: Path) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/mod\xe8le.yaml")).write_text("- 1")


def name_with_a_line_break(folder: Path) -> None:
    (folder / "a\nb\x1b[2J.yaml").write_text("- 1")


ODDITIES: dict[Callable[[Path], None], str] = {
    directory_called_as_a_file: "P010",
    dangling_link: "P001",
    link_to_itself: "P001",
    link_out_of_the_tree: "P009",
    folder_link_out_of_the_tree: "P009",
    fifo: "P001",
    device: "P009",
    name_that_is_no_text: "P006",
    name_with_a_line_break: "P006",
}


@pytest.mark.parametrize("make", ODDITIES, ids=lambda make: make.__name__)
def test_what_is_no_plain_file_is_told(tmp_path: Path, make: Callable[[Path], None]) -> None:
    folder = tmp_path / "policies"
    folder.mkdir()
    make(folder)
    assert [d["code"] for d in diagnostics(tmp_path)] == [ODDITIES[make]]
    assert b"\x1b" not in check(tmp_path).stdout


def test_one_bad_file_hides_no_problem_of_another(tmp_path: Path) -> None:
    folder = tmp_path / "policies"
    folder.mkdir()
    fifo(folder)
    (folder / "y.yaml").write_text(spec("{modelName: org/chat, replica: 2}"))
    assert [d["code"] for d in diagnostics(tmp_path)] == ["P001", "P101"]


def test_a_file_that_may_not_be_read_is_told() -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "x.yaml"
        file.write_text(MODEL)
        file.chmod(0)
        Path(folder).chmod(0o755)
        with nobody():
            sources = load_sources(Path(folder))
    assert [(d.code, d.message) for d in sources.diagnostics] == [("P001", "cannot be read: Permission denied")]


@contextmanager
def nobody() -> Iterator[None]:
    """Not as root, who may read everything."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)
