"""A load generator that remembers, for every request, who answered it, or why nobody did."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import TracebackType
from typing import Any, Self

import aiohttp

from demo.processes import NotReadyError, poll

TAIL = 512
"""How many of an answer's last bytes are kept, to see whether a stream was ended or an error explained."""


@dataclass(frozen=True, slots=True)
class Request:
    path: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    stream: bool = False


def chat(model: str | None, *, stream: bool = False, **more: Any) -> Request:
    """A chat that names its model in the body, as OpenAI's clients do; `None` names none."""
    document: dict[str, Any] = {"messages": [{"role": "user", "content": "Who are you?"}], "stream": stream, **more}
    if model is not None:
        document["model"] = model
    body = json.dumps(document).encode()
    return Request("/v1/chat/completions", body, {"content-type": "application/json"}, stream)


@dataclass(frozen=True, slots=True)
class Answer:
    """One request's end. Times are those of `time.monotonic`, in seconds."""

    status: int
    """0 where no answer began."""
    model: str
    version: str
    tier: str
    zone: str
    """These four as the instance itself said; empty where none answered."""
    told_model: str
    told_version: str
    """What Envoy said of who answered."""
    failure: str
    """Empty when the answer came whole and was no error."""
    sent: float
    ended: float

    @property
    def begun(self) -> bool:
        """Whether an answer, other than an error, had begun to arrive: then nobody can try again unseen."""
        return 0 < self.status < 400


@dataclass(frozen=True)
class Tally:
    """What became of a number of requests."""

    answers: tuple[Answer, ...]

    def by(self, *parts: str) -> Counter[tuple[str, ...]]:
        """Whole answers, counted by those fields of theirs: `by("version")`, `by("model", "tier")`."""
        return Counter(tuple(str(getattr(answer, part)) for part in parts) for answer in self.answered)

    @cached_property
    def answered(self) -> tuple[Answer, ...]:
        return tuple(answer for answer in self.answers if not answer.failure)

    @cached_property
    def lost(self) -> tuple[Answer, ...]:
        """Requests that failed before an answer had begun."""
        return tuple(answer for answer in self.answers if answer.failure and not answer.begun)

    @cached_property
    def cut(self) -> tuple[Answer, ...]:
        """Answers that had begun, and then broke off."""
        return tuple(answer for answer in self.answers if answer.failure and answer.begun)

    @property
    def failures(self) -> Counter[str]:
        """Reasons, of the lost and the cut."""
        return Counter(answer.failure for answer in self.answers if answer.failure)

    def since(self, moment: float) -> Tally:
        """Those of the requests that were sent at `moment` or later."""
        return Tally(tuple(answer for answer in self.answers if answer.sent >= moment))


class Load:
    """Clients that ask again as soon as they are answered, in a thread of their own, until the block is left.

    `with Load(url, 40, chat("llama-70b")) as load:` and then `load.wait_for(500)`, `load.tally()`. Requests under way
    at the end are waited for, and counted.
    """

    def __init__(
        self, url: str, clients: int, *requests: Request, limit: int | None = None, timeout: float = 30
    ) -> None:
        """`requests` are taken in turn. `limit` is how many are sent at most; `timeout` is for one, in seconds."""
        self._url = url
        self._clients = clients
        self._requests = itertools.cycle(requests)
        self._tickets: Iterator[object] = itertools.count() if limit is None else iter(range(limit))
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._answers: list[Answer] = []
        self._begun = 0
        self._stopping = False
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="load", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping = True
        self._thread.join()

    @property
    def count(self) -> int:
        """How many requests have ended."""
        return len(self._answers)

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def tally(self) -> Tally:
        return Tally(tuple(self._answers))

    def wait_for_begun(self, answers: int, seconds: float = 30) -> None:
        """Until as many answers, of all so far, have begun to arrive; raises `NotReadyError` after `seconds`."""
        if not poll(lambda: self._begun >= answers, seconds):
            raise NotReadyError(f"{self._begun} answers began, not {answers}, within {seconds} s")

    def wait_for(self, more: int, seconds: float = 30) -> None:
        """Until `more` requests have ended; raises `NotReadyError` after `seconds`."""
        goal = self.count + more
        if not poll(lambda: self.count >= goal, seconds):
            raise NotReadyError(f"{self.count} requests ended, not {goal}, within {seconds} s: {self.tally().failures}")

    def wait_for_answer(self, wanted: Callable[[Answer], bool], what: str, seconds: float = 30) -> Answer:
        """The first answer, of all so far or yet to come, that is `wanted`; raises `NotReadyError` after `seconds`."""
        seen = 0
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for answer in itertools.islice(self._answers, seen, None):
                if wanted(answer):
                    return answer
                seen += 1
            time.sleep(0.005)
        raise NotReadyError(f"no answer was {what} within {seconds} s: {self.tally().failures}")

    async def _run(self) -> None:
        connector = aiohttp.TCPConnector(limit=self._clients)
        async with aiohttp.ClientSession(connector=connector, timeout=self._timeout, auto_decompress=False) as session:
            await asyncio.gather(*(self._client(session) for _ in range(self._clients)))

    async def _client(self, session: aiohttp.ClientSession) -> None:
        for _ in self._tickets:
            if self._stopping:
                break
            self._answers.append(await _ask(session, self._url, next(self._requests), self._count_begun))

    def _count_begun(self) -> None:
        self._begun += 1


def send(
    url: str, count: int, *requests: Request, clients: int = 20, watch: Callable[[int], None] = lambda _: None
) -> Tally:
    """Send `count` requests and wait for their ends. `watch` is told every 20 ms how many have ended."""
    with Load(url, clients, *requests, limit=count) as load:
        while load.running:
            watch(load.count)
            time.sleep(0.02)
    return load.tally()


async def _ask(session: aiohttp.ClientSession, url: str, request: Request, begun: Callable[[], None]) -> Answer:
    sent = time.monotonic()
    status, tail = 0, b""
    headers: Mapping[str, str] = {}
    try:
        async with session.post(url + request.path, data=request.body, headers=request.headers) as response:
            status, headers = response.status, response.headers
            begun()
            async for chunk in response.content.iter_any():
                tail = (tail + chunk)[-TAIL:]
        failure = _failure(request, status, tail)
    except (aiohttp.ClientError, OSError, TimeoutError) as problem:
        failure = f"{type(problem).__name__}: {problem}".rstrip(": ")
    return Answer(
        status=status,
        model=headers.get("x-instance-model", ""),
        version=headers.get("x-instance-version", ""),
        tier=headers.get("x-instance-tier", ""),
        zone=headers.get("x-instance-zone", ""),
        told_model=headers.get("x-turnout-model", ""),
        told_version=headers.get("x-turnout-version", ""),
        failure=failure,
        sent=sent,
        ended=time.monotonic(),
    )


def _failure(request: Request, status: int, tail: bytes) -> str:
    if status >= 400:
        return f"{status} {tail.decode(errors='replace')[:200]}".rstrip()
    if request.stream and not tail.endswith(b"data: [DONE]\n\n"):
        return "the stream ended without [DONE]"
    return ""
