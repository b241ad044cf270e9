"""`turnout serve`: the control server, put together."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import resource
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from compiler.report import printable
from xds import translate
from xds.admin.access import Access
from xds.admin.http import Admin
from xds.admin.metrics import Metrics
from xds.cache import Snapshots, Translation
from xds.control import Control
from xds.loopback import is_loopback
from xds.observe.events import PoliciesRead
from xds.observe.policies import policies
from xds.stopping import until_stopped
from xds.store import Forgetful
from xds.store.file import StateFile
from xds.stream.server import Server
from xds.tls.files import CertificateError, Files, watch
from xds.tls.ports import Tls, grpc_credentials, http_context

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
    admin_read_token: bytes | None = None
    """Whoever has this one may read, where reading needs a token."""
    tls: Files | None = None
    """For Envoys, who then show certificates of their own; without it no TLS, and every client may ask for all."""
    admin_tls: Files | None = None
    state: Path | None = None
    """Where live state survives a restart; without it it does not."""


class CannotKeepError(Exception):
    """The folder for live state cannot be written to."""


class CannotListenError(Exception):
    """A port is taken, or an address is not this machine's."""


def run(options: Options) -> int:
    """The exit code, after SIGTERM or SIGINT: 0; 1 when it cannot listen, or keep what it is to keep."""
    _log_to_stderr()
    _open_as_many_files_as_may_be()
    try:
        asyncio.run(serve(options))
    except (CannotListenError, CannotKeepError, CertificateError) as problem:
        print(f"turnout serve: {problem}", file=sys.stderr)
        return 1
    return 0


async def serve(options: Options) -> None:
    """Serves until SIGTERM or SIGINT. Raises CannotListenError, CannotKeepError, CertificateError."""
    tls = Tls.load(options.tls, options.admin_tls)
    metrics = Metrics()
    snapshots = Snapshots(TRANSLATION)
    server = Server(snapshots, metrics)
    store = Forgetful() if options.state is None else _state_file(options.state)
    control = Control(snapshots, server.publish, metrics, store)
    access = Access(options.admin_token, options.admin_read_token, guarded=not is_loopback(options.admin[0]))
    admin = Admin(control, snapshots, server, metrics, access, tls.all)
    metrics.certificates(tls.all)
    watching = asyncio.create_task(watch(tls.all, partial(metrics.certificates, tls.all)))
    try:
        xds, http = await _listening(server, admin, options, tls)
        log.info("listening xds=%s admin=%s policies=%s", xds, http, options.policies)
        if options.tls is None and not is_loopback(options.listen[0]):
            log.warning("without --tls-cert every client that reaches xds=%s may have every group's configuration", xds)
        read = policies(options.policies, sys.stderr.isatty(), options.environment)
        await until_stopped(control.run(_reported(read)))
        log.info("stopping streams=%d", len(server.peers()))
    finally:
        watching.cancel()
        admin.stopping = True
        await server.stop()
        await admin.stop()
    log.info("stopped")


def _state_file(folder: Path) -> StateFile:
    store = StateFile(folder)
    try:
        store.prepare()
    except OSError as problem:
        raise CannotKeepError(f"--state {folder}: {problem.strerror or problem}") from None
    return store


async def _listening(server: Server, admin: Admin, options: Options, tls: Tls) -> tuple[str, str]:
    """The address for Envoys and the URL for people, with their ports as they were chosen."""
    credentials = None if tls.xds is None else grpc_credentials(tls.xds)
    context = None if tls.admin is None else http_context(tls.admin)
    xds = await _started(partial(server.start, credentials=credentials), options.listen, "--listen")
    http = await _started(partial(admin.start, tls=context), options.admin, "--admin")
    return xds, f"{'http' if context is None else 'https'}://{http}"


async def _started(start: Callable[[str, int], Awaitable[int]], address: tuple[str, int], option: str) -> str:
    host, port = address
    shown = f"[{host}]" if ":" in host else host
    try:
        return f"{shown}:{await start(host, port)}"
    except OSError as problem:
        raise CannotListenError(f"{option} {shown}:{port}: {os.strerror(problem.errno or errno.EADDRINUSE)}") from None


def _open_as_many_files_as_may_be() -> None:
    """Each connection is one, and the limit that a process is given is often 1,024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class _OneLine(logging.Formatter):
    """Part of what is told are other people's words, which may not begin a line of their own."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the library's name
        return printable(super().formatMessage(record))


def _log_to_stderr() -> None:
    """One line an event: time, level, what happened, key=value; under a fault of ours its traceback."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine(LOG_FORMAT))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("watchfiles").setLevel(logging.WARNING)


async def _reported(events: AsyncIterator[PoliciesRead]) -> AsyncIterator[PoliciesRead]:
    async for event in events:
        if event.report:
            sys.stderr.write(event.report)
            sys.stderr.flush()
        yield event
