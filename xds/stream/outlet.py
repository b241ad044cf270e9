"""The way of responses to the transport, which copies each of them for each stream: large ones go a few at a time."""

from __future__ import annotations

import asyncio
from collections import deque

import grpc

LARGE = 32 << 10
"""Bytes; smaller responses do not queue."""
ROOM = 24 << 20
"""Bytes of large responses that may be on their way."""
PATIENCE = 5.0
"""Seconds after which a reader that does not read no longer holds up others."""


class Outlet:
    def __init__(self) -> None:
        self._room = ROOM
        self._queue: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def write(self, context: grpc.aio.ServicerContext[bytes, bytes], response: bytes) -> None:
        if len(response) < LARGE:
            await context.write(response)
            return
        place = await self._admitted(min(len(response), ROOM))
        slow = asyncio.get_running_loop().call_later(PATIENCE, place.leave)
        try:
            await context.write(response)
        finally:
            slow.cancel()
            place.leave()

    async def _admitted(self, size: int) -> _Place:
        """One after the other, in the order in which they came."""
        turn = asyncio.get_running_loop().create_future()
        self._queue.append((size, turn))
        self._admit()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.left(size)
            else:
                self._admit()
            raise
        return _Place(self, size)

    def left(self, size: int) -> None:
        self._room += size
        self._admit()

    def _admit(self) -> None:
        while self._queue and (self._queue[0][1].done() or self._queue[0][0] <= self._room):
            size, turn = self._queue.popleft()
            if not turn.done():  # else whoever waited has gone
                self._room -= size
                turn.set_result(None)


class _Place:
    def __init__(self, outlet: Outlet, size: int) -> None:
        self._outlet, self._size = outlet, size

    def leave(self) -> None:
        """Once, however often it is called."""
        size, self._size = self._size, 0
        if size:
            self._outlet.left(size)
