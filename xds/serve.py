"""`turnout serve`: the control server, put together."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from compiler.pipeline import fleet_of
from xds import translate
from xds.admin.http import Admin
from xds.admin.metrics import Metrics
from xds.cache import Snapshots, Translation
from xds.control import Control
from xds.keeping import SERVED, Keeping
from xds.observe.commits import commits
from xds.observe.events import PoliciesRead
from xds.observe.policies import policies
from xds.stopping import until_stopped
from xds.store import Forgetful
from xds.store.file import StateFile
from xds.store.served import ServedFolder
from xds.stream.server import Server

TRANSLATION = Translation(
    translate.group_names, translate.served_as, translate.snapshot, translate.place, translate.layer
)
LOG_FORMAT = "%(asctime)s %(levelname)s %(message)s"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Options:
    policies: Path
    environment: str = ""
    """Of policies that have several, the one to serve."""
    listen: tuple[str, int] = ("127.0.0.1", 18000)
    """For Envoys; port 0 takes a free one, which the log names."""
    admin: tuple[str, int] = ("127.0.0.1", 18001)
    """For people and Prometheus."""
    admin_token: bytes | None = None
    """Whoever has it may set live weights; without one nobody may."""
    state: Path | None = None
    """Where live state and the last good snapshot survive a restart; without it they do not."""


class CannotKeepError(Exception):
    """The folder for live state cannot be written to."""


class CannotListenError(Exception):
    """A port is taken, or an address is not this machine's."""


def run(options: Options) -> int:
    """The exit code, after SIGTERM or SIGINT: 0; 1 when it cannot listen, or keep what it is to keep."""
    _log_to_stderr()
    try:
        asyncio.run(serve(options))
    except (CannotListenError, CannotKeepError) as problem:
        print(f"turnout serve: {problem}", file=sys.stderr)
        return 1
    return 0


async def serve(options: Options) -> None:
    """Serves until SIGTERM or SIGINT. Raises CannotListenError, CannotKeepError."""
    metrics = Metrics()
    snapshots = Snapshots(TRANSLATION)
    server = Server(snapshots, metrics)
    store = Forgetful() if options.state is None else _state_file(options.state)
    keeping = None if options.state is None else _keeping(options.state, options.environment, metrics)
    control = Control(snapshots, server.publish, metrics, store, keeping=keeping)
    admin = Admin(control, snapshots, server, metrics, options.admin_token)
    try:
        xds, http = await _listening(server, admin, options)
        log.info("listening xds=%s admin=http://%s policies=%s", xds, http, options.policies)
        read = policies(options.policies, sys.stderr.isatty(), options.environment)
        await until_stopped(control.run(_reported(read), commits(options.policies, lambda: snapshots.commit)))
        log.info("stopping streams=%d", len(server.peers()))
    finally:
        admin.stopping = True
        await server.stop()
        await admin.stop()
    log.info("stopped")


def _keeping(state: Path, environment: str, metrics: Metrics) -> Keeping:
    return Keeping(ServedFolder(state / SERVED), environment, fleet_of, metrics.keep_failing)


def _state_file(folder: Path) -> StateFile:
    store = StateFile(folder)
    try:
        store.prepare()
    except OSError as problem:
        raise CannotKeepError(f"--state {folder}: {problem.strerror or problem}") from None
    return store


async def _listening(server: Server, admin: Admin, options: Options) -> tuple[str, str]:
    """The addresses, with their ports as they were chosen."""
    xds = await _started(server, options.listen, "--listen")
    return xds, await _started(admin, options.admin, "--admin")


async def _started(service: Server | Admin, address: tuple[str, int], option: str) -> str:
    host, port = address
    shown = f"[{host}]" if ":" in host else host
    try:
        return f"{shown}:{await service.start(host, port)}"
    except OSError as problem:
        raise CannotListenError(f"{option} {shown}:{port}: {os.strerror(problem.errno or errno.EADDRINUSE)}") from None


def _log_to_stderr() -> None:
    """One line an event: time, level, what happened, key=value."""
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT, stream=sys.stderr)
    logging.getLogger("watchfiles").setLevel(logging.WARNING)


async def _reported(events: AsyncIterator[PoliciesRead]) -> AsyncIterator[PoliciesRead]:
    async for event in events:
        if event.report:
            sys.stderr.write(event.report)
            sys.stderr.flush()
        yield event
