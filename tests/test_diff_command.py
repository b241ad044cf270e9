"""`turnout diff`, with a real git."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.test_cli import turnout

GOLDEN = Path(__file__).parent / "golden" / "diff"
BEFORE, CANARY = GOLDEN / "before", GOLDEN / "canary-step" / "after"
REQUESTS = GOLDEN / "requests.jsonl"


def git(folder: Path, *words: str) -> str:
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false")
    run = subprocess.run(["git", *identity, *words], cwd=folder, capture_output=True, text=True, check=True)
    return run.stdout


def put(files: Path, folder: Path) -> None:
    """With times of their own: git takes a file of the same size and time for the same."""
    shutil.copytree(files, folder, dirs_exist_ok=True, copy_function=shutil.copyfile)


def commit(folder: Path, files: Path, message: str = "an edit") -> None:
    put(files, folder / "policies")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", message)


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """On `main` the policies before."""
    folder = tmp_path / "repo"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch", "main")
    commit(folder, BEFORE)
    return folder


def edit(repo: Path) -> None:
    put(CANARY, repo / "policies")


def test_the_working_tree_is_compared_with_a_revision(repo: Path) -> None:
    assert turnout(repo, "diff", "main").stdout.endswith("Nothing changes: no request, no model, no GPU, no object.\n")
    edit(repo)
    run = turnout(repo, "diff", "main")
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.startswith("main → policies\n")
    assert "→ 90 % llama-70b 1.0, 10 % llama-70b 1.1" in run.stdout
    assert "\033[" not in run.stdout


def test_two_revisions_are_compared_and_nothing_is_touched(repo: Path) -> None:
    git(repo, "checkout", "--quiet", "-b", "canary")
    commit(repo, CANARY)
    git(repo, "checkout", "--quiet", "main")
    (repo / "policies" / "models.yaml").write_text("not: a policy, and not committed\n")
    before = git(repo, "status", "--porcelain=v2", "--branch"), (repo / ".git" / "index").read_bytes()
    run = turnout(repo, "diff", "main", "canary", "--format", "json")
    assert run.returncode == 0
    assert json.loads(run.stdout)["classes"][0]["differences"][0]["after"] == "90 % llama-70b 1.0, 10 % llama-70b 1.1"
    assert (git(repo, "status", "--porcelain=v2", "--branch"), (repo / ".git" / "index").read_bytes()) == before


def test_two_folders_are_compared_without_git(tmp_path: Path) -> None:
    put(BEFORE, tmp_path / "after")
    put(CANARY, tmp_path / "after")
    run = turnout(tmp_path, "diff", str(BEFORE), "after", PATH="/nowhere")
    assert run.returncode == 0
    assert "→ 90 % llama-70b 1.0, 10 % llama-70b 1.1" in run.stdout


def test_with_exit_code_a_change_exits_1(repo: Path) -> None:
    assert turnout(repo, "diff", "main", "--exit-code").returncode == 0
    edit(repo)
    assert turnout(repo, "diff", "main", "--exit-code").returncode == 1
    assert turnout(repo, "diff", "main").returncode == 0


def test_errors_of_a_revision_are_told_as_check_tells_them(repo: Path) -> None:
    models = repo / "policies" / "models.yaml"
    models.write_text(models.read_text().replace("weight: 100", "weight: 80"))
    git(repo, "commit", "--quiet", "--all", "--message", "broken")
    put(BEFORE, repo / "policies")
    run = turnout(repo, "diff", "main")
    assert (run.returncode, run.stdout) == (1, "")
    assert "main:policies/models.yaml:18:29: P202" in run.stderr
    assert '{name: "1.1", weight: 0, replicas: 1,' in run.stderr
    (found,) = [
        d
        for d in json.loads(turnout(repo, "diff", "main", "--format", "json").stdout)["diagnostics"]
        if d["code"] == "P202"
    ]
    assert (found["file"], found["line"]) == ("main:policies/models.yaml", 18)
    comment = turnout(repo, "diff", "main", "--format", "markdown")
    assert comment.returncode == 1
    assert comment.stdout.startswith("<!-- turnout diff -->\n")
    assert "P202" in comment.stdout


ENDPOINT = "capabilities: [chat]\n  endpoints: [{address: 10.0.0.1, port: 8000, version: '1.0'}]"


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("aliases: [small]", "aliases: [small, small]", "P204 model name 'small' twice, first at "),
        ("capabilities: [chat]", ENDPOINT, "hint: first at "),
    ],
)
def test_every_place_that_is_told_of_a_revision_is_one_of_it(before: str, after: str, said: str, repo: Path) -> None:
    models = repo / "policies" / "models.yaml"
    models.write_text(models.read_text().replace(before, after))
    git(repo, "commit", "--quiet", "--all", "--message", "something twice")
    run = turnout(repo, "diff", "HEAD", "HEAD~1")
    assert f"{said}HEAD:policies/models.yaml:" in run.stderr
    places = re.findall(r"\S*policies/\S+?:\d+:\d+", run.stderr)
    assert all(place.startswith("HEAD:") for place in places), run.stderr


def test_errors_of_the_working_tree_are_told_at_their_files(repo: Path) -> None:
    models = repo / "policies" / "models.yaml"
    models.write_text(models.read_text().replace("weight: 100", "weight: 80"))
    assert "\npolicies/models.yaml:18:29: P202" in "\n" + turnout(repo, "diff", "main").stderr


def test_a_revision_without_policies_says_so_by_its_name(repo: Path) -> None:
    git(repo, "rm", "--quiet", "-r", "policies")
    git(repo, "commit", "--quiet", "--message", "none")
    run = turnout(repo, "diff", "HEAD", "HEAD~1")
    assert run.returncode == 1
    assert "P010 no policies under HEAD:policies" in run.stderr


@pytest.mark.parametrize("base", ["no-such-branch", "", "--all", "main:policies", "main^{tree}", "two\nlines"])
def test_what_is_no_revision_exits_2(repo: Path, base: str) -> None:
    run = turnout(repo, "diff", "--", base)
    assert run.returncode == 2
    assert run.stderr.startswith("turnout diff: ")
    assert len(run.stderr.splitlines()) == 1


def test_a_program_is_told_in_json_why_there_is_nothing_to_tell(repo: Path) -> None:
    run = turnout(repo, "diff", "no-such-branch", "--format", "json")
    assert run.returncode == 2
    assert json.loads(run.stdout) == {"error": run.stderr.rstrip("\n")}
    run = turnout(repo, "diff", "main", "--format", "json", "--profile", "nowhere.jsonl")
    assert run.returncode == 1
    assert json.loads(run.stdout) == {"error": "nowhere.jsonl: No such file or directory"}


def test_a_repository_without_a_commit_and_a_machine_without_git_are_told(tmp_path: Path) -> None:
    put(BEFORE, tmp_path / "policies")
    git(tmp_path, "init", "--quiet")
    assert "'HEAD' is neither a folder nor a revision" in turnout(tmp_path, "diff", "HEAD").stderr
    run = turnout(tmp_path, "diff", "HEAD", PATH="/nowhere")
    assert (run.returncode, run.stderr) == (2, "turnout diff: there is no git to read revisions with\n")


def hostile(repo: Path, *entries: str) -> str:
    """A commit of a tree that git itself would not make of files; its number."""
    raw = b"".join(
        f"{mode} {name}\0".encode() + bytes.fromhex(blob) for mode, name, blob in (e.split(" ") for e in entries)
    )
    command = ["git", "hash-object", "-t", "tree", "-w", "--stdin", "--literally"]
    tree = subprocess.run(command, cwd=repo, input=raw, capture_output=True, check=True).stdout.decode().strip()
    return git(repo, "commit-tree", "-m", "hostile", tree).strip()


def blob(repo: Path, content: str) -> str:
    command = ["git", "hash-object", "-w", "--stdin"]
    return subprocess.run(command, cwd=repo, input=content, capture_output=True, text=True, check=True).stdout.strip()


def test_a_commit_writes_nothing_beside_its_folder(repo: Path, tmp_path: Path) -> None:
    temporary, victim = tmp_path / "temporary", tmp_path / "victim"
    temporary.mkdir()
    victim.mkdir()
    text = blob(repo, "a: 1\n")
    up = hostile(repo, f"40000 .. {tree(repo, f'100644 x.yaml {text}')}")
    link, file = f"120000 a {blob(repo, str(victim))}", f"40000 a {tree(repo, f'100644 x.yaml {text}')}"
    for commit_ in (up, hostile(repo, link, file)):
        run = turnout(repo, "diff", commit_, "--policies", ".", TMPDIR=str(temporary))
        assert (run.returncode, len(run.stderr.splitlines())) == (2, 1), run.stderr
        assert "has files that cannot be written out" in run.stderr
    assert list(temporary.iterdir()) == list(victim.iterdir()) == []


def tree(repo: Path, entry: str) -> str:
    return git(repo, "rev-parse", f"{hostile(repo, entry)}^{{tree}}").strip()


def test_a_clone_that_lacks_the_files_says_so(repo: Path) -> None:
    name = git(repo, "rev-parse", "main:policies/models.yaml").strip()
    (repo / ".git" / "objects" / name[:2] / name[2:]).unlink()
    run = turnout(repo, "diff", "main")
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == f"turnout diff: 'main' is not all there: this clone has left out {name}\n"


def test_a_partial_clone_whose_origin_is_gone_says_so_in_a_line(repo: Path, tmp_path: Path) -> None:
    edit(repo)
    git(repo, "commit", "--quiet", "--all", "--message", "an edit")
    git(repo, "config", "uploadpack.allowFilter", "true")
    git(tmp_path, "clone", "--quiet", "--filter", "blob:none", f"file://{repo}", "partial")
    repo.rename(repo.with_name("gone"))
    run = turnout(tmp_path / "partial", "diff", "HEAD~1")
    assert (run.returncode, len(run.stderr.splitlines())) == (2, 1)
    assert run.stderr == f"turnout diff: '{repo}' does not appear to be a git repository\n"


@pytest.mark.parametrize("name", [":/an edit", "main^{/an edit}", "main@{0}", "annotated"])
def test_a_revision_may_be_told_in_any_way_that_git_has(name: str, repo: Path) -> None:
    edit(repo)
    git(repo, "commit", "--quiet", "--all", "--message", "an edit")
    git(repo, "tag", "--annotate", "--message", "a tag", "annotated")
    run = turnout(repo, "diff", "HEAD~1", name, "--format", "json")
    assert json.loads(run.stdout)["changed"], run.stderr
    assert json.loads(turnout(repo, "diff", "HEAD", name, "--format", "json").stdout)["changed"] is False


def test_a_shallow_clone_is_told_as_the_reason(repo: Path, tmp_path: Path) -> None:
    commit(repo, CANARY)
    git(tmp_path, "clone", "--quiet", "--depth", "1", f"file://{repo}", "shallow")
    assert turnout(tmp_path / "shallow", "diff", "HEAD").returncode == 0
    run = turnout(tmp_path / "shallow", "diff", "HEAD~1")
    assert (run.returncode, len(run.stderr.splitlines())) == (2, 1)
    assert "a shallow clone: git fetch --unshallow" in run.stderr
    assert "shallow clone" not in turnout(repo, "diff", "HEAD~9").stderr


@pytest.mark.parametrize(
    ("span", "instead"),
    [
        ("main..HEAD", "turnout diff main HEAD"),
        ("main..", "turnout diff main HEAD"),
        ("main...topic", "turnout diff $(git merge-base main topic) topic"),
    ],
)
def test_a_range_is_told_what_to_ask_instead(span: str, instead: str, repo: Path) -> None:
    run = turnout(repo, "diff", span)
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.endswith(f": a range is told by its ends, {instead}\n")
    for path in ("../nosuch", "policies/../nosuch", "a.."):
        assert ("a range is told" in turnout(repo, "diff", path).stderr) is (path == "a..")


def test_a_profile_may_begin_with_a_byte_order_mark(repo: Path) -> None:
    (repo / "windows.jsonl").write_bytes(b'\xef\xbb\xbf{"tier": "pro"}\r\n{"tier": "free"}\r\n')
    run = turnout(repo, "diff", "main", "--profile", "windows.jsonl", "--format", "json")
    assert (run.returncode, run.stderr) == (0, "")
    assert json.loads(run.stdout)["profile"]["requests"] == 2


def test_a_comment_tells_errors_before_warnings(repo: Path) -> None:
    models = (repo / "policies" / "models.yaml").read_text()
    (repo / "policies" / "models.yaml").write_text(models.replace("weight: 100", "weight: 80"))
    tenant = "apiVersion: turnout.dev/v1\nkind: Tenant\nmetadata: {name: a}\nspec: {allowedModels: [llama-7b]}\n"
    (repo / "policies" / "a.yaml").write_text(tenant)
    comment, text = (turnout(repo, "diff", "main", "--format", form) for form in ("markdown", "text"))
    assert comment.stdout.index("P202") < comment.stdout.index("P116 warning")
    assert text.stderr.index("P116 warning") < text.stderr.index("P202")


def test_a_folder_outside_of_any_repository_has_no_revisions(tmp_path: Path) -> None:
    put(BEFORE, tmp_path / "policies")
    run = turnout(tmp_path, "diff", "main", GIT_CEILING_DIRECTORIES=str(tmp_path.parent))
    assert run.returncode == 2
    assert "not a git repository" in run.stderr


def test_policies_may_lie_anywhere_in_the_repository(repo: Path) -> None:
    (repo / "fleet").mkdir()
    git(repo, "mv", "policies", "fleet/prod")
    git(repo, "commit", "--quiet", "--all", "--message", "moved")
    put(CANARY, repo / "fleet" / "prod")
    run = turnout(repo / "fleet", "diff", "HEAD", "--policies", "prod")
    assert run.returncode == 0, run.stderr
    assert "→ 90 % llama-70b 1.0" in run.stdout


def test_policies_may_be_all_of_the_repository(tmp_path: Path) -> None:
    put(BEFORE, tmp_path)
    git(tmp_path, "init", "--quiet")
    models = tmp_path / "models.yaml"
    models.write_text(models.read_text().replace("weight: 100", "weight: 80"))
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--quiet", "--message", "broken")
    assert "\nHEAD:models.yaml:18:29: P202" in "\n" + turnout(tmp_path, "diff", "HEAD", "--policies", ".").stderr


def test_a_commit_is_read_byte_by_byte_whatever_its_attributes(repo: Path) -> None:
    (repo / ".gitattributes").write_text("*.yaml export-ignore eol=crlf\n")
    git(repo, "add", "--all")
    git(repo, "commit", "--quiet", "--message", "attributes")
    assert "Nothing changes" in turnout(repo, "diff", "HEAD").stdout


def test_a_link_that_leads_out_of_the_policies_is_refused_in_a_commit_too(repo: Path) -> None:
    (repo / "policies" / "more.yaml").symlink_to("/etc/hostname")
    git(repo, "add", "--all")
    git(repo, "commit", "--quiet", "--message", "a link")
    run = turnout(repo, "diff", "HEAD", "HEAD~1")
    assert run.returncode == 1
    assert "HEAD:policies/more.yaml: P009" in run.stderr


def test_a_profile_weighs_the_change(repo: Path) -> None:
    edit(repo)
    run = turnout(repo, "diff", "main", "--profile", str(REQUESTS))
    assert (
        "3.5 % of 1,000 recorded requests move from llama-70b 1.0 to llama-70b 1.1; none loses its route." in run.stdout
    )


def test_lines_of_a_profile_that_are_no_requests_are_told_by_number(repo: Path) -> None:
    lines = ['{"tier": "pro"}', "{", '{"modle": "x"}', "", '{"count": 0}', "[]", '{"headers": {"a": 1}}', '{"tier": 5}']
    lines += [f'{{"count": 1{"0" * 400}}}', f'{{"body": {"[" * 50_000}']
    (repo / "requests.jsonl").write_text("\n".join(lines))
    run = turnout(repo, "diff", "main", "--profile", "requests.jsonl")
    assert (run.returncode, run.stdout) == (1, "")
    told = run.stderr.splitlines()
    assert [line.split(":")[1] for line in told] == ["2", "3", "5", "6", "7", "8", "9", "10"]
    assert told[1].startswith("requests.jsonl:3: unknown key 'modle'")


def test_an_environment_is_compared_with_itself(repo: Path) -> None:
    for name in ("staging", "prod"):
        folder = repo / "policies" / "environments" / name
        folder.mkdir(parents=True)
        document = "apiVersion: turnout.dev/v1\nkind: InferenceModel\nmetadata: {name: llama-7b}\nspec: {replicas: 1}\n"
        (folder / "models.yaml").write_text(document)
    git(repo, "add", "--all")
    git(repo, "commit", "--quiet", "--message", "environments")
    file = repo / "policies" / "environments" / "prod" / "models.yaml"
    file.write_text(file.read_text().replace("replicas: 1", "replicas: 3"))
    assert "Nothing changes" in turnout(repo, "diff", "HEAD", "--env", "staging").stdout
    assert "versions.1.replicas: 1 → 3" in turnout(repo, "diff", "HEAD", "--env", "prod").stdout
    assert "P011" in turnout(repo, "diff", "HEAD").stderr


def test_no_temporary_folder_is_left(repo: Path, tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    assert turnout(repo, "diff", "main", TMPDIR=str(temporary)).returncode == 0
    assert list(temporary.iterdir()) == []
