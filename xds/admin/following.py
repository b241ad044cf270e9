"""A branch that is followed, over HTTP: that there is something new, what is pinned, and how both stand."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

from aiohttp import web

from xds.admin.access import WEBHOOK, Access
from xds.admin.answers import json_answer
from xds.git.bell import Answer, TurnRefused
from xds.git.follow import Following
from xds.git.standing import Standing

MOST_SAID = 25 << 20
"""Bytes of what is said to a webhook: as many as GitHub sends. They are not kept, only signed."""
MOST_ASKED = 4096
"""Bytes of a command."""
SIGNATURE = "X-Hub-Signature-256"
"""https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries"""
TOKEN = "X-Gitlab-Token"
"""GitLab sends the secret itself. https://docs.gitlab.com/user/project/integrations/webhooks"""

Document = dict[str, Any]


class FollowingRoutes:
    """`POST /webhook` with a secret, `GET`, `POST` and `DELETE /rollback`."""

    def __init__(self, following: Following, access: Access, secret: bytes | None) -> None:
        self._following, self._access, self._secret = following, access, secret

    def add_to(self, application: web.Application) -> None:
        if self._secret is not None:
            application.router.add_post(WEBHOOK, self._knocked)
        application.router.add_get("/rollback", self._stands)
        application.router.add_post("/rollback", self._pin)
        application.router.add_delete("/rollback", self._release)

    async def _knocked(self, request: web.Request) -> web.Response:
        """The signature is the proof, so there is no token. To hear it again does no harm: the branch is looked at."""
        assert self._secret is not None
        token = request.headers.get(TOKEN)
        if token is not None and SIGNATURE not in request.headers:
            right = hmac.compare_digest(token.encode(errors="surrogateescape"), self._secret)
            return self._heard("" if right else f"{TOKEN} is not this server's secret")
        signed, size = hmac.new(self._secret, digestmod=hashlib.sha256), 0
        while part := await request.content.readany():
            size += len(part)
            if size > MOST_SAID:
                return json_answer({"error": f"more than {MOST_SAID >> 20} MiB"}, 413)
            signed.update(part)
        given = request.headers.get(SIGNATURE, "").encode(errors="surrogateescape")
        if not hmac.compare_digest(given, f"sha256={signed.hexdigest()}".encode()):
            return self._heard(
                f"{SIGNATURE} is not the body's with this server's secret" if given else f"{SIGNATURE} is missing"
            )
        return self._heard("")

    def _heard(self, wrong: str) -> web.Response:
        """`wrong` is why not; empty where it is."""
        if wrong:
            return json_answer({"error": wrong}, 401)
        self._following.knock()
        return json_answer({"heard": True}, 202)

    async def _stands(self, _: web.Request) -> web.Response:
        return json_answer(standing_document(self._following.standing))

    async def _pin(self, request: web.Request) -> web.Response:
        if (refusal := self._access.refusal(request)) is not None:
            return refusal
        commit = _commit(await request.content.read(MOST_ASKED))
        if commit is None:
            return json_answer({"error": 'a command is {"commit": "0c5d91a"}'}, 400)
        return _answered(await self._following.pin(commit))

    async def _release(self, request: web.Request) -> web.Response:
        if (refusal := self._access.refusal(request)) is not None:
            return refusal
        return _answered(await self._following.release())


def standing_document(standing: Standing) -> Document:
    """Its keys are an interface."""
    read_at = standing.read_at
    return {
        "remote": standing.remote,
        "head": standing.head,
        "read_at": None if read_at is None else read_at.isoformat(timespec="milliseconds"),
        "served": standing.served,
        "signed_by": standing.signed_by,
        "pinned": standing.pinned,
        "refused": standing.refused,
        "reason": standing.reason,
        "problem": standing.problem,
    }


def _commit(text: bytes) -> str | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    commit = found.get("commit") if isinstance(found, dict) else None
    return commit if isinstance(commit, str) and commit else None


def _answered(answer: Answer) -> web.Response:
    if isinstance(answer, TurnRefused):
        problem = {"message": answer.why, "hint": answer.hint}
        return json_answer({"error": answer.why, "problems": [problem]}, 422)
    return json_answer({"commit": answer.commit, "pinned": answer.pinned, "problem": answer.problem})
