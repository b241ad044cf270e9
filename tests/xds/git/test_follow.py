"""A branch that is followed, with real git: what is read of it, and what is refused and why."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.envoy.envoy_process import free_port
from tests.features.served import DEADLINE, asynchronous, model, until
from tests.git_repository import Origin, daemon, run, silent
from xds.git import checkout
from xds.git.bell import Turned, TurnRefused
from xds.git.follow import Following
from xds.git.program import reason
from xds.git.remote import Remote
from xds.git.repository import Repository
from xds.git.settings import GitOptions, following
from xds.observe.events import PoliciesRead

CHAT = {"policies/chat.yaml": model("chat")}
EMBED = {"policies/embed.yaml": model("embed")}


class Heard:
    """What a follower tells, one after the other."""

    def __init__(self, of: Following) -> None:
        self.of, self._reads = of, of.policies()

    @property
    def repository(self) -> Repository:
        return self.of._repository

    async def next(self) -> PoliciesRead:
        async with asyncio.timeout(DEADLINE):
            return await anext(self._reads)

    async def after_a_knock(self) -> PoliciesRead:
        self.of.knock()
        return await self.next()

    async def with_command(self, commit: str) -> tuple[object, PoliciesRead]:
        """Pins, or releases where there is no commit."""
        command = asyncio.create_task(self.of.pin(commit) if commit else self.of.release())
        await asyncio.sleep(0)
        read = await self.next()
        return await command, read

    async def refused(self) -> str:
        """The reason, as it is told."""
        read = await self.after_a_knock()
        assert read.fleet is None
        assert read.report
        return read.diagnostics[0].message

    async def close(self) -> None:
        if hasattr(self._reads, "aclose"):
            await self._reads.aclose()


async def true(condition: Callable[[], bool]) -> None:
    """Raises TimeoutError."""

    async def there() -> bool | None:
        return condition() or None

    await until(there)


@asynccontextmanager
async def followed(origin: Origin, state: Path, path: str = "policies", poll: float = 3600.0) -> AsyncIterator[Heard]:
    found = following(GitOptions(Remote(origin.url, origin.branch), path, poll), state, "", colour=False)
    await found.prepare()
    heard = Heard(found)
    try:
        yield heard
    finally:
        await heard.close()


@pytest.fixture
def origin(tmp_path: Path) -> Origin:
    return Origin(tmp_path)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def models(read: PoliciesRead) -> list[str]:
    assert read.fleet is not None, read.report
    return [found.name for found in read.fleet.models]


@asynchronous
async def test_each_commit_is_read_whole_with_its_name(origin: Origin, state: Path) -> None:
    first = origin.pushed({**CHAT, "README.md": "no policy", "policies/notes.txt": "none either"})
    async with followed(origin, state) as heard:
        read = await heard.next()
        assert (models(read), read.commit, read.diagnostics) == (["chat"], first[:12], ())
        assert [name for name, _ in read.files] == ["policies/chat.yaml"]
        second = origin.pushed({"policies/chat.yaml": None, **EMBED})
        read = await heard.after_a_knock()
        assert (models(read), read.commit) == (["embed"], second[:12])
        assert read.changed == ("chat.yaml", "embed.yaml")
        assert (heard.of.standing.head, heard.of.standing.served) == (second, second)
        assert [folder.name for folder in (state / "git" / "commits").iterdir()] == [second]


@asynchronous
async def test_a_digest_is_that_of_the_same_policies_in_a_folder(origin: Origin, state: Path, tmp_path: Path) -> None:
    """Two replicas say the same, and so does a commit that changes nothing."""
    origin.pushed(CHAT)
    async with followed(origin, state) as heard, followed(origin, tmp_path / "other") as other:
        first = await heard.next()
        assert first.digest == (await other.next()).digest
        origin.pushed({"README.md": "more"})
        again = await heard.after_a_knock()
        assert (again.digest, again.changed) == (first.digest, ())
        assert again.commit != first.commit


@asynchronous
async def test_all_of_a_repository_may_be_policies(origin: Origin, state: Path) -> None:
    origin.pushed({"chat.yaml": model("chat"), "more/embed.yaml": model("embed"), ".github/ci.yaml": "jobs: ["})
    async with followed(origin, state, ".") as heard:
        assert models(await heard.next()) == ["chat", "embed"]


@asynchronous
async def test_the_branch_that_the_repository_points_to_is_followed_where_none_is_named(
    tmp_path: Path, state: Path
) -> None:
    origin = Origin(tmp_path, "trunk")
    origin.pushed(CHAT)
    origin.branch = ""
    async with followed(origin, state) as heard:
        assert models(await heard.next()) == ["chat"]


@asynchronous
async def test_a_broken_commit_is_told_by_its_lines_and_the_next_good_one_is_read(origin: Origin, state: Path) -> None:
    origin.pushed(CHAT)
    async with followed(origin, state) as heard:
        await heard.next()
        broken = origin.pushed({"policies/late.yaml": "kind: ["})
        read = await heard.after_a_knock()
        assert (read.fleet, read.commit) == (None, broken[:12])
        assert str(read.diagnostics[0].position).startswith("policies/late.yaml:2:")
        assert heard.of.standing.refused == broken
        assert heard.of.standing.reason.startswith("policies/late.yaml:2:1: P001 ")
        origin.pushed({"policies/late.yaml": None, **EMBED})
        assert models(await heard.after_a_knock()) == ["chat", "embed"]
        assert (heard.of.standing.refused, heard.of.standing.reason) == ("", "")


@asynchronous
async def test_a_rewritten_branch_is_refused_until_it_descends_from_what_is_served(origin: Origin, state: Path) -> None:
    origin.pushed(CHAT)
    served = origin.pushed(EMBED)
    async with followed(origin, state) as heard:
        await heard.next()
        origin.git("reset", "--quiet", "--hard", "HEAD~1")
        rewritten = origin.commit({"policies/other.yaml": model("other")})
        origin.push("--force")
        why = await heard.refused()
        assert why == (
            f"commit {rewritten[:12]} refused: {served[:12]}, which is served, is not in its history: the branch has "
            f"been rewritten; {served[:12]} stays"
        )
        origin.git("reset", "--quiet", "--hard", served)
        origin.push("--force")
        assert models(await heard.after_a_knock()) == ["chat", "embed"]
        assert heard.of.standing.refused == ""


@asynchronous
async def test_a_rewritten_branch_that_is_meant_is_taken_by_a_rollback_to_it(origin: Origin, state: Path) -> None:
    origin.pushed(CHAT)
    origin.pushed(EMBED)
    async with followed(origin, state) as heard:
        await heard.next()
        origin.git("reset", "--quiet", "--hard", "HEAD~1")
        meant = origin.commit({"policies/other.yaml": model("other")})
        origin.push("--force")
        await heard.refused()
        turned, read = await heard.with_command(meant[:12])
        assert turned == Turned(meant, pinned=True)
        assert models(read) == ["chat", "other"]
        listening = asyncio.create_task(heard.next())
        assert await heard.of.release() == Turned(meant, pinned=False)
        last = origin.pushed(EMBED)
        heard.of.knock()
        assert (await listening).commit == last[:12]


@asynchronous
async def test_a_branch_that_is_rewritten_while_a_rollback_holds_is_refused_at_its_release(
    origin: Origin, state: Path
) -> None:
    first = origin.pushed(CHAT)
    newest = origin.pushed(EMBED)
    why = f"{newest[:12]}, which was served, is not in its history: the branch has been rewritten"
    async with followed(origin, state) as heard:
        await heard.next()
        await heard.with_command(first)
        origin.git("reset", "--quiet", "--hard", first)
        origin.commit({"policies/other.yaml": model("other")})
        origin.push("--force")
        turned, read = await heard.with_command("")
        assert (turned, read.fleet) == (Turned(first, pinned=False, problem=why), None)
    for _ in range(2):  # nor does a restart forget what the branch has to have
        async with followed(origin, state) as heard:
            assert models(await heard.next()) == ["chat"]
            assert (await heard.next()).fleet is None
            assert heard.of.standing.reason == why


@asynchronous
async def test_a_branch_that_is_set_back_is_taken_by_a_rollback_to_its_head(origin: Origin, state: Path) -> None:
    first = origin.pushed(CHAT)
    origin.pushed(EMBED)
    async with followed(origin, state) as heard:
        await heard.next()
        origin.git("reset", "--quiet", "--hard", first)
        origin.push("--force")
        assert "has been rewritten" in await heard.refused()
        await heard.with_command(first)
        listening = asyncio.create_task(heard.next())
        assert await heard.of.release() == Turned(first, pinned=False)
        last = origin.pushed({"policies/other.yaml": model("other")})
        heard.of.knock()
        assert (await listening).commit == last[:12]


@asynchronous
async def test_a_rollback_to_what_is_not_of_the_branch_leaves_the_branch_as_it_is(origin: Origin, state: Path) -> None:
    """Also over a restart, and with another rollback between it and the release."""
    first = origin.pushed(CHAT)
    head = origin.pushed(EMBED)
    async with followed(origin, state) as heard:
        await heard.next()
        origin.git("reset", "--quiet", "--hard", first)
        off = origin.commit({"policies/other.yaml": model("other")})
        origin.push("--force")
        assert "has been rewritten" in await heard.refused()
        origin.git("reset", "--quiet", "--hard", head)
        origin.push("--force")
        assert models(await heard.after_a_knock()) == ["chat", "embed"]
        turned, read = await heard.with_command(off)
        assert (turned, models(read)) == (Turned(off, pinned=True), ["chat", "other"])
        turned, read = await heard.with_command("")
        assert (turned, models(read)) == (Turned(head, pinned=False), ["chat", "embed"])
        await heard.with_command(off)
    async with followed(origin, state) as heard:
        assert models(await heard.next()) == ["chat", "other"]
        assert (await heard.with_command(first))[0] == Turned(first, pinned=True)
        turned, read = await heard.with_command("")
        assert (turned, models(read)) == (Turned(head, pinned=False), ["chat", "embed"])
        last = origin.pushed({"policies/late.yaml": model("late")})
        assert (await heard.after_a_knock()).commit == last[:12]


@asynchronous
async def test_what_is_pinned_stays_over_commits_and_a_restart_until_it_is_released(
    origin: Origin, state: Path
) -> None:
    first = origin.pushed(CHAT)
    origin.pushed(EMBED)
    async with followed(origin, state) as heard:
        await heard.next()
        turned, read = await heard.with_command(first[:7])
        assert (turned, models(read), read.commit) == (Turned(first, pinned=True), ["chat"], first[:12])
    last = origin.pushed({"policies/late.yaml": model("late")})
    async with followed(origin, state) as heard:
        assert models(await heard.next()) == ["chat"]
        listening = asyncio.create_task(heard.next())
        await true(lambda: heard.of.standing.head == last)
        assert heard.of.standing.pinned == first
        assert await heard.of.release() == Turned(last, pinned=False)
        assert models(await listening) == ["chat", "embed", "late"]


@asynchronous
async def test_a_rollback_to_what_is_unknown_or_broken_changes_nothing(origin: Origin, state: Path) -> None:
    origin.pushed(CHAT)
    broken = origin.pushed({"policies/late.yaml": "kind: ["})
    served = origin.pushed({"policies/late.yaml": None})
    async with followed(origin, state) as heard:
        await heard.next()
        listening = asyncio.create_task(heard.next())
        for asked, why in (
            ("0" * 12, "is known here"),
            ("HEAD~1", "is known here"),
            (broken.upper(), "policies/late.yaml:2:1: P001 "),
            ("main", "is known here"),
            (broken, "policies/late.yaml:2:1: P001 "),
        ):
            refused = await heard.of.pin(asked)
            assert isinstance(refused, TurnRefused)
            assert why in refused.why
        assert isinstance(await heard.of.release(), TurnRefused)
        assert (heard.of.standing.pinned, heard.of.standing.served) == ("", served)
        assert not listening.done()
        listening.cancel()
        await asyncio.wait({listening})


@asynchronous
async def test_a_lost_repository_is_told_and_a_restart_serves_what_was_served(origin: Origin, state: Path) -> None:
    served = origin.pushed(CHAT)
    async with followed(origin, state) as heard:
        await heard.next()
    away = origin.bare.rename(origin.bare.with_name("away"))
    async with followed(origin, state) as heard:
        assert models(await heard.next()) == ["chat"]
        listening = asyncio.create_task(heard.next())
        await true(lambda: "does not appear to be a git repository" in heard.of.standing.problem)
        assert heard.of.standing.served == served
        away.rename(origin.bare)
        origin.pushed(EMBED)
        heard.of.knock()
        assert models(await listening) == ["chat", "embed"]
        assert heard.of.standing.problem == ""


@asynchronous
async def test_a_restart_to_a_commit_that_is_refused_serves_the_one_before(origin: Origin, state: Path) -> None:
    origin.pushed(CHAT)
    async with followed(origin, state) as heard:
        await heard.next()
    broken = origin.pushed({"policies/late.yaml": "kind: ["})
    async with followed(origin, state) as heard:
        assert models(await heard.next()) == ["chat"]
        read = await heard.next()
        assert (read.fleet, read.commit, heard.of.standing.refused) == (None, broken[:12], broken)


@asynchronous
async def test_a_first_start_without_a_repository_says_so_and_goes_on_when_there_is_one(
    origin: Origin, state: Path
) -> None:
    async with followed(origin, state) as heard:
        read = await heard.next()
        assert [found.code for found in read.diagnostics] == ["X110"]
        assert "couldn't find remote ref refs/heads/main" in read.diagnostics[0].message
        origin.pushed(CHAT)
        assert models(await heard.after_a_knock()) == ["chat"]


@asynchronous
async def test_a_half_written_commit_is_not_read(origin: Origin, state: Path) -> None:
    origin.pushed(CHAT)
    async with followed(origin, state) as heard:
        await heard.next()
        origin.pushed(EMBED)
        blob = origin.git("rev-parse", "HEAD:policies/embed.yaml").strip()
        lost = origin.bare / "objects" / blob[:2] / blob[2:]
        lost.rename(lost.with_name("away"))
        listening = asyncio.create_task(heard.after_a_knock())
        await true(lambda: bool(heard.of.standing.problem))
        assert not listening.done()
        lost.with_name("away").rename(lost)
        heard.of.knock()
        assert models(await listening) == ["chat", "embed"]


@asynchronous
async def test_what_leads_out_or_is_too_large_is_refused_before_anything_is_written(
    origin: Origin, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkout, "MOST_BYTES", 4096)
    monkeypatch.setattr(checkout, "MOST_FILES", 3)
    origin.pushed({**CHAT, "secret.yaml": "password: x"})
    policies = origin.tree / "policies"
    async with followed(origin, state) as heard:
        await heard.next()
        for target in ("../secret.yaml", "/etc/passwd", "more/../../secret.yaml"):
            (policies / "link.yaml").symlink_to(target)
            origin.pushed()
            assert f"link.yaml is a link that leads out of the policy folder, to {target}; " in await heard.refused()
            (policies / "link.yaml").unlink()
        origin.pushed({"policies/large.yaml": "#" * 5000})
        assert "MiB of policies in policies; the limit is" in await heard.refused()
        origin.pushed({"policies/large.yaml": None, **{f"policies/{n}.yaml": model(f"m{n}") for n in range(4)}})
        assert "5 files in policies; the limit is 3" in await heard.refused()
        assert len(list((state / "git" / "commits").iterdir())) == 1
        origin.pushed({f"policies/{n}.yaml": None for n in range(4)})
        assert models(await heard.after_a_knock()) == ["chat"]
        (policies / "again.yaml").symlink_to("chat.yaml")
        origin.pushed()
        read = await heard.after_a_knock()
        assert [name for name, _ in read.files] == ["policies/again.yaml", "policies/chat.yaml"]


@asynchronous
async def test_a_commit_without_the_folder_is_refused(origin: Origin, state: Path) -> None:
    origin.pushed(CHAT)
    async with followed(origin, state) as heard:
        await heard.next()
        origin.git("mv", "policies", "elsewhere")
        origin.pushed()
        assert "it has no folder policies; " in await heard.refused()


@pytest.mark.parametrize("path", ["policies", "policies/team"])
@asynchronous
async def test_policies_in_a_submodule_are_not_taken_for_none(origin: Origin, state: Path, path: str) -> None:
    """They would be gone without a word; anywhere else a submodule is nobody's business."""
    origin.pushed({"policies/team/chat.yaml": model("chat"), "policies/embed.yaml": model("embed")})
    async with followed(origin, state, path) as heard:
        served = models(await heard.next())
        origin.git("update-index", "--add", "--cacheinfo", f"160000,{origin.head},elsewhere")
        origin.git("commit", "--quiet", "--message", "policies")
        origin.push()
        assert models(await heard.after_a_knock()) == served
        origin.git("rm", "--quiet", "policies/team/chat.yaml")
        origin.git("update-index", "--add", "--cacheinfo", f"160000,{origin.head},policies/team")
        origin.git("commit", "--quiet", "--message", "policies")
        origin.push()
        name = "team" if path == "policies" else path
        assert f" refused: {name} is a submodule, and none is fetched; " in await heard.refused()
        assert not heard.repository._doubted


