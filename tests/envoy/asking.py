"""Clients that ask Envoys without a pause, and judge each answer by the policies of that time."""

from __future__ import annotations

import asyncio
import json
import random
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from demo.processes import poll
from tests.envoy.changing_policies import GROUPS, HOSTS, Ask, Draft

TIMEOUT = 30.0
PAUSE = 0.03
"""Seconds between an answer and the next request, on average: Envoys and servers share the machine with the clients."""
CLIENTS = 2
"""At each Envoy."""
WHO = "x-instance"
"""The header in which an instance says who it is."""


@dataclass(frozen=True)
class Door:
    """Where an Envoy listens."""

    envoy: str
    group: str
    port: int


@dataclass
class Book:
    """The policies that may be in force, edit by edit."""

    pages: list[tuple[Draft, ...]]
    askable: Mapping[str, frozenset[Ask]] = field(default_factory=dict)
    """By group."""

    def expected(self, ask: Ask, since: int) -> frozenset[str]:
        """Who may answer a request that was sent when there were `since` pages."""
        drafts = {id(draft): draft for page in self.pages[since - 1 :] for draft in page}
        return frozenset().union(*(draft.answering(ask) for draft in drafts.values()))

    def saving(self, draft: Draft) -> None:
        self.pages.append((*self.pages[-1], draft))

    def settled(self) -> None:
        """The last is in force everywhere."""
        self.pages.append(self.pages[-1][-1:])


class Clients:
    """They ask until the block is left, on an event loop of their own; what is under way then is waited for."""

    def __init__(self, doors: Sequence[Door], book: Book, seed: int, each: int = CLIENTS, pause: float = PAUSE) -> None:
        """At each door as many clients as `each`, with a `pause` in seconds, on average."""
        self._each, self._pause = each, pause
        self.answered: Counter[str] = Counter()
        """By Envoy."""
        self.failures: list[str] = []
        self._doors, self._book, self._seed = doors, book, seed
        self._under_way: Counter[tuple[str, Ask]] = Counter()
        self._inside: Counter[Door] = Counter()
        self._left: set[Door] = set()
        self._departures: Counter[Door] = Counter()
        self._ended = asyncio.Condition()
        self._stopping = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping = True
        self._thread.join()
        self._loop.close()

    def ask_only(self, askable: Mapping[str, frozenset[Ask]]) -> None:
        """Returns when no other request is under way any more."""
        asyncio.run_coroutine_threadsafe(self._ask_only(askable), self._loop).result(TIMEOUT)

    def wait_for_each(self, more: int) -> None:
        """Until every Envoy has answered as many requests more."""
        goal = {door.envoy: self.answered[door.envoy] + more for door in self._doors}
        assert poll(lambda: self.failures != [] or all(self.answered[e] >= n for e, n in goal.items()), TIMEOUT), goal

    def leave(self, door: Door) -> None:
        """Returns when no request is under way there any more."""
        asyncio.run_coroutine_threadsafe(self._leave(door), self._loop).result(TIMEOUT)

    def come_back(self, door: Door) -> None:
        self._left.discard(door)

    async def _leave(self, door: Door) -> None:
        self._left.add(door)
        self._departures[door] += 1
        async with self._ended:
            await self._ended.wait_for(lambda: not self._inside[door])

    async def _ask_only(self, askable: Mapping[str, frozenset[Ask]]) -> None:
        self._book.askable = askable
        async with self._ended:
            await self._ended.wait_for(lambda: not any(self._retired()))

    def _retired(self) -> Iterable[bool]:
        return (ask not in self._book.askable[group] for (group, ask), count in self._under_way.items() if count)

    async def _run(self) -> None:
        clients = (
            self._client(door, random.Random(f"{self._seed} {door} {n}"))
            for door in self._doors
            for n in range(self._each)
        )
        await asyncio.gather(*clients)

    async def _client(self, door: Door, chance: random.Random) -> None:
        connection, departures = Connection(door), 0
        while not self._stopping:
            if door in self._left:
                await asyncio.sleep(PAUSE)
                continue
            if departures != self._departures[door]:  # who stands at the door may be another one by now
                connection.close()
                departures = self._departures[door]
            ask = chance.choice(sorted(self._book.askable[door.group], key=str))
            since = len(self._book.pages)
            self._under_way[door.group, ask] += 1
            self._inside[door] += 1
            try:
                async with asyncio.timeout(TIMEOUT):
                    status, who, body = await connection.ask(ask)
                expected = self._book.expected(ask, since)
                if status != 200 or who not in expected:
                    self._fail(door, ask, f"{status} from {who!r}, not of {sorted(expected)}: {body[:200]!r}")
            except (OSError, TimeoutError, EOFError, ValueError) as problem:
                connection.close()
                self._fail(door, ask, repr(problem))
            self.answered[door.envoy] += 1
            async with self._ended:
                self._under_way[door.group, ask] -= 1
                self._inside[door] -= 1
                self._ended.notify_all()
            await asyncio.sleep(chance.uniform(0, 2 * self._pause))
        connection.close()

    def _fail(self, door: Door, ask: Ask, reason: str) -> None:
        self.failures.append(f"{door.envoy} of {door.group}, page {len(self._book.pages)}: {ask}: {reason}")


class Connection:
    """HTTP/1.1, one request after the other."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, ask: Ask) -> tuple[int, str, bytes]:
        """Status, who answered, and the body. Raises OSError, EOFError, ValueError."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._door.port)
        reader, writer = self._streams
        writer.write(_request(self._door.group, ask))
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {key.lower(): value for key, _, value in (line.partition(": ") for line in head[1:])}
        body = await reader.readexactly(int(headers["content-length"]))
        if headers.get("connection") == "close":
            self.close()
        return int(head[0].split(" ")[1]), headers.get(WHO, ""), body

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


def _request(group: str, ask: Ask) -> bytes:
    body = json.dumps({"model": ask.name, "messages": [{"role": "user", "content": "Who are you?"}]}).encode()
    team = f"x-team: {ask.team}\r\n" if ask.team else ""
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: {HOSTS[group]}\r\n{team}"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def askable(*drafts: Draft) -> dict[str, frozenset[Ask]]:
    """By group, what all of `drafts` answer."""
    return {group: frozenset.intersection(*(draft.asks(group) for draft in drafts)) for group in GROUPS}
