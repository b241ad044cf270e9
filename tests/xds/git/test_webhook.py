"""Who is heard at the webhook, and who may roll back: the admin port of a server that follows a branch."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from tests.features.served import asynchronous
from xds.admin.access import Access
from xds.admin.following import SIGNATURE
from xds.admin.following import TOKEN as GITLAB
from xds.admin.http import Admin
from xds.admin.metrics import Metrics
from xds.cache import Snapshots
from xds.control import Control
from xds.git.bell import Answer, Turned
from xds.git.follow import Following
from xds.git.standing import Standing
from xds.serve import TRANSLATION
from xds.stream.server import Server

SECRET, TOKEN = b"for-webhooks-only", b"for-tests-only"
WRITE = {"Authorization": "Bearer for-tests-only"}
BODY = b'{"ref": "refs/heads/main"}'


class Fake(Following):
    """Hears, and carries out everything."""

    def __init__(self) -> None:
        self.knocks = 0
        self.pins: list[str] = []

    @property
    def standing(self) -> Standing:
        return Standing("file:///policy.git#main")

    def knock(self) -> None:
        self.knocks += 1

    async def pin(self, commit: str) -> Answer:
        self.pins.append(commit)
        return Turned(commit, pinned=True)

    async def release(self) -> Answer:
        return await self.pin("")


def signed(body: bytes, secret: bytes = SECRET) -> dict[str, str]:
    return {SIGNATURE: f"sha256={hmac.new(secret, body, hashlib.sha256).hexdigest()}"}


@asynccontextmanager
async def port(secret: bytes | None = SECRET, *, guarded: bool = True) -> AsyncIterator[tuple[Fake, Any]]:
    """The follower, and a function that asks: method, path, body, headers."""
    snapshots, metrics, following = Snapshots(TRANSLATION), Metrics(), Fake()
    server = Server(snapshots, metrics)
    control = Control(snapshots, server.publish, metrics)
    admin = Admin(control, snapshots, server, metrics, Access(TOKEN, guarded=guarded), (), following, secret)
    await server.start("127.0.0.1", 0)
    url = f"http://127.0.0.1:{await admin.start('127.0.0.1', 0)}"
    async with aiohttp.ClientSession() as http:

        async def ask(method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> int:
            async with http.request(method, url + path, data=body, headers=headers) as answer:
                await answer.read()
                return answer.status

        try:
            yield following, ask
        finally:
            await admin.stop()
            await server.stop(0)


@asynchronous
async def test_a_webhook_is_heard_by_its_signature_alone() -> None:
    async with port() as (following, ask):
        assert await ask("POST", "/webhook", BODY, signed(BODY)) == 202
        assert following.knocks == 1
        for headers in (
            {},
            WRITE,
            signed(BODY + b" "),
            signed(BODY, b"another"),
            {SIGNATURE: signed(BODY)[SIGNATURE].removeprefix("sha256=")},
            {SIGNATURE: "sha256=é"},
            {"X-Hub-Signature": f"sha1={hmac.new(SECRET, BODY, hashlib.sha1).hexdigest()}"},
        ):
            assert await ask("POST", "/webhook", BODY, headers) == 401
        assert await ask("GET", "/webhook", headers=WRITE) == 405
        assert following.knocks == 1


@asynchronous
async def test_gitlab_is_heard_by_the_secret_itself_and_not_in_place_of_a_signature() -> None:
    secret, wrong = {GITLAB: SECRET.decode()}, {GITLAB: "another"}
    async with port() as (following, ask):
        assert await ask("POST", "/webhook", BODY, secret) == 202
        assert following.knocks == 1
        for headers in (wrong, {GITLAB: ""}, {GITLAB: "é"}, secret | {SIGNATURE: "sha256=0"}, {GITLAB: TOKEN.decode()}):
            assert await ask("POST", "/webhook", BODY, headers) == 401
        assert await ask("POST", "/webhook", BODY, wrong | signed(BODY)) == 202
        assert following.knocks == 2
        assert await ask("POST", "/rollback", b'{"commit": "0c5d91a"}', secret) == 401


@asynchronous
async def test_without_a_secret_there_is_no_webhook() -> None:
    async with port(secret=None) as (following, ask):
        assert await ask("POST", "/webhook", BODY, signed(BODY, b"") | WRITE) == 404
        assert following.knocks == 0


@asynchronous
async def test_a_webhook_that_says_too_much_is_not_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xds.admin.following.MOST_SAID", 1 << 20)
    async with port() as (following, ask):
        large = bytes(1 << 20)
        assert await ask("POST", "/webhook", large, signed(large)) == 202
        assert await ask("POST", "/webhook", large + b" ", signed(large + b" ")) == 413
        assert following.knocks == 1


@asynchronous
async def test_a_rollback_needs_the_token_that_changes_things() -> None:
    async with port(guarded=False) as (following, ask):
        pin = b'{"commit": "0c5d91a"}'
        assert await ask("GET", "/rollback") == 200
        for headers in ({}, signed(pin), {"Authorization": "Bearer another"}):
            assert await ask("POST", "/rollback", pin, headers) == 401
            assert await ask("DELETE", "/rollback", b"", headers) == 401
        assert following.pins == []
        assert await ask("POST", "/rollback", pin, WRITE) == 200
        assert await ask("DELETE", "/rollback", b"", WRITE) == 200
        for body in (b"", b"[]", b"{}", b'{"commit": ""}', b'{"commit": 7}', b"[" * 4000, pin + bytes(9000)):
            assert await ask("POST", "/rollback", body, WRITE) == 400
        assert following.pins == ["0c5d91a", ""]
