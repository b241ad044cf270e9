"""Certificates by openssl, as its command makes them for people."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

SERVER = "turnout.example.com"
EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
YEAR = timedelta(days=365)


@dataclass(frozen=True)
class Pair:
    """Files of one certificate."""

    folder: Path

    @property
    def certificate(self) -> Path:
        return self.folder / "tls.crt"

    @property
    def key(self) -> Path:
        return self.folder / "tls.key"

    def become(self, other: Pair) -> None:
        """As a rotation does it: each file is replaced in one step, one after the other."""
        for file in (self.certificate, self.key):
            fresh = file.with_suffix(".new")
            fresh.write_bytes((other.folder / file.name).read_bytes())
            fresh.replace(file)


class Authority:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.certificate, self._key = folder / "ca.crt", folder / "ca.key"
        openssl("req", "-x509", *EC, "-keyout", self._key, "-out", self.certificate, "-subj", "/CN=ca", "-days", 9)

    def pair(self, name: str, *names: str, lasting: timedelta = YEAR) -> Pair:
        """A certificate with these alternative names, as openssl writes them; from an hour ago until `lasting` from
        now. `name` is the folder's."""
        made = Pair(self.folder / name)
        made.folder.mkdir()
        request, extensions = made.folder / "request", made.folder / "extensions"
        extensions.write_text(f"subjectAltName={','.join(names)}\n" if names else "basicConstraints=CA:FALSE\n")
        openssl("req", *EC, "-keyout", made.key, "-out", request, "-subj", f"/CN={name}")
        (made.folder / "index").touch()
        (made.folder / "config").write_text(
            f"[ca]\ndefault_ca=d\n[d]\ndatabase={made.folder}/index\nrand_serial=yes\ndefault_md=sha256\npolicy=p\n"
            f"new_certs_dir={made.folder}\nunique_subject=no\n[p]\ncommonName=supplied\n"
        )
        now = datetime.now(UTC)
        dates = ("-startdate", _date(now - timedelta(hours=1)), "-enddate", _date(now + lasting))
        signed = ("-cert", self.certificate, "-keyfile", self._key, "-extfile", extensions)
        files = ("-config", made.folder / "config", "-in", request, "-out", made.certificate)
        openssl("ca", "-batch", "-notext", *files, *signed, *dates)
        return made

    def server(self, name: str = "server") -> Pair:
        return self.pair(name, f"DNS:{SERVER}", "IP:127.0.0.1")

    def envoy(self, group: str = "default", name: str = "", lasting: timedelta = YEAR) -> Pair:
        return self.pair(name or group, f"URI:spiffe://example.com/turnout/{group}", lasting=lasting)


def _date(moment: datetime) -> str:
    return moment.strftime("%Y%m%d%H%M%SZ")


def openssl(*words: object) -> None:
    run = subprocess.run(
        ["openssl", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OPENSSL_CONF": ""},
    )
    assert run.returncode == 0, run.stderr
