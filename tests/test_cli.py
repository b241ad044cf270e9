"""The command `turnout` as a shell sees it: exit statuses, what goes where, and what it does not import."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
COMMANDS = (
    "check",
    "compile",
    "show",
    "explain",
    "diff",
    "serve",
    "status",
    "weights",
    "rollback",
    "bootstrap",
    "schema",
)
SECONDS = 60

MODEL = "apiVersion: turnout.dev/v1\nkind: InferenceModel\nmetadata: {name: chat}\nspec: {modelName: org/chat}\n"
BROKEN = MODEL.replace("modelName:", "modelNam:")

HEAVY = ("aiohttp", "betterproto2", "envoy", "envoy_data_plane", "google.protobuf", "grpc", "kubernetes", "watchfiles")


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "xds.cli", *words]


def environment(**more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k not in {"NO_COLOR", "PYTHONUNBUFFERED"}}
    return kept | {"PYTHONPATH": str(ROOT)} | more


def turnout(folder: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    run = subprocess.run(
        command(*words),
        cwd=folder,
        env=environment(**env),
        capture_output=True,
        encoding="utf-8",
        timeout=SECONDS,
        check=False,
    )
    assert "Traceback" not in run.stderr or run.returncode == 70
    return run


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A working folder with a policy that is valid."""
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "models.yaml").write_text(MODEL)
    return tmp_path


def break_policies(repo: Path) -> None:
    (repo / "policies" / "models.yaml").write_text(BROKEN)


def test_policies_without_errors_exit_0(repo: Path) -> None:
    run = turnout(repo, "check")
    assert (run.returncode, run.stdout, run.stderr) == (0, "policies: no problems\n", "")


def test_policies_with_errors_exit_1_and_say_where(repo: Path) -> None:
    break_policies(repo)
    run = turnout(repo, "check")
    assert run.returncode == 1
    assert run.stderr == ""
    assert run.stdout.startswith("policies/models.yaml:4:7: P113 'spec.modelName' is missing\n")
    assert run.stdout.endswith("policies: 2 errors\n")


@pytest.mark.parametrize("late", [False, True])
def test_options_may_stand_between_other_arguments(repo: Path, late: bool) -> None:
    format_ = ("--format", "json")
    run = turnout(repo, "diff", "policies", *(() if late else format_), "policies", *(format_ if late else ()))
    assert (run.returncode, run.stderr) == (0, "")
    assert json.loads(run.stdout)["changed"] is False


def test_what_a_command_does_not_take_is_told_with_its_own_usage(repo: Path) -> None:
    for words in (("check", "--nope"), ("diff", "policies", "policies", "policies")):
        run = turnout(repo, *words)
        assert (run.returncode, run.stdout) == (2, "")
        assert run.stderr.startswith(f"usage: turnout {words[0]} ")
        assert run.stderr.endswith(f"turnout {words[0]}: error: unrecognized arguments: {words[-1]}\n")


@pytest.mark.parametrize("words", [("chekc",), ("check", "--format", "xml"), (), ("show", "llama"), ("show",)])
def test_wrong_usage_exits_2_and_says_how_it_goes(repo: Path, words: tuple[str, ...]) -> None:
    run = turnout(repo, *words)
    assert run.returncode == 2
    assert "usage: turnout" in run.stdout + run.stderr or "model/NAME" in run.stderr


def test_a_fault_of_ours_exits_70_and_says_whose_it_is(repo: Path) -> None:
    (repo / "yaml.py").write_text("CSafeLoader = None\n")
    run = turnout(repo, "check", PYTHONPATH=f"{repo}{os.pathsep}{ROOT}")
    assert run.returncode == 70
    assert run.stderr.endswith("turnout: this is a fault of turnout, not of your policies\n")


@pytest.mark.parametrize("missing", ["nowhere", "empty", "policies/nothing.yaml"])
def test_what_is_not_there_exits_1_in_json_too(repo: Path, missing: str) -> None:
    (repo / "empty").mkdir()
    run = turnout(repo, "check", missing, "--format", "json")
    assert run.returncode == 1
    (found,) = json.loads(run.stdout)["diagnostics"]
    assert (found["code"], found["file"], found["line"], found["column"]) == ("P010", missing, 0, 0)


