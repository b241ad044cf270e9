"""Who has signed a commit, as git verifies it, by SSH keys and OpenPGP keys of the server's own file."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.features.served import asynchronous, model, until
from tests.git_repository import Key, Origin, end_agent, gpg_key, ssh_key
from tests.xds.git.test_follow import CHAT, EMBED, Heard, models
from xds.git.bell import Turned, TurnRefused
from xds.git.reader import Judge
from xds.git.remote import Remote
from xds.git.settings import GitOptions, following
from xds.git.signatures import Signed, Signers

if shutil.which("gpg") is None or shutil.which("ssh-keygen") is None:
    pytest.skip("gpg and ssh-keygen sign here: Debian's packages gpg and openssh-client", allow_module_level=True)

NONE_ALLOWED = "the key that it is signed with is none of an allowed signer"


@pytest.fixture
def origin(tmp_path: Path) -> Origin:
    return Origin(tmp_path)


@pytest.fixture
def bob() -> Iterator[Key]:
    with tempfile.TemporaryDirectory(prefix="gpg") as folder:
        key = gpg_key(Path(folder) / "bob", "bob")
        yield key
        end_agent(key)


async def verified(origin: Origin, allowed: str, folder: Path, commit: str) -> Signed:
    file = folder / "allowed"
    file.write_text(allowed)
    return await Signers(file, folder / "signers").verified(origin.bare, commit)


@asynchronous
async def test_a_commit_is_signed_by_whom_the_file_names(origin: Origin, tmp_path: Path, bob: Key) -> None:
    ada, eve = ssh_key(tmp_path, "ada"), ssh_key(tmp_path, "eve")
    allowed = f"# who may\n{ada.public}\n{bob.public}"
    for key, expected in (
        (ada, Signed("ada@example.com")),
        (bob, Signed("bob <bob@example.com>")),
        (eve, Signed(problem=NONE_ALLOWED)),
        (None, Signed(problem="it is not signed")),
    ):
        commit = origin.pushed(key=key)
        assert await verified(origin, allowed, tmp_path, commit) == expected


@asynchronous
async def test_no_key_of_the_user_or_of_the_machine_is_believed(
    origin: Origin, tmp_path: Path, bob: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    """bob's key is in the keyring that gpg would ask, and ada's in the file that git would."""
    ada = ssh_key(tmp_path, "ada")
    (tmp_path / "users").write_text(ada.public)
    (tmp_path / "config").write_text(f"[gpg.ssh]\nallowedSignersFile = {tmp_path / 'users'}\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "config"))
    monkeypatch.setenv("GNUPGHOME", bob.home)
    for key in (ada, bob):
        assert await verified(origin, "", tmp_path, origin.pushed(key=key)) == Signed(problem=NONE_ALLOWED)


@asynchronous
async def test_a_signature_of_another_commit_is_none(origin: Origin, tmp_path: Path) -> None:
    ada = ssh_key(tmp_path, "ada")
    origin.pushed(CHAT, ada)
    signed = origin.git("cat-file", "commit", "HEAD")
    (tmp_path / "forged").write_text(signed.replace("policies\n", "evil\n"))
    forged = origin.git("hash-object", "-t", "commit", "-w", str(tmp_path / "forged")).strip()
    origin.git("push", "--quiet", "origin", f"{forged}:refs/heads/forged")
    found = await verified(origin, ada.public, tmp_path, forged)
    assert found == Signed(problem="its signature is not of this commit")


@asynchronous
async def test_a_key_that_expires_is_none_from_then_on(origin: Origin, tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="gpg") as folder:
        eve = gpg_key(Path(folder) / "eve", "eve", "seconds=2")
        commit = origin.pushed(key=eve)
        end_agent(eve)

    async def expired() -> Signed | None:
        found = await verified(origin, eve.public, tmp_path, commit)
        return found if found.problem else None

    assert (await until(expired)).problem == "the key that it is signed with has expired"


@asynchronous
async def test_the_file_is_read_anew_for_each_commit(origin: Origin, tmp_path: Path) -> None:
    ada, eve = ssh_key(tmp_path, "ada"), ssh_key(tmp_path, "eve")
    commit = origin.pushed(key=eve)
    file = tmp_path / "allowed"
    signers = Signers(file, tmp_path / "signers")
    for allowed, by in ((ada.public, ""), (ada.public + eve.public, "eve@example.com"), (ada.public, "")):
        file.write_text(allowed)
        assert (await signers.verified(origin.bare, commit)).by == by


@asynchronous
async def test_a_commit_cannot_let_its_own_signer_in(origin: Origin, tmp_path: Path) -> None:
    """Nor is one that is not signed ever served, by a rollback either; what it changes comes with one that is."""
    ada, eve = ssh_key(tmp_path, "ada"), ssh_key(tmp_path, "eve")
    file = tmp_path / "allowed"
    file.write_text(ada.public)
    options = GitOptions(Remote(origin.url, origin.branch), poll=3600.0, allowed_signers=file)
    served = origin.pushed(CHAT, ada)
    follower = following(options, tmp_path / "state", "", colour=False)
    await follower.prepare()
    heard = Heard(follower)
    assert models(await heard.next()) == ["chat"]
    assert follower.standing.signed_by == "ada@example.com"
    for key, why in ((None, "it is not signed"), (eve, NONE_ALLOWED)):
        refused = origin.pushed({"allowed": eve.public, "policies/late.yaml": model("late")}, key)
        assert await heard.refused() == f"commit {refused[:12]} refused: {why}; {served[:12]} stays"
    listening = asyncio.create_task(heard.next())
    turned = await follower.pin(refused)
    assert isinstance(turned, TurnRefused)
    assert NONE_ALLOWED in turned.why
    file.write_text(ada.public + eve.public)
    follower.knock()
    assert models(await listening) == ["chat", "late"]
    assert follower.standing.signed_by == "eve@example.com"
    origin.pushed(EMBED, ada)
    assert models(await heard.after_a_knock()) == ["chat", "embed", "late"]
    await heard.close()


def naming(*names: str) -> str:
    signers = "" if not names else f"signedCommits: {{allowedSigners: [{', '.join(names)}]}}"
    return f"apiVersion: turnout.dev/v1\nkind: Platform\nmetadata: {{name: platform}}\nspec: {{{signers}}}\n"


@asynchronous
async def test_platform_names_who_may_sign_the_commit_after_it_and_no_commit_names_its_own(
    origin: Origin, tmp_path: Path, bob: Key
) -> None:
    ada = ssh_key(tmp_path, "ada")
    file = tmp_path / "allowed"
    file.write_text(ada.public + bob.public)
    options = GitOptions(Remote(origin.url, origin.branch), poll=3600.0, allowed_signers=file)
    only_ada, both = naming("ada@example.com"), naming("ada@example.com", "bob@example.com")
    origin.pushed({**CHAT, "policies/platform.yaml": only_ada}, ada)
    follower = following(options, tmp_path / "state", "", colour=False)
    await follower.prepare()
    heard = Heard(follower)
    await heard.next()
    for text in (both, naming(), only_ada):
        origin.pushed({"policies/platform.yaml": text}, bob)
        assert (
            "bob <bob@example.com> has signed it, whom Platform's allowedSigners do not name" in await heard.refused()
        )
    await heard.close()
    follower = following(options, tmp_path / "state", "", colour=False)  # what it knows survives a restart
    await follower.prepare()
    heard = Heard(follower)
    origin.pushed({"policies/platform.yaml": both}, bob)
    assert models(await heard.next()) == ["chat"]
    assert (await heard.next()).fleet is None
    for key in (ada, bob):
        origin.pushed({"policies/platform.yaml": both, "README.md": key.public}, key)
        assert models(await heard.after_a_knock()) == ["chat"]
    await heard.close()


@asynchronous
async def test_signers_that_change_stand_over_a_restart_and_over_a_rollback_to_before(
    origin: Origin, tmp_path: Path
) -> None:
    ada, eve = ssh_key(tmp_path, "ada"), ssh_key(tmp_path, "eve")
    file = tmp_path / "allowed"
    file.write_text(ada.public + eve.public)
    options = GitOptions(Remote(origin.url, origin.branch), poll=3600.0, allowed_signers=file)
    first = origin.pushed({**CHAT, "policies/platform.yaml": naming("ada@example.com")}, ada)

    async def started() -> Heard:
        follower = following(options, tmp_path / "state", "", colour=False)
        await follower.prepare()
        heard = Heard(follower)
        assert models(await heard.next()) == ["chat"]
        return heard

    heard = await started()
    origin.pushed({"policies/platform.yaml": naming("eve@example.com")}, ada)
    assert models(await heard.after_a_knock()) == ["chat"]
    await heard.close()
    heard = await started()
    origin.pushed(key=eve)
    assert models(await heard.after_a_knock()) == ["chat"]
    for back in (first, ""):
        turned, _ = await heard.with_command(back)
        assert isinstance(turned, Turned), turned
        assert turned.problem == ""
        await heard.close()
        heard = await started()
    origin.pushed(EMBED, ada)
    assert "ada@example.com has signed it, whom Platform's" in await heard.refused()
    origin.pushed(key=eve)
    assert models(await heard.after_a_knock()) == ["chat", "embed"]
    await heard.close()


@asynchronous
async def test_a_server_without_a_file_serves_nothing_that_is_to_be_signed(origin: Origin, tmp_path: Path) -> None:
    ada = ssh_key(tmp_path, "ada")
    origin.pushed({**CHAT, "policies/platform.yaml": naming("ada@example.com")}, ada)
    options = GitOptions(Remote(origin.url, origin.branch), poll=3600.0)
    follower = following(options, tmp_path / "state", "", colour=False)
    await follower.prepare()
    heard = Heard(follower)
    read = await heard.next()
    assert read.fleet is None
    assert "refused: Platform has signedCommits, and this server no --allowed-signers to know them by\n" in read.report
    assert "= hint: start the server with --allowed-signers, or push a commit without signedCommits\n" in read.report
    assert follower.standing.served == ""
    await heard.close()


@asynchronous
async def test_a_commit_that_cannot_be_read_is_not_told_as_one_that_is_not_signed(
    origin: Origin, tmp_path: Path
) -> None:
    ada = ssh_key(tmp_path, "ada")
    file = tmp_path / "allowed"
    file.write_text(ada.public)
    served = origin.pushed(CHAT, ada)
    options = GitOptions(Remote(origin.url, origin.branch), poll=3600.0, allowed_signers=file)
    follower = following(options, tmp_path / "state", "", colour=False)
    await follower.prepare()
    heard = Heard(follower)
    assert models(await heard.next()) == ["chat"]
    for pack in (tmp_path / "state" / "git" / "clone.git" / "objects" / "pack").iterdir():
        pack.unlink()
    found = await follower._reader.read(served, 0.0, Judge())
    assert found.read.fleet is None
    assert found.refusal is not None
    assert served in found.refusal.why  # in git's words
    assert "sign" not in found.refusal.why
    await heard.close()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "the allowed signers cannot be read: {file}: No such file or directory"),
        (b"\xff", "the allowed signers cannot be read: {file}: it is no text"),
        (
            b"# one\n-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmDMEZ!!@@##\n=abcd\n-----END PGP PUBLIC KEY BLOCK-----\n",
            "OpenPGP keys of allowed signers cannot be read: {file}:2: gpg: invalid radix64 character 21 skipped",
        ),
    ],
)
@asynchronous
async def test_what_is_wrong_with_the_file_is_told_in_a_line_and_not_as_a_commits_fault(
    origin: Origin, tmp_path: Path, text: bytes | None, why: str
) -> None:
    ada = ssh_key(tmp_path, "ada")
    file, mend = tmp_path / "allowed", "mend the server's --allowed-signers, which is read again at the next look"
    file.write_text(ada.public)
    options = GitOptions(Remote(origin.url, origin.branch), poll=3600.0, allowed_signers=file)
    served = origin.pushed(CHAT, ada)
    follower = following(options, tmp_path / "state", "", colour=False)
    await follower.prepare()
    heard = Heard(follower)
    assert models(await heard.next()) == ["chat"]
    file.unlink() if text is None else file.write_bytes(text)
    refused, why = origin.pushed(EMBED, ada), why.format(file=file)
    read = await heard.after_a_knock()
    assert read.diagnostics[0].message == f"commit {refused[:12]} refused: {why}; {served[:12]} stays"
    assert (read.diagnostics[0].hint or "").startswith(mend)
    listening = asyncio.create_task(heard.next())
    turned = await follower.pin(served)
    assert isinstance(turned, TurnRefused)
    assert turned.why == f"commit {served[:12]} cannot be served: {why}"
    assert turned.hint.startswith(mend)
    file.write_text(ada.public)
    follower.knock()
    assert models(await listening) == ["chat", "embed"]
    await heard.close()
