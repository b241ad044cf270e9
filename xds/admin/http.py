"""The admin port: what the server says of itself. Live weights can be changed here, and which commit is served."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from typing import Any

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from compiler.request import MalformedRequestError
from xds.admin.access import OPEN, Access, guard
from xds.admin.answers import json_answer
from xds.admin.config_dump import config_dump
from xds.admin.explain import explained, sent_from
from xds.admin.following import FollowingRoutes, standing_document
from xds.admin.malformed import SERVER_LOG
from xds.admin.metrics import Metrics
from xds.admin.standing import standings
from xds.admin.status import status
from xds.admin.weights import Weights
from xds.cache import Snapshots, UnknownGroupError
from xds.control import Control
from xds.git.follow import Following
from xds.snapshot import Snapshot
from xds.stream.server import Server
from xds.tls.files import Certificates
from xds.translate.group import Group, PlacementError

LARGEST_REQUEST = 2**26
"""Bytes of a request that is to be explained."""

RUNNER: dict[str, Any] = {"access_log": None, "logger": SERVER_LOG, "shutdown_timeout": 1.0}
METRICS = (*OPEN, "/metrics")
"""They change nothing, and hold no resource and no secret."""


class Admin:
    def __init__(
        self,
        control: Control,
        snapshots: Snapshots,
        server: Server,
        metrics: Metrics,
        access: Access,
        certificates: Sequence[Certificates] = (),
        following: Following | None = None,
        webhook_secret: bytes | None = None,
    ) -> None:
        """`certificates` are told of; of the ports, this one's too."""
        self.stopping = False
        self._certificates, self._following = certificates, following
        self._control, self._snapshots, self._server, self._metrics = control, snapshots, server, metrics
        application = web.Application(middlewares=[guard(access)], client_max_size=LARGEST_REQUEST)
        for path, answer in self._routes().items():
            application.router.add_get(path, answer)
        application.router.add_post("/explain", self._explain)
        Weights(control, snapshots, access).add_to(application)
        if following is not None:
            FollowingRoutes(following, access, webhook_secret).add_to(application)
        self._runner = web.AppRunner(application, **RUNNER)
        self._metrics_runner = web.AppRunner(self._without_token(), **RUNNER)

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """The port it listens on, which is chosen when `port` is 0. Raises OSError when it cannot be had."""
        return await _started(self._runner, host, port, tls)

    async def start_metrics(self, host: str, port: int) -> int:
        """As `start`, for Prometheus and probes: `METRICS` alone, without TLS and token."""
        return await _started(self._metrics_runner, host, port, None)

    async def stop(self) -> None:
        await self._metrics_runner.cleanup()
        await self._runner.cleanup()

    def _without_token(self) -> web.Application:
        application = web.Application()
        for path in METRICS:
            application.router.add_get(path, self._routes()[path])
        return application

    def _routes(self) -> dict[str, Callable[[web.Request], Any]]:
        return {
            "/healthz": self._healthz,
            "/readyz": self._readyz,
            "/metrics": self._exposition,
            "/status": self._status,
            "/config_dump": self._config_dump,
        }

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        if self.stopping:
            return web.Response(status=503, text="stopping\n")
        if not self._snapshots.groups:
            return web.Response(status=503, text="no policy has been loaded yet\n")
        last_good = self._control.policy.last_good is not None
        return web.Response(text="ready, with the last good policy from the disk\n" if last_good else "ready\n")

    async def _exposition(self, _: web.Request) -> web.Response:
        self._metrics.envoys(standings(self._server.peers(), self._current))
        self._metrics.held_back(self._snapshots.held_back)
        if self._following is not None:
            self._metrics.following(self._following.standing)
        self._metrics.tasks(len(asyncio.all_tasks()))
        return web.Response(body=self._metrics.exposition(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _status(self, _: web.Request) -> web.Response:
        peers = self._server.peers()
        return json_answer(
            status(
                self._control.policy,
                self._snapshots.fleet,
                peers,
                self._current,
                self._control.live,
                self._server.turned_away(),
                self._snapshots.held_back,
                self._control.kept,
                self._certificates,
                None if self._following is None else standing_document(self._following.standing),
                self._server.departed(),
            )
        )

    async def _config_dump(self, request: web.Request) -> web.Response:
        groups, name = self._snapshots.groups, request.query.get("group")
        if name is not None:
            found = self._current(Group(name))
            if found is None:
                return json_answer({"error": f"no group {name!r}", "groups": sorted(groups)}, status=404)
            groups = {name: found}
        return json_answer(await asyncio.to_thread(config_dump, groups))

    async def _explain(self, request: web.Request) -> web.Response:
        fleet = self._snapshots.fleet
        if fleet is None:
            return json_answer({"error": self._control.without_fleet}, status=503)
        try:
            sent, gateway = await asyncio.to_thread(sent_from, await request.read())
            return json_answer(await explained(fleet, self._control.live, self._control.policy, sent, gateway))
        except MalformedRequestError as problem:
            return json_answer({"error": str(problem), "code": "malformed_request"}, status=422)
        except ValueError as problem:
            return json_answer({"error": str(problem)}, status=400)

    def _current(self, group: Group) -> Snapshot | None:
        try:
            return self._snapshots.get(group)
        except (UnknownGroupError, PlacementError):
            return None


async def _started(runner: web.AppRunner, host: str, port: int, tls: ssl.SSLContext | None) -> int:
    """The port. Raises OSError when it cannot be had."""
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, ssl_context=tls).start()
    except OSError:
        await runner.cleanup()
        raise
    return int(runner.addresses[0][1])