def test_compile_writes_and_check_finds_what_has_drifted(repo: Path) -> None:
    assert turnout(repo, "compile").returncode == 0
    assert turnout(repo, "compile", "--check").returncode == 0
    file = repo / "rendered" / "models" / "chat.yaml"
    file.write_text(file.read_text().replace("replicas: 1", "replicas: 2"))
    run = turnout(repo, "compile", "--check")
    assert run.returncode == 1
    assert "-  replicas: 2" in run.stdout
    assert "+  replicas: 1" in run.stdout
    assert "run turnout compile" in run.stderr


def test_a_failed_compile_changes_nothing_on_disk(repo: Path) -> None:
    turnout(repo, "compile")
    before = {file: file.read_bytes() for file in (repo / "rendered").rglob("*") if file.is_file()}
    break_policies(repo)
    run = turnout(repo, "compile")
    assert run.returncode == 1
    assert "P113" in run.stderr
    assert {file: file.read_bytes() for file in (repo / "rendered").rglob("*") if file.is_file()} == before


def test_an_output_that_cannot_be_written_is_told_in_a_line(repo: Path) -> None:
    (repo / "rendered").write_text("a file")
    run = turnout(repo, "compile")
    assert run.returncode == 1
    assert run.stderr.startswith("turnout: ")
    assert len(run.stderr.splitlines()) == 1


def test_show_prints_each_value_with_its_origin(repo: Path) -> None:
    run = turnout(repo, "show", "model/chat")
    assert run.returncode == 0
    origins = {line.split("#")[0].strip(): line.rsplit("# ")[-1] for line in run.stdout.splitlines() if "#" in line}
    assert origins['modelName: "org/chat"'] == "policies/models.yaml:4:19"
    assert origins["replicas: 1"] == "default"


def test_show_prints_a_rollout_that_policies_have(repo: Path) -> None:
    text = (
        "apiVersion: turnout.dev/v1\nkind: InferenceModel\nmetadata: {name: moved}\nspec:\n  modelName: org/moved\n"
        "  versions: [{name: '1', weight: 100}, {name: '2', weight: 0}]\n---\n"
        "apiVersion: turnout.dev/v1\nkind: Rollout\nmetadata: {name: move}\n"
        "spec: {model: moved, from: '1', to: '2', interval: 5m}\n"
    )
    (repo / "policies" / "rollout.yaml").write_text(text)
    run = turnout(repo, "show", "rollout/move")
    assert 'interval: "5m"' in run.stdout
    assert "rollout.yaml:11:52" in run.stdout
    assert json.loads(turnout(repo, "show", "rollout/move", "--format", "json").stdout)["rollout"] == "move"
    assert "did you mean 'move'?" in turnout(repo, "show", "rollout/mvoe").stderr


def test_show_helps_with_a_name_that_is_none(repo: Path) -> None:
    assert "did you mean 'chat'?" in turnout(repo, "show", "model/chta").stderr
    unlike = turnout(repo, "show", "model/nope")
    assert (unlike.returncode, unlike.stdout) == (1, "")
    assert unlike.stderr == "turnout: no valid model 'nope' in policies; models: chat\n"


def test_show_says_what_is_wrong_with_the_model_asked_for(repo: Path) -> None:
    break_policies(repo)
    run = turnout(repo, "show", "model/chat")
    assert run.returncode == 1
    assert "P113" in run.stderr


def test_schema_writes_a_file_for_each_kind(repo: Path) -> None:
    run = turnout(repo, "schema", "a/b")
    assert run.returncode == 0
    files = sorted((repo / "a" / "b").iterdir())
    assert sorted(run.stdout.split()) == [str(file.relative_to(repo)) for file in files]
    assert all(json.loads(file.read_text()) for file in files)


@pytest.mark.parametrize("words", [(), *((name,) for name in COMMANDS)], ids=lambda words: " ".join(words) or "turnout")
def test_help_shows_an_example(words: tuple[str, ...], tmp_path: Path) -> None:
    run = turnout(tmp_path, *words, "--help")
    assert run.returncode == 0
    _, _, examples = run.stdout.partition("examples:\n")
    assert examples.strip().startswith(f"turnout {words[0] if words else 'check'}")
    assert max(map(len, run.stdout.splitlines())) <= 120


