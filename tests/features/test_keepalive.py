"""Connections over which nothing is said: both sides look whether the other is still there."""

from __future__ import annotations

import asyncio
import struct

import pytest

from tests.features.served import DEADLINE, Folder, asynchronous, served
from xds.stream import server as xds_server

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS, PING, GOAWAY = 4, 6, 7
ACK = 1


def frame(kind: int, payload: bytes = b"", flags: int = 0) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + bytes(4) + payload


async def frames(reader: asyncio.StreamReader) -> tuple[int, int, bytes]:
    """Type, flags and payload of the next one."""
    head = await reader.readexactly(9)
    return head[3], head[4], await reader.readexactly(int.from_bytes(head[:3]))


@asynchronous
async def test_a_client_that_pings_without_a_pause_is_answered_and_not_sent_away(folder: Folder) -> None:
    """gRPC's own default hangs up at the third: an Envoy's keepalive would lose it its stream."""
    async with served(folder.path) as server, asyncio.timeout(DEADLINE):
        host, _, port = server.xds.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(PREFACE + frame(SETTINGS))
        for number in range(50):
            writer.write(frame(PING, number.to_bytes(8)))
            while (found := await frames(reader))[0] != PING:
                assert found[0] != GOAWAY, found
            assert found == (PING, ACK, number.to_bytes(8))
        writer.close()


@asynchronous
async def test_a_client_that_does_not_answer_is_asked_and_let_go(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = {"grpc.keepalive_time_ms": 50, "grpc.http2.ping_timeout_ms": 100}
    monkeypatch.setattr(xds_server, "OPTIONS", tuple((k, quick.get(k, v)) for k, v in xds_server.OPTIONS))
    async with served(folder.path) as server, asyncio.timeout(DEADLINE):
        host, _, port = server.xds.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(PREFACE + frame(SETTINGS) + frame(SETTINGS, flags=ACK))
        for answering in (*[True] * 4, False):
            while (found := await frames(reader))[0] != PING:
                pass
            if answering:
                writer.write(frame(PING, found[2], ACK))
        await reader.read()  # to the end of the connection
        writer.close()


@asynchronous
async def test_a_connection_that_is_old_is_told_to_go(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    young = {"grpc.max_connection_age_ms": 100, "grpc.max_connection_age_grace_ms": 100}
    monkeypatch.setattr(xds_server, "OPTIONS", tuple((k, young.get(k, v)) for k, v in xds_server.OPTIONS))
    async with served(folder.path) as server, asyncio.timeout(DEADLINE):
        host, _, port = server.xds.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(PREFACE + frame(SETTINGS) + frame(SETTINGS, flags=ACK))
        while (await frames(reader))[0] != GOAWAY:
            pass
        writer.close()
