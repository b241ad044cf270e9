"""Live weights over HTTP: the one thing that can be changed here, and only with the server's token."""

from __future__ import annotations

import json

from aiohttp import web

from xds.admin.access import Access
from xds.admin.answers import json_answer
from xds.admin.overrides import override_with_policy, overrides
from xds.cache import Snapshots
from xds.control import Control
from xds.live.command import Refusal, Refused
from xds.observe.events import Answer

MOST = 64 << 10
"""Bytes of a command."""
STATUS = {Refusal.INVALID: 422, Refusal.NOTHING_THERE: 404, Refusal.NOT_NOW: 503}


class Weights:
    """`POST /weights`, `DELETE /weights/<model>` and `GET /weights`."""

    def __init__(self, control: Control, snapshots: Snapshots, access: Access) -> None:
        self._control, self._snapshots, self._access = control, snapshots, access

    def add_to(self, application: web.Application) -> None:
        application.router.add_get("/weights", self._list)
        application.router.add_post("/weights", self._set)
        application.router.add_delete("/weights/{model}", self._take_back)

    async def _list(self, _: web.Request) -> web.Response:
        return json_answer({"overrides": overrides(self._control.live, self._snapshots.fleet)})

    async def _set(self, request: web.Request) -> web.Response:
        if (refusal := self._access.refusal(request)) is not None:
            return refusal
        text = b""
        while len(text) <= MOST and (more := await request.content.read(MOST + 1 - len(text))):
            text += more
        if len(text) > MOST:  # the application's own limit is that of requests to be explained
            return _said(413, f"a command has {MOST:,} bytes at most")
        try:
            asked = json.loads(text)
        except (ValueError, RecursionError):
            return _said(400, "no JSON")
        return self._answered(await self._control.set_weights(asked))

    async def _take_back(self, request: web.Request) -> web.Response:
        if (refusal := self._access.refusal(request)) is not None:
            return refusal
        return self._answered(await self._control.take_weights_back(request.match_info["model"]))

    def _answered(self, answer: Answer) -> web.Response:
        if isinstance(answer, Refused):
            problems = [{"message": problem.message, "hint": problem.hint} for problem in answer.problems]
            said = "; ".join(problem.message for problem in answer.problems)
            return json_answer({"error": said, "problems": problems}, STATUS[answer.kind])
        models = () if self._snapshots.fleet is None else self._snapshots.fleet.models
        model = next((model for model in models if model.name == answer.model), None)
        return json_answer(
            {**override_with_policy(answer.model, answer.override, model), "warnings": list(answer.warnings)}
        )


def _said(status: int, error: str) -> web.Response:
    return json_answer({"error": error}, status)