def test_help_lists_every_command(tmp_path: Path) -> None:
    run = turnout(tmp_path, "--help")
    listed = [line.split()[0] for line in run.stdout.splitlines() if line.startswith("    ") and line[4] != " "]
    assert listed == list(COMMANDS)


LOADED = """
import sys
from xds.cli import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass
print(*sys.modules, sep="\\n", file=open("modules", "w"))
"""


def loaded(repo: Path, *words: str) -> set[str]:
    """The modules that the command has imported when it is done."""
    run = subprocess.run(
        [sys.executable, "-c", LOADED, *words],
        cwd=repo,
        env=environment(),
        stdout=subprocess.DEVNULL,
        timeout=SECONDS,
        check=False,
    )
    assert run.returncode == 0
    return set((repo / "modules").read_text().splitlines())


@pytest.mark.parametrize(
    "words",
    [("check", "policies"), ("compile",), ("compile", "--check"), ("show", "model/chat"), ("schema", "s"), ("--help",)],
    ids=" ".join,
)
def test_the_compiler_works_without_what_the_server_needs(repo: Path, words: tuple[str, ...]) -> None:
    modules = loaded(repo, *words)
    assert "xds.cli" in modules
    assert {name for name in HEAVY if name in modules} == set()


def test_the_status_of_a_server_is_asked_for_without_what_the_server_needs(repo: Path) -> None:
    """By who may be on another machine, again and again."""
    modules = loaded(repo, "status", "--admin", "127.0.0.1:1")
    assert "xds.admin.overview" in modules
    assert {name for name in HEAVY if name in modules} == set()


@pytest.mark.parametrize("words", [("--help",), ("check", "--help"), ("--version",)], ids=" ".join)
def test_help_comes_without_the_compiler(repo: Path, words: tuple[str, ...]) -> None:
    modules = loaded(repo, *words)
    assert {"pydantic", "yaml", "compiler.pipeline", *HEAVY} & modules == set()


def test_no_colour_goes_into_a_pipe(repo: Path) -> None:
    break_policies(repo)
    assert "\x1b" not in turnout(repo, "check").stdout


@pytest.mark.parametrize(
    ("more", "coloured"),
    [({"TERM": "xterm"}, True), ({"TERM": "dumb"}, False), ({"TERM": "xterm", "NO_COLOR": "1"}, False)],
)
def test_a_terminal_gets_colour_unless_it_says_no(repo: Path, more: dict[str, str], coloured: bool) -> None:
    break_policies(repo)
    ours, theirs = os.openpty()
    with subprocess.Popen(command("check"), cwd=repo, env=environment(**more), stdout=theirs) as process:
        os.close(theirs)
        said = b""
        try:
            while part := os.read(ours, 4096):
                said += part
        except OSError:  # Linux's word for the end of a terminal
            pass
    os.close(ours)
    assert process.returncode == 1
    assert (b"\x1b[" in said) == coloured
    assert b"P113" in said


def test_a_terminal_without_unicode_is_served(repo: Path) -> None:
    (repo / "policies" / "models.yaml").write_text(MODEL.replace("org/chat}", "org/chat, 模型: 1}"))
    run = turnout(repo, "check", PYTHONIOENCODING="ascii")
    assert run.returncode == 1
    assert "P101" in run.stdout


def many_problems(repo: Path) -> None:
    (repo / "policies" / "models.yaml").write_text("---\n".join(BROKEN for _ in range(3_000)))


