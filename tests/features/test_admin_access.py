"""Who reaches the admin port from where: `turnout serve` and its clients as processes."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from tests.certificates import Authority, Pair
from tests.features.served import DEADLINE, Folder, asynchronous, until
from tests.features.test_serve import ROOT, turnout_serve, until_it_says

WRITE, READ = "for-tests-only", "for-readers-only"


def turnout(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "xds.cli", *words],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=3 * DEADLINE,
        check=False,
    )


def fetch(url: str, authority: Authority, headers: dict[str, str]) -> tuple[int, str]:
    request = urllib.request.Request(url, headers=headers)
    context = ssl.create_default_context(cafile=str(authority.certificate))
    try:
        with urllib.request.urlopen(request, context=context, timeout=DEADLINE) as found:
            return found.status, found.read().decode()
    except HTTPError as refused:
        return refused.code, refused.read().decode()


@dataclass(frozen=True)
class Keys:
    authority: Authority
    admin: Pair
    write: Path
    read: Path

    @property
    def options(self) -> tuple[str, ...]:
        return (
            *("--admin-cert", str(self.admin.certificate), "--admin-key", str(self.admin.key)),
            *("--admin-token-file", str(self.write), "--admin-read-token-file", str(self.read)),
        )


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    files = {}
    for name, token in (("write", WRITE), ("read", READ)):
        files[name] = tmp_path / name
        files[name].write_text(token)
        files[name].chmod(0o600)
    authority = Authority(tmp_path / "ca")
    return Keys(authority, authority.server(), **files)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ("--admin", "0.0.0.0:0"),
            "--admin 0.0.0.0 is open to other machines: it needs --admin-cert and --admin-key, and",
        ),
        (("--admin", "[::]:0", "--admin-token-file", "t"), "--admin :: is open to other machines"),
        (("--admin", "0.0.0.0:0", "--admin-cert", "c", "--admin-key", "k"), "and --admin-token-file or"),
        (("--admin-cert", "c"), "--admin-cert and --admin-key go together: --admin-key is missing"),
        (
            ("--tls-cert", "c"),
            "--tls-cert, --tls-key and --tls-client-ca go together: --tls-key and --tls-client-ca are",
        ),
    ],
)
def test_what_would_be_open_by_mistake_is_wrong_usage(folder: Folder, options: tuple[str, ...], said: str) -> None:
    run = turnout("serve", str(folder.path), *options)
    assert (run.returncode, said in run.stderr) == (2, True), run.stderr


def test_a_certificate_that_cannot_be_used_ends_the_start_with_a_reason(folder: Folder, keys: Keys) -> None:
    pair = keys.authority.server("other")
    files = ("--tls-cert", str(keys.admin.certificate), "--tls-key", str(pair.key))
    run = turnout("serve", str(folder.path), *files, "--tls-client-ca", str(keys.authority.certificate))
    assert run.returncode == 1
    assert run.stderr == f"turnout serve: {keys.admin.certificate} and {pair.key}: key values mismatch\n"


@pytest.fixture
def url(folder: Folder, keys: Keys) -> Iterator[str]:
    """Of a server that other machines reach."""
    where = ("--admin", "0.0.0.0:0", *keys.options)
    with turnout_serve(folder, *where) as process:
        port = until_it_says(process, r"admin=https://0\.0\.0\.0:(\d+)")[1]
        until_it_says(process, "policy loaded")
        yield f"https://127.0.0.1:{port}"


def test_over_the_network_reading_and_writing_have_a_token_each(keys: Keys, url: str) -> None:
    trusting = {"SSL_CERT_FILE": str(keys.authority.certificate)}
    asked = ("--admin", url)
    assert turnout("status", *asked, "--token-file", str(keys.read), **trusting).returncode == 0
    assert turnout("status", *asked, TURNOUT_ADMIN_TOKEN=WRITE, **trusting).returncode == 0
    for command in ("status", "weights"):
        without = turnout(command, *asked, TURNOUT_ADMIN_TOKEN="", **trusting)
        assert (without.returncode, "this needs the server's token" in without.stderr) == (1, True)
    live = ("explain", "--live", url, "--header", "model-name: chat")
    assert turnout(*live, TURNOUT_ADMIN_TOKEN=READ, **trusting).stdout.startswith("POST /v1/chat/completions")
    set_ = ("weights", "chat", "1=100", "--for", "1m", "--why", "x", *asked)
    readers = turnout(*set_, TURNOUT_ADMIN_TOKEN=READ, **trusting)
    assert (readers.returncode, readers.stderr) == (1, "turnout: that is not this server's token\n")
    strangers = turnout("status", *asked, TURNOUT_ADMIN_TOKEN=READ)
    assert (strangers.returncode, "certificate verify failed" in strangers.stderr) == (1, True)


def test_a_token_does_not_go_to_another_machine_in_the_clear() -> None:
    run = turnout("status", "--admin", "http://192.0.2.1:18001", TURNOUT_ADMIN_TOKEN=WRITE)
    assert run.returncode == 1
    assert run.stderr.startswith("turnout: http://192.0.2.1:18001: a token goes to another machine over https only")


def test_probes_need_no_token_and_everything_else_does(keys: Keys, url: str) -> None:
    def answer(path: str, token: str = "") -> int:
        given = {"Authorization": f"Bearer {token}"} if token else {}
        return fetch(url + path, keys.authority, given)[0]

    for path in ("/healthz", "/readyz"):
        assert answer(path) == 200
    for path in ("/metrics", "/status", "/config_dump", "/weights", "/nowhere"):
        assert answer(path) == answer(path, "wrong") == 401
        assert answer(path, READ) == (404 if path == "/nowhere" else 200)


def test_the_port_of_metrics_has_nothing_that_needs_a_token(folder: Folder, keys: Keys) -> None:
    with turnout_serve(folder, "--admin-token-file", str(keys.write), "--metrics", "127.0.0.1:0") as process:
        url = f"http://{until_it_says(process, r'listening metrics=(.*)')[1]}"
        until_it_says(process, "policy loaded")
        for path in ("/healthz", "/readyz", "/metrics"):
            assert fetch(url + path, keys.authority, {})[0] == 200
        for path in ("/status", "/config_dump", "/weights", "/explain", "/"):
            assert fetch(url + path, keys.authority, {"Authorization": f"Bearer {WRITE}"})[0] == 404


@asynchronous
async def test_a_new_certificate_is_shown_and_told_and_a_torn_one_is_told(folder: Folder, keys: Keys) -> None:
    with turnout_serve(folder, *keys.options) as process:
        port = until_it_says(process, r"admin=https://127\.0\.0\.1:(\d+)")[1]
        until_it_says(process, "policy loaded")
        successor = Authority(keys.authority.folder / "successor")

        def status(authority: Authority) -> dict[str, Any]:
            given = {"SSL_CERT_FILE": str(authority.certificate), "TURNOUT_ADMIN_TOKEN": ""}
            run = turnout("status", "--admin", f"https://127.0.0.1:{port}", "--format", "json", **given)
            found: dict[str, Any] = json.loads(run.stdout)
            return found

        assert status(keys.authority)["ok"] is True
        keys.admin.become(successor.server())

        async def followed() -> bool | None:
            return status(successor)["ok"] is True or None

        await until(followed)
        keys.admin.certificate.write_bytes(b"half")

        async def told() -> dict[str, Any] | None:
            found = status(successor)
            return found if found["ok"] is False else None

        (certificate,) = (await until(told))["certificates"]
        assert certificate["of"] == "admin"
        assert certificate["problem"].startswith(f"{keys.admin.certificate} and {keys.admin.key}: ")


@pytest.mark.parametrize(("log", "kept"), [("text", "certificate kept of="), ("json", '"event": "certificate kept"')])
def test_keys_and_tokens_are_neither_shown_nor_logged(folder: Folder, keys: Keys, log: str, kept: str) -> None:
    pair = keys.authority.server("xds")
    ca = str(keys.authority.certificate)
    tls = ("--tls-cert", str(pair.certificate), "--tls-key", str(pair.key), "--tls-client-ca", ca)
    with turnout_serve(folder, *keys.options, *tls, "--log-format", log) as process:
        port = until_it_says(process, r"https://127\.0\.0\.1:(\d+)")[1]
        until_it_says(process, "policy loaded")
        said = ""
        for path in ("/status", "/config_dump", "/metrics", "/weights", "/nowhere"):
            for token in (READ, WRITE, "wrong"):
                given = {"Authorization": f"Bearer {token}"}
                said += fetch(f"https://127.0.0.1:{port}{path}", keys.authority, given)[1]
        pair.key.write_text(pair.key.read_text()[:150])
        keys.admin.key.write_text("half")
        for _ in range(2):
            until_it_says(process, kept)
        process.terminate()
        said += process.communicate(timeout=DEADLINE)[1]
    secrets = [WRITE, READ, *pair.key.read_text().splitlines()[1:3], *keys.admin.key.read_text().splitlines()]
    assert "turnout_certificate_rotation_failed" in said
    assert [secret for secret in secrets if secret != "half" and secret in said] == []


@pytest.mark.parametrize("option", ["--admin", "--metrics"])
def test_what_is_no_http_request_is_refused_and_leaves_nothing_in_the_log(folder: Folder, option: str) -> None:
    """A token among it, neither. And whoever can reach the port could fill the disk with tracebacks."""
    with turnout_serve(folder, "--metrics", "127.0.0.1:0") as process:
        found = {"--admin": until_it_says(process, r"admin=http://127\.0\.0\.1:(\d+)")[1]}
        found["--metrics"] = until_it_says(process, r"metrics=127\.0\.0\.1:(\d+)")[1]
        until_it_says(process, "policy loaded")
        for header in (f"Authorization: Bearer {READ}\1", f"Authorization : Bearer {READ}", "X: " + "x" * 9000):
            with socket.create_connection(("127.0.0.1", int(found[option])), DEADLINE) as client:
                client.sendall(f"GET /healthz HTTP/1.1\r\nHost: turnout\r\n{header}\r\n\r\n".encode())
                assert client.recv(1 << 16).startswith(b"HTTP/1.0 400 ")
        process.terminate()
        said = process.communicate(timeout=DEADLINE)[1]
    assert not [line for line in said.splitlines() if READ in line or "Error" in line or "Traceback" in line], said


def test_handshakes_that_fail_leave_no_line_in_a_log_of_json_that_is_none(folder: Folder, keys: Keys) -> None:
    pair, ca = keys.authority.server("xds"), str(keys.authority.certificate)
    tls = ("--tls-cert", str(pair.certificate), "--tls-key", str(pair.key), "--tls-client-ca", ca)
    keys.read.chmod(0o604)
    with turnout_serve(folder, *tls, *keys.options, "--log-format", "json", "--drain", "0s") as process:
        until_it_says(process, r'^{"time": .* is open to everybody on this machine: chmod 600')
        found = until_it_says(process, '.*"event": "listening".*')[0]
        host, _, port = json.loads(found)["xds"].rpartition(":")
        context = ssl.create_default_context(cafile=ca)
        context.check_hostname = False
        context.set_alpn_protocols(["h2"])
        for hello in (b"no handshake at all\r\n" * 9, b""):
            with socket.create_connection((host, int(port)), DEADLINE) as client:
                if hello:
                    client.sendall(hello)
                    read_to_the_end(client)
                else:  # without a certificate of its own
                    with context.wrap_socket(client) as wrapped:
                        read_to_the_end(wrapped)
        process.terminate()
        said = process.communicate(timeout=DEADLINE)[1]
    assert json.loads(said.splitlines()[-1])["event"] == "stopped"
    assert all(line.startswith('{"time": "') for line in said.splitlines()), said


def read_to_the_end(client: socket.socket) -> None:
    with suppress(OSError):
        while client.recv(1 << 16):
            pass
