"""A sample model server: speaks OpenAI's API, takes as long as it is told to, and says which instance it is.

`python -m demo.model_server --model llama-70b --port 9001 --answer-time 50ms`; `POST /control` changes its manners.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from aiohttp import web

from demo import openai_api

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Identity:
    """Which instance this is; said in every answer's headers and in its text."""

    model: str
    version: str
    tier: str
    zone: str

    def headers(self) -> dict[str, str]:
        return {f"x-instance-{part}": value for part, value in asdict(self).items()}

    def __str__(self) -> str:
        return f"{self.model} {self.version} ({', '.join(filter(None, (self.tier, self.zone)))})"


@dataclass(frozen=True, slots=True)
class Manners:
    """How requests are answered. Times are in seconds; as text they carry their unit: `5ms`, `0.5s`."""

    answer_time: float = 0
    """Until a whole answer."""
    first_token: float = 0
    """Until a stream's first event."""
    token_interval: float = 0
    """Between a stream's events."""
    tokens: int = 12
    """Of an answer whose request sets no lower `max_tokens`."""
    healthy: bool = True
    """What `/health` says. Requests are answered all the same."""
    status: int = 200
    """From 400 on, every request is answered with this error instead."""


def seconds(duration: str) -> float:
    """`5ms` or `0.5s`; raises ValueError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s)", duration)
    if match is None:
        raise ValueError(f"'{duration}' is no duration: 5ms, 0.5s")
    return float(match[1]) / (1000 if match[2] == "ms" else 1)


def changed(manners: Manners, wanted: Mapping[str, Any]) -> Manners:
    """Raises ValueError for an unknown name and TypeError for a value of the wrong type."""
    unknown = wanted.keys() - {field.name for field in fields(Manners)}
    if unknown:
        raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
    values: dict[str, Any] = {
        name: seconds(value) if isinstance(value, str) else value for name, value in wanted.items()
    }
    for name, value in values.items():
        if isinstance(value, bool) != (name == "healthy") or not isinstance(value, (int, float)):
            raise TypeError(f"{name}: {value!r}")
    return replace(manners, **values)


@dataclass(slots=True)
class Work:
    """Requests to the model, as `/control` tells them."""

    answering: int = 0
    """Under way now."""
    abandoned: int = 0
    """So many so far were dropped, because their clients had left."""


class ModelServer:
    def __init__(self, identity: Identity, manners: Manners) -> None:
        self.identity = identity
        self.manners = manners
        self.work = Work()
        self._numbers = itertools.count(1)

    def application(self) -> web.Application:
        application = web.Application(client_max_size=1 << 30)
        application.on_response_prepare.append(self._name_instance)
        application.add_routes(
            [
                web.get("/health", self._health),
                web.get("/control", self._control),
                web.post("/control", self._control),
                web.get("/v1/models", self._models),
                web.get("/v1/models/{name}", self._model),
                *(
                    web.post(f"{prefix}/{operation}", self._answering(handler))
                    for prefix in ("/v1", "/v1/models/{name}")
                    for operation, handler in (
                        ("chat/completions", self._chat),
                        ("completions", self._completion),
                        ("predict", self._completion),
                        ("embeddings", self._embeddings),
                    )
                ),
            ]
        )
        return application

    async def _name_instance(self, _: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(self.identity.headers())

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response(status=200 if self.manners.healthy else 503)

    async def _control(self, request: web.Request) -> web.Response:
        if request.method == "POST":
            try:
                self.manners = changed(self.manners, await request.json())
            except (ValueError, TypeError) as problem:
                return web.json_response(openai_api.error(str(problem), "bad_control"), status=400)
        return web.json_response(asdict(self.manners) | asdict(self.work))

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response(openai_api.model_list((self.identity.model,)))

    async def _model(self, request: web.Request) -> web.Response:
        return web.json_response(openai_api.model(request.match_info["name"]))

    def _answering(self, handler: Handler) -> Handler:
        async def answer(request: web.Request) -> web.StreamResponse:
            if self.manners.status >= 400:
                message = f"{self.identity} was told to fail"
                return web.json_response(openai_api.error(message, "told_to_fail"), status=self.manners.status)
            self.work.answering += 1
            try:
                return await handler(request)
            except (asyncio.CancelledError, ConnectionError):
                self.work.abandoned += 1
                raise
            finally:
                self.work.answering -= 1

        return answer

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        return await self._complete(request, chat=True)

    async def _completion(self, request: web.Request) -> web.StreamResponse:
        return await self._complete(request, chat=False)

    async def _embeddings(self, request: web.Request) -> web.StreamResponse:
        document = await request.json()
        await asyncio.sleep(self.manners.answer_time)
        return web.json_response(openai_api.embeddings(self._asked_model(document), document))

    async def _complete(self, request: web.Request, *, chat: bool) -> web.StreamResponse:
        document = await request.json()
        completion = openai_api.Completion(
            id=f"{'chatcmpl' if chat else 'cmpl'}-{next(self._numbers)}",
            model=self._asked_model(document),
            created=int(time.time()),
            chat=chat,
            prompt_tokens=openai_api.prompt_tokens(document),
            tokens=openai_api.words(f"This is {self.identity}.", self._length(document)),
        )
        if document.get("stream"):
            include_usage = bool((document.get("stream_options") or {}).get("include_usage"))
            return await self._stream(request, completion, include_usage=include_usage)
        await asyncio.sleep(self.manners.answer_time)
        return web.json_response(completion.whole())

    async def _stream(
        self, request: web.Request, completion: openai_api.Completion, *, include_usage: bool
    ) -> web.StreamResponse:
        await asyncio.sleep(self.manners.first_token)
        response = web.StreamResponse(headers={"content-type": "text/event-stream", "cache-control": "no-cache"})
        await response.prepare(request)
        for index, event in enumerate(completion.events(include_usage=include_usage)):
            if index:
                await asyncio.sleep(self.manners.token_interval)
            await response.write(event)
        await response.write(openai_api.DONE)
        return response

    def _asked_model(self, document: Mapping[str, Any]) -> str:
        return str(document.get("model") or self.identity.model)

    def _length(self, document: Mapping[str, Any]) -> int:
        limit = document.get("max_completion_tokens") or document.get("max_tokens") or self.manners.tokens
        return min(int(limit), self.manners.tokens)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m demo.model_server", description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--version", default="1")
    parser.add_argument("--tier", default="active")
    parser.add_argument("--zone", default="")
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--answer-time", type=seconds, default=0.0, help="until a whole answer: 5ms, 0.5s")
    parser.add_argument("--first-token", type=seconds, default=0.0, help="until a stream's first event")
    parser.add_argument("--token-interval", type=seconds, default=0.0, help="between a stream's events")
    parser.add_argument("--tokens", type=int, default=Manners().tokens, help="of an answer")
    options = parser.parse_args()
    identity = Identity(options.model, options.version, options.tier, options.zone)
    manners = Manners(options.answer_time, options.first_token, options.token_interval, options.tokens)
    application = ModelServer(identity, manners).application()
    web.run_app(
        application,
        host=options.address,
        port=options.port,
        print=None,
        access_log=None,
        shutdown_timeout=0.1,
        # As engines do: nothing is generated for a client that has left.
        handler_cancellation=True,
    )


if __name__ == "__main__":
    main()