def test_a_reader_that_has_gone_is_no_problem(repo: Path) -> None:
    many_problems(repo)
    for words in (["check", "--format", "json"], ["check"], ["--help"]):
        with subprocess.Popen(
            command(*words), cwd=repo, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.close()
            said = process.stderr.read()
        assert said == b""
        assert process.returncode == 141


HEARING = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""What a shell starts in the background, tests too, is deaf to Ctrl-C. A function to call between fork and exec would
fork the threads of gRPC, which other tests have started in this process."""


def test_ctrl_c_exits_130_without_a_traceback(repo: Path) -> None:
    """The command hangs in writing to a pipe that nobody empties when the signal comes."""
    many_problems(repo)
    with subprocess.Popen(
        [sys.executable, "-c", HEARING, *command("check", "--format", "json")],
        cwd=repo,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.read(1) == b"{"
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    assert said == b""


def test_explain_says_who_decides_and_exits_accordingly(tmp_path: Path) -> None:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "chat.yaml").write_text(MODEL)
    named = turnout(tmp_path, "explain", "--header", "model-name: chat", "--format", "json")
    assert (named.returncode, json.loads(named.stdout)["stage"]) == (0, "explicit")
    broken = turnout(tmp_path, "explain", "--curl", "curl http://x/v1/completions -d '{'", "--format", "json")
    assert (broken.returncode, json.loads(broken.stdout)["error"]["status"]) == (1, 400)
    nobody = turnout(tmp_path, "explain", "--header", "model-name: nobody")
    assert (nobody.returncode, "404 model_not_found" in nobody.stdout) == (1, True)
    wrong = turnout(tmp_path, "explain", "--header", "nothing")
    assert (wrong.returncode, "is not 'NAME: VALUE'" in wrong.stderr) == (2, True)


def test_explain_reads_no_body_where_the_carrier_of_the_host_reads_none(tmp_path: Path) -> None:
    (tmp_path / "policies").mkdir()
    platform = """---
apiVersion: turnout.dev/v1
kind: Platform
metadata: {name: platform}
spec: {dataPlane: {default: gatewayApi, gatewayClass: example}}
"""
    (tmp_path / "policies" / "chat.yaml").write_text(MODEL + platform)
    post = 'curl http://x/v1/completions -d \'{"model": "chat"}\''
    body = turnout(tmp_path, "explain", "--curl", post, "--format", "json")
    told = json.loads(body.stdout)
    assert (body.returncode, told["stage"], told["error"]["code"]) == (1, "none", "model_not_found")
    assert (told["carrier"], "reads no body" in told["steps"][0]["why"]) == ("gatewayApi", True)
    named = turnout(tmp_path, "explain", "--curl", f"{post} -H 'model-name: chat'", "--format", "json")
    told = json.loads(named.stdout)
    assert (named.returncode, told["targets"][0]["model"]) == (0, "chat")
    assert (told["retries"], told["targets"][0]["limits"], told["timeouts"]["total"]) == (None, None, "5m")
    broken = turnout(tmp_path, "explain", "--curl", "curl http://x/v1/completions -H 'model-name: chat' -d '{'")
    assert (broken.returncode, "by the Gateway API" in broken.stdout) == (0, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("chat", "1=100"), "--for and --why are required"),
        (("chat", "1=100", "--for", "15m"), "--for and --why are required"),
        (("chat",), "what of chat? VERSION=PERCENT …, or --clear"),
        (("1=100", "--for", "15m", "--why", "x"), "a MODEL comes before its weights: turnout weights llama-70b 1=100"),
        (("chat", "1=50", "1=50", "--for", "15m", "--why", "x"), "version 1 has two weights"),
        (("--clear",), "--clear takes a MODEL and nothing more"),
        (("chat", "--clear", "--why", "x"), "--clear takes a MODEL and nothing more"),
        (("--why", "x"), "--for and --why are of a MODEL's weights"),
        (("chat", "1=x", "--for", "15m", "--why", "x"), "'1=x' is not VERSION=PERCENT"),
        (("chat", "100", "--for", "15m", "--why", "x"), "'100' is not VERSION=PERCENT"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_weights_that_no_server_needs_to_be_asked_about_exit_2(
    tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    run = turnout(tmp_path, "weights", *words)
    assert (run.returncode, said in run.stderr) == (2, True), run.stderr


def test_weights_without_a_server_exit_1_with_a_reason(tmp_path: Path) -> None:
    run = turnout(tmp_path, "weights", "--admin", "http://127.0.0.1:1")
    assert (run.returncode, run.stderr) == (1, "turnout: http://127.0.0.1:1: [Errno 111] Connection refused\n")
    run = turnout(tmp_path, "weights", "chat", "--clear", "--token-file", "nowhere")
    assert (run.returncode, run.stderr) == (1, "turnout: No such file or directory: nowhere\n")
