"""Whether a commit is signed by somebody who may: by SSH keys and OpenPGP keys, as git itself verifies them.

Who may is in a file of the server's own. It cannot come with a commit: whoever could push one could let himself in.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from asyncio import create_subprocess_exec
from asyncio.subprocess import PIPE
from dataclasses import dataclass
from pathlib import Path

from xds.git.program import OWN_SETTINGS, GitError, reason, tried

SECONDS = 20.0
"""For a signature to be verified."""
HINT = "mend the server's --allowed-signers, which is read again at the next look; no commit helps"
BLOCK = re.compile(
    r"^-----BEGIN PGP PUBLIC KEY BLOCK-----$.*?^-----END PGP PUBLIC KEY BLOCK-----$", re.MULTILINE | re.DOTALL
)

_SSH_GOOD = re.compile(r'^Good "git" signature for (.+) with \S+ key SHA256:\S+$', re.MULTILINE)
_GPG_GOOD = re.compile(r"^\[GNUPG:\] GOODSIG \S+ (.+)$", re.MULTILINE)
_WORDS = {
    "EXPKEYSIG": "the key that it is signed with has expired",
    "EXPSIG": "its signature has expired",
    "REVKEYSIG": "the key that it is signed with is revoked",
    "BADSIG": "its signature is not of this commit",
    "incorrect signature": "its signature is not of this commit",
    "NO_PUBKEY": "the key that it is signed with is none of an allowed signer",
    "No principal matched": "the key that it is signed with is none of an allowed signer",
}
"""What git, gpg and ssh-keygen say, the first that is there."""
_MISSING = {
    "cannot run gpg": ("it is signed with OpenPGP, and there is no gpg here", "install gpg where the server runs"),
    "cannot run ssh-keygen": (
        "it is signed with SSH, and there is no ssh-keygen here",
        "install ssh-keygen where the server runs",
    ),
}
"""What git says of a program that is not there, what that means, and what helps."""


@dataclass(frozen=True, slots=True)
class Signed:
    by: str = ""
    """As the file, or the key itself, names whoever has signed."""
    problem: str = ""
    """Why the commit counts as not signed; empty where it is."""


class Signers:
    """Those of `file`, which is read anew for each commit: SSH's `allowed_signers`, and OpenPGP public keys as text.

    https://man.openbsd.org/ssh-keygen#ALLOWED_SIGNERS
    """

    def __init__(self, file: Path, folder: Path) -> None:
        """`folder` is nobody else's, and holds the keys as ssh-keygen and gpg want them."""
        self._file, self._folder = file, folder

    async def verified(self, clone: Path, commit: str) -> Signed:
        """Raises GitError where nobody can say."""
        try:
            keys = await self._keys(self._file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as problem:
            why = problem.strerror if isinstance(problem, OSError) else "it is no text"
            raise GitError(f"the allowed signers cannot be read: {self._file}: {why}", HINT) from None
        settings = (
            f"gpg.ssh.allowedSignersFile={keys / 'ssh'}",
            "gpg.program=gpg",
            "gpg.ssh.program=ssh-keygen",
            # gpgsm would believe whom the machine believes.
            "gpg.x509.program=false",
        )
        configured = [word for setting in settings for word in ("-c", setting)]
        environment = {**OWN_SETTINGS, "GNUPGHOME": os.fspath(keys / "gpg")}
        _, said, code = await tried(
            clone, *configured, "verify-commit", "--raw", commit, seconds=SECONDS, environment=environment
        )
        for word, (why, hint) in _MISSING.items():
            if word in said:
                raise GitError(why, hint)
        return _signed(said, good=code == 0)

    async def _keys(self, text: str) -> Path:
        """A folder for just these. Raises OSError, GitError."""
        keys = self._folder / hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
        if keys.exists():
            return keys
        shutil.rmtree(self._folder, ignore_errors=True)
        fresh = keys.with_suffix(".new")
        (fresh / "gpg").mkdir(mode=0o700, parents=True)
        (fresh / "ssh").write_text(BLOCK.sub("", text), encoding="utf-8")
        ring = [await self._keyring(text, block) for block in BLOCK.finditer(text)]
        # Written by hand: to import them gpg wants its agent, whose socket the folder's path may be too long for.
        (fresh / "gpg" / "pubring.gpg").write_bytes(b"".join(ring))
        fresh.rename(keys)
        return keys

    async def _keyring(self, text: str, block: re.Match[str]) -> bytes:
        """Keys that stand as text, as gpg keeps them. Raises GitError."""
        place = f"{self._file}:{text.count(chr(10), 0, block.start()) + 1}"
        words = ("gpg", "--batch", "--dearmor")
        environment = os.environ | {"LC_ALL": "C"}
        try:
            gpg = await create_subprocess_exec(*words, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=environment)
        except OSError as problem:
            why = f"OpenPGP keys of allowed signers cannot be read: gpg: {problem.strerror}"
            raise GitError(why, _MISSING["cannot run gpg"][1]) from None
        ring, said = await gpg.communicate(f"{block[0]}\n".encode())
        if gpg.returncode or not ring:
            why = reason(said.decode(errors="replace")) or f"gpg ended with {gpg.returncode}"
            raise GitError(f"OpenPGP keys of allowed signers cannot be read: {place}: {why}", HINT)
        return ring


def _signed(said: str, *, good: bool) -> Signed:
    who = _SSH_GOOD.search(said) or _GPG_GOOD.search(said)
    if good and who is not None:
        return Signed(who[1])
    if not said.strip():
        return Signed(problem="it is not signed")
    return Signed(problem=next((why for word, why in _WORDS.items() if word in said), "its signature is not valid"))
