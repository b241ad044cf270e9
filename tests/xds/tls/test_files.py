"""Certificates in files that change while they are served with."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.certificates import Authority, Pair, openssl
from xds.tls.files import CertificateError, Certificates, Files, load
from xds.tls.not_after import not_after


def now() -> datetime:
    """Not that of the start: these may run much later than they were read."""
    return datetime.now(UTC)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "ca")


@pytest.fixture
def used(authority: Authority, tmp_path: Path) -> Pair:
    """A server's, which a test may change."""
    if not (authority.folder / "server").exists():
        authority.server()
    copy = Pair(tmp_path / "used")
    copy.folder.mkdir()
    copy.become(Pair(authority.folder / "server"))
    return copy


def files(pair: Pair, authority: Authority) -> Files:
    return Files(pair.certificate, pair.key, authority.certificate)


@pytest.mark.parametrize("years", [1, 20, 30, 200])
def test_until_when_a_certificate_holds_is_read_in_either_form_of_time(
    authority: Authority, years: int, tmp_path: Path
) -> None:
    lasting = timedelta(days=365 * years)
    found = not_after(authority.envoy(name=f"for {years} years", lasting=lasting).certificate.read_bytes())
    assert abs(found - datetime.now(UTC) - lasting) < timedelta(minutes=5)


@pytest.mark.parametrize("cut", [0, 40, 200, 400])
def test_what_is_no_certificate_is_said_to_be_none(authority: Authority, cut: int) -> None:
    whole = authority.certificate.read_bytes()
    with pytest.raises(ValueError, match="no certificate"):
        not_after(whole[:cut] + (b"\n-----END CERTIFICATE-----\n" if cut else b""))


def test_new_files_are_loaded(authority: Authority, used: Pair) -> None:
    found = Certificates("xds", files(used, authority))
    before = found.loaded
    assert not found.look()
    used.become(authority.server("its successor"))
    assert found.look()
    assert found.loaded.chain == (authority.folder / "its successor" / "tls.crt").read_bytes() != before.chain
    assert (found.problem, found.look()) == ("", False)


def test_half_a_rotation_keeps_what_is_loaded_and_is_told(authority: Authority, used: Pair) -> None:
    found = Certificates("xds", files(used, authority))
    before = found.loaded
    whole = used.certificate.read_bytes()
    for half in (whole[:200], b"", (authority.folder / "ca.crt").read_bytes()):
        used.certificate.write_bytes(half)
        assert not found.look()
        assert found.loaded is before
        assert found.problem.startswith(f"{used.certificate} and {used.key}: ")
    used.certificate.unlink()
    assert not found.look()
    assert found.problem == f"{used.certificate}: No such file or directory"
    used.certificate.write_bytes(whole)
    assert found.look()
    assert found.problem == ""


def test_authorities_are_followed_too(authority: Authority, used: Pair, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.crt"
    bundle.write_bytes(authority.certificate.read_bytes())
    found = Certificates("xds", replace(files(used, authority), client_ca=bundle))
    both = bundle.read_bytes() + Authority(tmp_path / "other").certificate.read_bytes()
    bundle.write_bytes(both[:-100])
    assert not found.look()
    assert found.problem.startswith(f"{bundle}: ")
    bundle.write_bytes(both)
    assert found.look()
    assert found.loaded.client_ca == both


def test_what_nobody_could_be_served_with_is_refused_at_the_start(authority: Authority, used: Pair) -> None:
    late = authority.envoy(name="late", lasting=timedelta(minutes=-1))
    with pytest.raises(CertificateError, match="expired at"):
        load(files(late, authority), now())
    other = authority.envoy(name="another")
    with pytest.raises(CertificateError, match="key values mismatch"):
        load(Files(used.certificate, other.key), now())


def test_a_key_with_a_passphrase_is_told_and_nobody_is_asked_for_it(authority: Authority, used: Pair) -> None:
    openssl("ec", "-in", used.key, "-aes256", "-passout", "pass:x", "-out", used.key.with_suffix(".locked"))
    with pytest.raises(CertificateError, match="the key has a passphrase"):
        load(Files(used.certificate, used.key.with_suffix(".locked")), now())
