"""A certificate, its key and those who are trusted, from files that others replace while they are in use."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from xds.tls.not_after import not_after

LOOK = 1.0
"""Seconds between two looks at the files."""

log = logging.getLogger(__name__)


class CertificateError(Exception):
    """Files that cannot be served with. The message says which and why, and nothing of what is in them."""


@dataclass(frozen=True, slots=True)
class Files:
    """PEM, as cert-manager, SPIRE's helper and openssl write it."""

    certificate: Path
    """The server's own first, then those that it was signed with."""
    key: Path
    client_ca: Path | None = None
    """Who signs clients' certificates. Without it clients show none."""

    @property
    def all(self) -> tuple[Path, ...]:
        return (self.certificate, self.key) if self.client_ca is None else (self.certificate, self.key, self.client_ca)


@dataclass(frozen=True, slots=True)
class Loaded:
    chain: bytes
    key: bytes
    client_ca: bytes | None
    not_after: datetime
    context: ssl.SSLContext
    """With the certificate and key; it asks clients for nothing."""


class Certificates:
    """What is loaded stays until all files are good again: a rotation is several files, one after the other."""

    def __init__(self, of: str, files: Files, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """`of` is the port, for the log. Raises CertificateError."""
        self.of = of
        self._files, self._now = files, now
        self._seen = _fingerprint(files.all)
        self.loaded = load(files, now())
        self.problem = ""
        """Of the files as they are now; empty when they are what is loaded."""

    def look(self) -> bool:
        """Whether something else is loaded now."""
        seen = _fingerprint(self._files.all)
        if seen == self._seen:
            return False
        try:
            found = load(self._files, self._now())
        except CertificateError as problem:
            self._seen, self.problem = seen, str(problem)
            log.warning("certificate kept of=%s expires=%s problem=%s", self.of, self.loaded.not_after, problem)
            return False
        if seen != _fingerprint(self._files.all):
            return False  # written meanwhile: the next look sees to it
        self._seen, self.loaded, self.problem = seen, found, ""
        log.info("certificate loaded of=%s expires=%s", self.of, found.not_after)
        return True


def load(files: Files, now: datetime) -> Loaded:
    """Raises CertificateError for what a client could not be served with."""
    chain, key = _read(files.certificate), _read(files.key)
    client_ca = None if files.client_ca is None else _read(files.client_ca)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # A key with a passphrase would be asked for at the terminal.
        context.load_cert_chain(files.certificate, files.key, password=_no_passphrase)
        expires = not_after(chain)
    except (OSError, ValueError) as problem:
        raise CertificateError(f"{files.certificate} and {files.key}: {_reason(problem)}") from None
    if expires <= now:
        raise CertificateError(f"{files.certificate}: expired at {expires}")
    if client_ca is not None:
        _check_authorities(files.client_ca, client_ca)
    return Loaded(chain, key, client_ca, expires, context)


def _check_authorities(file: Path | None, pem: bytes) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cadata=pem.decode("ascii"))
    except (OSError, ValueError) as problem:
        raise CertificateError(f"{file}: {_reason(problem)}") from None


def _no_passphrase() -> str:
    raise ValueError("the key has a passphrase")


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as problem:
        raise CertificateError(f"{file}: {problem.strerror or problem}") from None


def _reason(problem: Exception) -> str:
    if isinstance(problem, ssl.SSLError):
        said = (problem.reason or str(problem)).lower().replace("_", " ")
        return {"pem lib": "no PEM, or cut off"}.get(said, said)
    return str(problem)


def _fingerprint(files: Iterable[Path]) -> tuple[object, ...]:
    """Another one when a file, or what its links lead to, is another or has changed."""
    return tuple(_look(file) for file in files)


def _look(file: Path) -> tuple[int, int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_ctime_ns


async def watch(certificates: Iterable[Certificates], changed: Callable[[], None]) -> None:
    """Looks at all of them again and again. `changed` is called after each look. Never ends."""
    watched = tuple(certificates)
    while True:
        for each in watched:
            await asyncio.to_thread(each.look)
        changed()
        await asyncio.sleep(LOOK)