@asynchronous
async def test_a_pointer_of_git_lfs_is_told_as_one(origin: Origin, state: Path) -> None:
    origin.pushed(CHAT)
    async with followed(origin, state) as heard:
        await heard.next()
        origin.pushed(
            {"policies/chat.yaml": f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 7\n"}
        )
        assert "chat.yaml is kept by Git LFS, and only a pointer to it is here; " in await heard.refused()


@pytest.mark.parametrize("path", ["deploy/policies", "."])
@asynchronous
async def test_a_folder_without_policies_is_named_as_it_is_in_the_repository(
    origin: Origin, state: Path, path: str
) -> None:
    origin.pushed({"deploy/policies/chat.yaml": model("chat")})
    async with followed(origin, state, path) as heard:
        await heard.next()
        origin.pushed({"deploy/policies/chat.yaml": None, "deploy/policies/empty.yaml": "# nothing\n"})
        read = await heard.after_a_knock()
        assert read.diagnostics[0].message == f"no policies under {path}"
        assert str(state) not in read.report + heard.of.standing.reason


@asynchronous
async def test_a_release_where_nothing_is_pinned_says_how_the_branch_does(origin: Origin, state: Path) -> None:
    served = origin.pushed(CHAT)
    async with followed(origin, state) as heard:
        await heard.next()
        refused = origin.pushed({"policies/late.yaml": "kind: ["})
        await heard.after_a_knock()
        listening = asyncio.create_task(heard.next())
        why = heard.of.standing.reason
        stands = f"nothing is pinned: commit {refused[:12]} is refused: {why}; {served[:12]} stays"
        assert await heard.of.release() == TurnRefused(stands)
        origin.pushed({"policies/late.yaml": None})
        heard.of.knock()
        assert models(await listening) == ["chat"]
        listening = asyncio.create_task(heard.next())
        assert await heard.of.release() == TurnRefused("nothing is pinned: the branch is served as it is")
        listening.cancel()
        await asyncio.wait({listening})


@asynchronous
async def test_a_commit_in_which_the_folder_is_a_link_is_refused(origin: Origin, state: Path) -> None:
    origin.pushed(CHAT)
    async with followed(origin, state) as heard:
        await heard.next()
        origin.git("mv", "policies", "elsewhere")
        (origin.tree / "policies").symlink_to("elsewhere")
        origin.pushed()
        assert "refused: policies is no folder there, but a file or a link" in await heard.refused()


@asynchronous
async def test_what_was_refused_is_told_once(origin: Origin, state: Path) -> None:
    origin.pushed(CHAT)
    async with followed(origin, state) as heard:
        await heard.next()
        origin.git("mv", "policies", "elsewhere")
        origin.pushed()
        await heard.refused()
        origin.git("mv", "elsewhere", "policies")
        for _ in range(3):
            heard.of.knock()
        listening = asyncio.create_task(heard.next())
        await asyncio.sleep(0)
        origin.pushed()
        heard.of.knock()
        assert models(await listening) == ["chat"]


@asynchronous
async def test_a_repository_is_looked_at_by_itself_too(origin: Origin, state: Path) -> None:
    origin.pushed(CHAT)
    async with followed(origin, state, poll=0.01) as heard:
        await heard.next()
        origin.pushed(EMBED)
        assert models(await heard.next()) == ["chat", "embed"]


@asynchronous
async def test_what_a_killed_git_leaves_does_not_stop_the_next(origin: Origin, state: Path) -> None:
    origin.pushed(CHAT)
    async with followed(origin, state) as heard:
        await heard.next()
        clone = state / "git" / "clone.git"
        (clone / "refs" / "turnout" / "head.lock").touch()
        (clone / "packed-refs.lock").touch()
        origin.pushed(EMBED)
        assert models(await heard.after_a_knock()) == ["chat", "embed"]


@asynchronous
async def test_a_clone_that_is_damaged_while_the_repository_is_away_is_told_and_got_over(
    origin: Origin, state: Path
) -> None:
    served = origin.pushed(CHAT)
    async with followed(origin, state) as heard:
        await heard.next()
    for pack in (state / "git" / "clone.git" / "objects" / "pack").iterdir():
        pack.unlink()
    away = origin.bare.rename(origin.bare.with_name("away"))
    async with followed(origin, state) as heard:
        assert [(await heard.next()).diagnostics[0].code for _ in range(2)] == ["X109", "X110"]
        assert (heard.of.standing.served, heard.of.standing.refused) == (served, served)
        away.rename(origin.bare)
        assert models(await heard.after_a_knock()) == ["chat"]
        assert (heard.of.standing.problem, heard.of.standing.refused) == ("", "")


@pytest.mark.parametrize("restarted", [True, False])
@asynchronous
async def test_a_hole_in_the_history_is_told_as_a_damaged_clone_and_mended(
    origin: Origin, state: Path, restarted: bool
) -> None:
    """Git's word for it is that of a commit that has no such ancestor."""
    packs, pack_of = state / "git" / "clone.git" / "objects" / "pack", {}
    origin.pushed(CHAT)
    async with followed(origin, state) as heard:
        await heard.next()
        for name in ("late", "later"):
            before = set(packs.iterdir())
            origin.pushed({f"policies/{name}.yaml": "kind: ["})
            await heard.refused()
            pack_of[name] = set(packs.iterdir()) - before
        for file in pack_of["late"]:
            file.unlink()
        good = origin.pushed({"policies/late.yaml": None, "policies/later.yaml": None, **EMBED})
        read = await heard.after_a_knock()
        assert " refused: the clone is damaged: Could not read " in read.diagnostics[0].message
        assert "rewritten" not in read.report
        assert "= hint: it is read again at the next look; a clone that is damaged is made anew\n" in read.report
        if not restarted:
            assert models(await heard.after_a_knock()) == ["chat", "embed"]
            assert (heard.of.standing.served, heard.of.standing.refused) == (good, "")
            assert run("git", "fsck", at=packs.parents[1]) == ""
    if restarted:
        async with followed(origin, state) as heard:
            while (read := await heard.next()).commit != good[:12] or read.fleet is None:
                heard.of.knock()
            assert models(read) == ["chat", "embed"]


@asynchronous
async def test_a_repository_that_hangs_is_given_up_and_no_command_waits_for_it(
    origin: Origin, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = origin.pushed(CHAT)
    origin.pushed(EMBED)
    async with followed(origin, state) as heard:
        await heard.next()
        port = free_port()
        with silent(port) as asked:
            monkeypatch.setattr(heard.repository, "remote", Remote(f"git://127.0.0.1:{port}/policy.git"))
            listening = asyncio.create_task(heard.after_a_knock())
            await true(asked)
            assert await heard.of.pin(first) == Turned(first, pinned=True)
            assert models(await listening) == ["chat"]
            monkeypatch.setattr("xds.git.repository.FETCH_SECONDS", 0.2)
            listening = asyncio.create_task(heard.after_a_knock())
            await true(lambda: heard.of.standing.problem == "git fetch has taken more than 0 s")
            listening.cancel()
            await asyncio.wait({listening})


@pytest.mark.parametrize(
    ("said", "reason_"),
    [
        (
            "fatal: unable to access 'https://ada:s3cret@git.example.com/': no\n",
            "unable to access 'https://***@git.example.com/': no",
        ),
        ("fatal: no 'https://ada:s3@cr@t@git.example.com/a'", "no 'https://***@git.example.com/a'"),
        ("fatal: no 'https://ada:s3/cret@git.example.com/a'", "no 'https://***@git.example.com/a'"),
        ("fatal: no 'https://git.example.com/a.git?private_token=s3cret/'", "no 'https://git.example.com/a.git?***'"),
        ("fatal: no https://ada:s?3@git.example.com/a?t=s3cr@t now", "no https://***@git.example.com/a?*** now"),
        ("fatal: no 'https://git.example.com:80/a@b'", "no 'https://git.example.com:80/a@b'"),
        ("warning: w\nerror: e\nfatal: f\n", "e; f"),
        (
            "git@example.com: Permission denied (publickey).\nfatal: Could not read\n",
            "git@example.com: Permission denied (publickey); Could not read",
        ),
        ("", ""),
    ],
)
def test_a_reason_is_gits_own_without_secrets(said: str, reason_: str) -> None:
    assert reason(said) == reason_


@asynchronous
async def test_a_git_server_is_followed_that_comes_goes_and_comes_back(origin: Origin, state: Path) -> None:
    """git's own daemon, over the network; a path needs no server."""
    port = free_port()
    first = origin.pushed(CHAT)
    options = GitOptions(Remote(f"git://127.0.0.1:{port}/{origin.bare.name}", origin.branch), poll=3600.0)
    found = following(options, state, "", colour=False)
    await found.prepare()
    heard = Heard(found)
    with daemon(origin.bare.parent, port):
        assert (await heard.next()).commit == first[:12]
    origin.pushed(EMBED)
    listening = asyncio.create_task(heard.after_a_knock())
    await true(lambda: bool(found.standing.problem))
    assert "Connection refused" in found.standing.problem
    with daemon(origin.bare.parent, port):
        assert models(await listening) == ["chat", "embed"]  # tried again by itself
    await heard.close()
